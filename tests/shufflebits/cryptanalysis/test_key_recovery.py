"""What the attack recovers, what it cannot, and the parts of a key's likelihood against direct computation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import comb
from scipy.stats import binom, norm

from common.bit_permutation import inverse_key
from shufflebits.cipher.keys import Key
from shufflebits.cipher.sealed import generate_key, seal
from shufflebits.cipher.shuffle import decrypt, encrypt
from shufflebits.cryptanalysis import (
    BitStatistics,
    plausible,
    recover_key,
    recover_key_from_pairs,
    recover_key_per_element,
)
from shufflebits.cryptanalysis import key_recovery as module
from shufflebits.cryptanalysis.bit_statistics import ones_of
from shufflebits.cryptanalysis.key_recovery import exchange_gains
from tests.shufflebits.cryptanalysis.sample_features import features


def right_bits(key, recovered, plain):
    """(32,) whether a bit is right in all of `plain` after encryption with one key and decryption with the other."""
    difference = decrypt(encrypt(plain, key), recovered).view(np.uint32) ^ plain.view(np.uint32)
    return np.array([not (difference >> np.uint32(i) & 1).any() for i in range(32)])


def leading(right):
    return int(np.cumprod(right[22::-1]).sum())


@pytest.fixture(scope="module")
def relu():
    return BitStatistics.of(features(600, 0)), features(400, 1)


@pytest.mark.parametrize("seed", range(2))
def test_whole_key_from_words_alone(relu, seed):
    statistics, users = relu
    key = np.random.default_rng(seed).permutation(32)
    recovery = recover_key(encrypt(users[:300], key), statistics)
    assert right_bits(key, recovery.key, users[300:]).all()
    assert recovery.residual < 1e-7 and abs(recovery.log_likelihood - recovery.expected) < 0.2
    assert "key" not in repr(recovery)


@pytest.mark.parametrize("number, mantissa_bits", [(5, 17), (60, 20)])
def test_lengths_order_the_mantissa_from_few_vectors(relu, number, mantissa_bits):
    statistics, users = relu
    for seed in range(3):
        key = np.random.default_rng(seed).permutation(32)
        right = right_bits(key, recover_key(encrypt(users[:number], key), statistics).key, users[300:])
        assert leading(right) >= mantissa_bits and right[25:].sum() >= 5


def test_any_constant_length_will_do():
    scaled = BitStatistics.of(64 * features(300, 0))
    assert scaled.squared_length[0] == pytest.approx(4096, rel=1e-6)
    key, users = np.random.default_rng(0).permutation(32), 64 * features(130, 1)
    assert leading(right_bits(key, recover_key(encrypt(users[:30], key), scaled).key, users[30:])) >= 19


@pytest.mark.parametrize("signed, unit, mantissa_bits", [(True, True, 19), (False, False, 3)])
def test_other_forms_of_features(signed, unit, mantissa_bits):
    sample, users = (features(number, seed, signed=signed, unit=unit) for seed, number in enumerate((600, 130)))
    for seed in range(3):
        key = np.random.default_rng(seed).permutation(32)
        recovery = recover_key(encrypt(users[:30], key), sample)
        assert leading(right_bits(key, recovery.key, users[30:])) >= mantissa_bits
        guess = decrypt(encrypt(users[30:], key), recovery.key).view(np.uint32)
        # An exponent bit that only the smallest numbers tell from another may be wrong in those.
        assert ((guess ^ users[30:].view(np.uint32)) >> 23 == 0).mean() > 0.999
        assert (recovery.residual is None) == (not unit)


def test_what_is_decrypted_does_not_depend_on_the_key(relu):
    """The attack sees bit planes; a key says where they lie, and that is all it can change."""
    statistics, users = relu
    plain = {
        decrypt(words, recover_key(words, statistics).key).tobytes()
        for words in (encrypt(users[:20], np.random.default_rng(seed).permutation(32)) for seed in range(3))
    }
    assert len(plain) == 1


def test_vector_with_a_key_of_its_own_is_relinked(relu):
    statistics, users = relu
    relinked = []
    for seed in range(30):
        words = encrypt(users[seed : seed + 1], np.random.default_rng(seed).permutation(32))
        guess = plausible(decrypt(words, recover_key(words, statistics).key), 1.0)
        relinked.append(int((guess @ users.T).argmax()) == seed)  # one of 400
    assert sum(relinked) >= 28


def test_keys_per_element():
    sample, users = features(600, 0, elements=48), features(500, 1, elements=48)
    key = Key.derive(bytes(16), 48)
    recovered = recover_key_per_element(encrypt(users[:300], key), sample)
    guess = decrypt(encrypt(users[300:], key), recovered.key)
    assert ((guess.view(np.uint32) ^ users[300:].view(np.uint32)) >> 23 == 0).mean() > 0.85
    guess = plausible(guess, sample.max())
    cosine = (guess * users[300:]).sum(1) / np.linalg.norm(guess, axis=1)
    assert recovered.key.shape == (48, 32) and np.median(cosine) > 0.95


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_known_plaintext_of_all_patterns_is_the_whole_key(seed):
    generator = np.random.default_rng(seed)
    key = generator.permutation(32)
    plain = generator.integers(0, 2**32, (2, 200), np.uint32)
    recovery = recover_key_from_pairs(plain.view(np.float32), encrypt(plain.view(np.float32), key))
    np.testing.assert_array_equal(recovery.key, key)
    assert recovery.determined.all() and "key" not in repr(recovery)


def test_known_plaintext_tells_what_it_cannot_know():
    plain = np.array([0b0011, 0b1011, 0b0100], np.uint32).view(np.float32)  # bits 0 and 1 alike, bits from 4 on too
    key = np.random.default_rng(0).permutation(32)
    recovery = recover_key_from_pairs(plain, encrypt(plain, key))
    assert recovery.determined.tolist() == [False, False, True, True] + [False] * 28
    assert recovery.key[2:4].tolist() == key[2:4].tolist() and set(recovery.key[:2]) == set(key[:2])
    np.testing.assert_array_equal(decrypt(encrypt(plain, key), recovery.key), plain)


def test_attack_finds_nothing_in_sealed_features(relu):
    """The very attack, on what `seal` returns under a fresh key."""
    statistics, users = relu
    sealed = seal(users, generate_key())
    words = np.frombuffer(sealed[-16 - users.nbytes : -16], np.uint32).reshape(users.shape)
    recovery = recover_key(words[:300], statistics)
    guess = plausible(decrypt(words[300:], recovery.key), 1.0)
    cosine = (guess * users[300:]).sum(1) / np.maximum(np.linalg.norm(guess, axis=1), 1e-9)
    assert recovery.log_likelihood < recovery.expected - 2 and abs(cosine.mean()) < 0.05


def test_key_convention():
    """f[i] is where bit i goes."""
    plain = np.random.default_rng(0).integers(0, 2**32, 200, np.uint32)
    words = sum(((plain >> np.uint32(i)) & np.uint32(1)) << np.uint32((i + 5) % 32) for i in range(32))
    recovery = recover_key_from_pairs(plain.view(np.float32), words.astype(np.uint32))
    assert recovery.key.tolist() == [(i + 5) % 32 for i in range(32)]
    assert inverse_key(recovery.key)[5] == 0


def test_gains_of_exchanges_are_those_of_exchanging():
    generator = np.random.default_rng(0)
    plain = generator.integers(0, 2**32, 40, np.uint32)
    rows, heads = generator.integers(0, 3, 40), generator.normal(size=(3, 512)).astype("float32")
    gains = exchange_gains(plain, rows, heads)
    for a in range(9):
        for b in range(23 + a):
            swap = np.arange(32)
            swap[[23 + a, b]] = b, 23 + a
            changed = encrypt(plain.view(np.float32), swap)
            expected = (heads[rows, changed >> 23] - heads[rows, plain >> 23]).sum(dtype=float)
            assert gains[a, b] == pytest.approx(expected, abs=1e-4)
        assert np.isneginf(gains[a, 23 + a :]).all()


@pytest.fixture(scope="module")
def few():
    """Statistics of signed features, and words of other ones."""
    sample = features(60, 0, signed=True, elements=6)
    return BitStatistics.of(sample), features(9, 1, signed=True, elements=6).view(np.uint32)


def bit(words, position):
    return (words >> np.uint32(position)) & np.uint32(1)


def test_independent_bits_are_scored_as_coins(few):
    statistics, words = few
    scores = module._marginal_scores(ones_of(words), len(words), statistics)
    for d, i, j in ((0, 31, 30), (2, 23, 23), (5, 4, 17)):
        heads = int(bit(words[:, d], j).sum())
        coin = binom(len(words), statistics.marginals[d, i]).logpmf(heads)
        assert scores[d, i, j] == pytest.approx(coin - np.log(comb(len(words), heads)))


def test_signs_are_scored_along_the_directions_in_which_they_vary_together(few):
    """Log densities of normal distributions: with the variance of each direction, less that of independent signs."""
    statistics, words = few
    directions, variances = statistics.signs
    p = statistics.marginals[:, 31]
    scores = module._sign_scores(words, statistics)
    for j in (0, 22, 31):
        along = (bit(words, j).astype(float) - p) @ directions
        independent = [sum(p * (1 - p) * direction**2) for direction in directions.T]
        densities = norm(0, np.sqrt(variances)).logpdf(along) - norm(0, np.sqrt(independent)).logpdf(along)
        assert scores[j] == pytest.approx(densities.sum(), rel=1e-6)
    assert not module._sign_scores(words, BitStatistics.of(np.abs(words.view(np.float32)))).any()


def test_mantissa_bits_are_scored_by_exponent_and_tilt(few):
    """Where numbers lie t above the middle of their octave, bit i is one more often, by t · 3 · 2^(i − 23)."""
    statistics, words = few
    elements = np.arange(words.size) % 6
    scores = module._mantissa_scores(words.reshape(1, -1), elements, statistics)[0]
    for i, j in ((22, 22), (20, 3), (0, 22)):
        expected = 0.0
        for d, word in zip(elements, words.ravel().tolist()):
            p = statistics.mantissa[word >> 23, i] + statistics.tilts[d, word >> 23] * 3 * 2.0 ** (i - 23)
            p = min(max(p, 1e-3), 1 - 1e-3)
            expected += np.log(p if word >> j & 1 else 1 - p)
        assert scores[i, j] == pytest.approx(expected, rel=1e-4)


def test_climb_ends_where_no_exchange_helps(few):
    """The likelihood of what comes out is that of its parts, and each exchange of two bits lowers it."""
    statistics, words = few
    rows, words = np.arange(words.size) % 6, words.ravel()
    linear, start = np.random.default_rng(0).normal(size=(32, 32)), np.random.default_rng(1).permutation(32)

    def likelihood(places):
        plain = decrypt(words, places).view(np.uint32)
        heads = statistics.heads[rows, plain >> 23].sum(dtype=float)
        return heads + linear[range(32), places].sum(), heads

    places, whole, of_heads = module._climb(words, rows, statistics.heads, linear, start)
    assert (whole, of_heads) == pytest.approx(likelihood(places)) and whole > likelihood(start)[0]
    for a in range(23, 32):
        for b in range(a):
            other = places.copy()
            other[[a, b]] = places[[b, a]]
            assert likelihood(other)[0] < whole + 1e-3


def test_climb_that_is_cut_short_has_the_likelihood_of_its_last_exchange(few, monkeypatch):
    statistics, words = few
    monkeypatch.setattr(module, "_MOST_EXCHANGES", 1)
    rows, words = np.arange(words.size) % 6, words.ravel()
    linear, start = np.random.default_rng(0).normal(size=(32, 32)), np.random.default_rng(1).permutation(32)
    places, whole, _ = module._climb(words, rows, statistics.heads, linear, start)
    heads = statistics.heads[rows, decrypt(words, places).view(np.uint32) >> 23].sum(dtype=float)
    assert np.count_nonzero(places != start) == 2 and whole == pytest.approx(heads + linear[range(32), places].sum())


def test_fit_is_the_mean_over_numbers(few):
    statistics, words = few
    each = [statistics.heads[d, word >> 23] for row in words.tolist() for d, word in enumerate(row)]
    of_sample = (np.exp(statistics.heads.astype(float)) * statistics.heads).sum(1)
    assert module._fit(words, statistics) == pytest.approx((np.mean(each), of_sample.mean()), rel=1e-5)
