"""Every number of a trial by loops over bits and vectors, with recoveries that are known; and what each scheme does."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shufflebits.cipher.shuffle import encrypt
from shufflebits.cryptanalysis import trials
from shufflebits.cryptanalysis.trials import (  # fmt: skip
    BY_BOTH,
    BY_ELEMENT,
    BY_REQUEST,
    CHACHA20,
    KNOWN,
    ONE_KEY,
    PLAIN,
    Trial,
    bit_counts,
    plausible,
)
from tests.common.shuffle_oracle import random_keys, shuffled

USERS, SAMPLE, D, HELD, ALONE = 14, 6, 4, 5, 3
RANDOM = np.random.default_rng(0)
# Negative ones are the largest; some exponents differ in their lowest bit, and users 0 to 9 are of three people.
FEATURES = (RANDOM.uniform(-1, 0.4, (USERS + SAMPLE, D)) * RANDOM.choice([0.3, 1], (USERS + SAMPLE, D))).astype("f4")
PEOPLE = np.array([5, 5, 7, 7, 7, 9, 5, 9, 9, 7, 11, 12, 13, 14])
KEYS = random_keys(USERS * D)


def exchanged(key, *pairs):
    """A key under which pairs of bits are taken for each other."""
    key = key.copy()
    for a, b in pairs:
        key[[a, b]] = key[[b, a]]
    return key


def plain_words(rows):
    return np.ascontiguousarray(FEATURES[rows]).view("uint32")


class Case:
    """A scheme with known keys, and recoveries of which some are wrong: in mantissa bits, in bits 22 and 23."""

    def __init__(self, scheme):
        self.scheme = scheme
        self.mantissa, self.exponent = ((3, 18),), ((22, 23), (0, 5))

    def encrypted(self, plain, scheme, generator):
        assert scheme == self.scheme and plain.dtype == np.float32
        self.rows = [int(np.flatnonzero((row == FEATURES).all(1))[0]) for row in plain]
        if scheme == CHACHA20:
            self.words = generator.integers(0, 2**32, plain.shape, np.uint32)
        else:
            keys = {
                BY_REQUEST: KEYS[: len(plain), None],
                BY_ELEMENT: KEYS[:D],
                BY_BOTH: np.resize(KEYS, (*plain.shape, 32)),
            }
            keys |= {PLAIN: np.arange(32)}
            self.words = shuffled(plain.view("uint32"), keys.get(scheme, KEYS[0]))
        return self.words

    def recover(self, words, statistics):
        assert isinstance(statistics, trials.BitStatistics)
        if self.scheme != BY_REQUEST:
            np.testing.assert_array_equal(words, self.words[self.held :])
            return SimpleNamespace(key=exchanged(KEYS[0], *self.exponent))
        row = int(np.flatnonzero((self.words == words).all(1))[0])
        return SimpleNamespace(key=exchanged(KEYS[row], *((), self.mantissa, self.exponent)[row]))

    def recover_per_element(self, words, statistics):
        np.testing.assert_array_equal(words, self.words[self.held :])
        wrong = ((), self.mantissa, self.exponent, self.exponent)
        return SimpleNamespace(key=np.array([exchanged(key, *pairs) for key, pairs in zip(KEYS, wrong)]))

    def recover_from_pairs(self, features, words):
        np.testing.assert_array_equal(features, FEATURES[self.rows[self.held :]])
        np.testing.assert_array_equal(words, self.words[self.held :])
        return SimpleNamespace(key=exchanged(KEYS[0], *self.mantissa))

    @property
    def held(self):
        return ALONE if self.scheme in (BY_REQUEST, BY_BOTH) else HELD

    def guess(self):
        """(H, D) uint32: the first words, decrypted with the recovered keys."""
        words = self.words[: self.held]
        if self.scheme in (BY_BOTH, PLAIN):
            return None if self.scheme == BY_BOTH else words
        if self.scheme == BY_REQUEST:
            keys = np.array([self.recover(row, trials.BitStatistics.of(FEATURES)).key for row in words])[:, None]
        elif self.scheme == BY_ELEMENT:
            keys = self.recover_per_element(self.words[self.held :], None).key
        elif self.scheme == KNOWN:
            keys = exchanged(KEYS[0], *self.mantissa)
        else:
            keys = exchanged(KEYS[0], *self.exponent)
        return shuffled(words, np.argsort(keys, axis=-1))


def mean(values):
    values = [float(value) for value in values]
    return sum(values) / len(values)


def compared(case, guess):
    if guess is None:
        return dict.fromkeys(("exponents", "numbers", "mantissa_bits", "bits", "cosine"))
    truth = plain_words(case.rows[: case.held])
    right = {
        (n, d): [(int(guess[n, d]) ^ int(truth[n, d])) >> bit & 1 == 0 for bit in range(32)]
        for n in range(case.held)
        for d in range(D)
    }
    key_of = {BY_REQUEST: lambda n, d: n, BY_ELEMENT: lambda n, d: d}.get(case.scheme, lambda n, d: 0)
    groups = {}
    for place, bits in right.items():
        groups.setdefault(key_of(*place), []).append(bits)
    by_key = [[all(bits) for bits in zip(*group)] for group in groups.values()]
    return {
        "exponents": mean(all(bits[23:]) for bits in by_key),
        "numbers": mean(all(bits[23:]) for bits in right.values()),
        "mantissa_bits": mean(next((n for n, bit in enumerate(bits[22::-1]) if not bit), 23) for bits in by_key),
        "bits": mean(sum(bits) for bits in by_key),
        "cosine": mean(cosine(x, y) for x, y in zip(believed(guess), truth.view("f4"))),
    }


def believed(guess):
    largest = max(abs(x) for x in FEATURES[USERS:].ravel().tolist())
    return [[x if abs(x) <= 2 * largest else 0.0 for x in row] for row in guess.view("f4").tolist()]


def cosine(x, y):
    x, y = np.float64(x), np.float64(y)
    lengths = np.sqrt((x @ x) * (y @ y))
    return x @ y / lengths if lengths else 0.0


def counts(words):
    return [[int(x).bit_count() for x in row] for row in words.tolist()]


def linked(case, guess, identities):
    everyone = FEATURES.tolist()
    held = case.rows[: case.held]
    of_all = counts(plain_words(range(USERS + SAMPLE)))
    by_counts = [
        [-sum((a - b) ** 2 for a, b in zip(own, other)) for other in of_all] for own in counts(case.words[: case.held])
    ]
    by_cosine = guess is not None and [[cosine(row, other) for other in everyone] for row in believed(guess)]
    record = {"chance": 1 / (USERS + SAMPLE), "recognized_by_chance": None}
    known = [
        (n, row) for n, row in enumerate(held) if identities is not None and list(identities).count(identities[row]) > 1
    ]
    if known:
        record["recognized_by_chance"] = mean(
            (list(identities).count(identities[row]) - 1) / (USERS - 1) for _, row in known
        )
    for by, close in (("", by_cosine), ("_by_bit_counts", by_counts)):
        record["relinked" + by] = record["recognized" + by] = None
        if close:
            nearest = [max(range(USERS + SAMPLE), key=each.__getitem__) for each in close]
            record["relinked" + by] = mean(a == b for a, b in zip(nearest, held))
        if close and known:
            nearest = [max({*range(USERS)} - {row}, key=close[n].__getitem__) for n, row in known]
            record["recognized" + by] = mean(identities[a] == identities[row] for a, (_, row) in zip(nearest, known))
    return record


@pytest.mark.parametrize("identities", [PEOPLE, None], ids=["people", "nobody"])
@pytest.mark.parametrize("scheme", [PLAIN, ONE_KEY, KNOWN, BY_REQUEST, BY_ELEMENT, BY_BOTH, CHACHA20])
def test_every_number(scheme, identities, monkeypatch):
    case, clock = Case(scheme), iter((1.0, 3.5, 10.0, 16.0))
    monkeypatch.setattr(trials, "HELD_OUT", HELD)
    monkeypatch.setattr(trials, "_ONE_BY_ONE", ALONE)
    monkeypatch.setattr(trials, "_encrypted", case.encrypted)
    monkeypatch.setattr(trials, "recover_key", case.recover)
    monkeypatch.setattr(trials, "recover_key_per_element", case.recover_per_element)
    monkeypatch.setattr(trials, "recover_key_from_pairs", case.recover_from_pairs)
    monkeypatch.setattr(trials.time, "perf_counter", lambda: next(clock))
    record = Trial(FEATURES[USERS:], FEATURES[:USERS], identities, seed=1).run(scheme, 4, number=2)
    monkeypatch.undo()
    assert len(set(case.rows)) == case.held + 4 and max(case.rows) < USERS
    guess = case.guess()
    # Two and a half for the statistics, which some do without, and six for the attacks.
    seconds = {BY_BOTH: None, BY_REQUEST: 2.5 + 6 / ALONE, PLAIN: 6.0, KNOWN: 6.0}.get(scheme, 8.5)
    expected = {**compared(case, guess), **linked(case, guess, identities), "seconds": seconds}
    assert record == {k: v if v is None else pytest.approx(v, rel=1e-5, abs=1e-7) for k, v in expected.items()}


def test_seed_and_number_decide_the_vectors(monkeypatch):
    """The held-out vectors are the same for all counts of a number, and fewer stolen ones are the first of more."""
    rows = {}
    for seed, number, count in ((0, 0, 2), (0, 0, 4), (0, 1, 2), (1, 0, 2)):
        case = Case(CHACHA20)
        monkeypatch.setattr(trials, "_encrypted", case.encrypted)
        monkeypatch.setattr(trials, "recover_key", lambda *_: SimpleNamespace(key=KEYS[0]))
        Trial(FEATURES[USERS:], FEATURES[:USERS], None, seed).run(CHACHA20, count, number)
        rows[seed, number, count] = case.rows
    assert rows[0, 0, 4][:9] == rows[0, 0, 2] and len(set(map(tuple, rows.values()))) == 4


@pytest.mark.parametrize("users, held, alone", [(14, 7, 7), (81, 40, 40), (83, 41, 40), (198, 99, 40), (202, 100, 40)])
def test_half_of_the_users_are_held_out_and_a_hundred_at_most(users, held, alone):
    trial = Trial(FEATURES[USERS:], np.resize(FEATURES, (users, D)), None, 0)
    assert (trial._held_out, trial.one_by_one) == (held, alone)


def moved_alike(plain, words):
    """Whether one order of 32 bit planes turns numbers into words."""
    planes = [sorted(tuple(int(x) >> bit & 1 for x in np.ravel(each)) for bit in range(32)) for each in (plain, words)]
    return planes[0] == planes[1]


def test_which_numbers_share_a_key():
    plain = FEATURES[:6]
    before = plain.view("uint32")
    alike = {}
    for scheme in (PLAIN, ONE_KEY, KNOWN, BY_REQUEST, BY_ELEMENT, BY_BOTH, CHACHA20):
        words = trials._encrypted(plain, scheme, np.random.default_rng(3))
        assert words.dtype == np.uint32 and words.shape == plain.shape
        np.testing.assert_array_equal(words, trials._encrypted(plain, scheme, np.random.default_rng(3)))
        assert (words == before).all() == (scheme == PLAIN)
        alike[scheme] = (
            moved_alike(before, words),
            all(map(moved_alike, before, words)),
            all(map(moved_alike, before.T, words.T)),
            all(map(moved_alike, before.ravel(), words.ravel())),
        )
    whole, rows, columns, numbers = (
        (True,) * 4,
        (False, True, False, True),
        (False, False, True, True),
        (False,) * 3 + (True,),
    )
    assert alike == {
        PLAIN: whole, ONE_KEY: whole, KNOWN: whole, BY_REQUEST: rows, BY_ELEMENT: columns, BY_BOTH: numbers,
        CHACHA20: (False,) * 4,
    }  # fmt: skip


def test_cipher_adds_what_no_number_decides():
    """Under one key and nonce the same key stream."""
    streams = [
        trials._encrypted(x, CHACHA20, np.random.default_rng(3)) ^ np.ascontiguousarray(x).view("uint32")
        for x in (FEATURES[:3], FEATURES[5:8])
    ]
    np.testing.assert_array_equal(*streams)
    assert len(np.unique(streams[0])) == streams[0].size


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_no_key_changes_bit_counts(seed):
    generator = np.random.default_rng(seed)
    plain = generator.integers(0, 2**32, (3, 5), np.uint32)
    words = encrypt(plain.view(np.float32), generator.permuted(np.tile(np.arange(32), (5, 1)), axis=1))
    assert bit_counts(words).tolist() == [[int(x).bit_count() for x in row] for row in plain.tolist()]


def test_plausible_by_hand():
    x = np.array([1.0, -2.0, 2.5, np.nan, np.inf, -np.inf], np.float32)
    assert plausible(x, 1.0).tolist() == [1, -2, 0, 0, 0, 0]
