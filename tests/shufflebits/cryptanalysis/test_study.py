"""What the attack recovers, what it cannot, and its parts against direct computation."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multivariate_normal

from common.bit_permutation import inverse_key
from common.retrieval import Embeddings, save_embeddings
from shufflebits.cipher.keys import Key
from shufflebits.cipher.sealed import seal
from shufflebits.cipher.shuffle import decrypt, encrypt
from shufflebits.cryptanalysis import (
    BitStatistics,
    bit_counts,
    plausible,
    recover_key,
    recover_key_from_pairs,
    recover_key_per_element,
    study_ciphers,
    study_table,
)
from shufflebits.cryptanalysis.__main__ import main
from shufflebits.cryptanalysis.key_recovery import exchange_gains
from shufflebits.cryptanalysis.mantissa_order import errors_and_slopes, evidence, length_equations, length_errors

ELEMENTS = 512
UNITS = 2.0 ** -np.arange(1, 24)


def features(number, seed, *, signed=False, unit=True, elements=ELEMENTS):
    """Those of a network: elements of their own size that vary together; after ReLU a third are zero."""
    fixed, own = np.random.default_rng(99), np.random.default_rng(seed)
    directions, mean = fixed.normal(size=(16, elements)), fixed.normal(size=elements) - 0.2
    x = own.normal(size=(number, 16)) @ directions / 6 + mean + 0.5 * own.normal(size=(number, elements))
    if not signed:
        x = np.maximum(x, 0)
    return (x / np.linalg.norm(x, axis=1, keepdims=True) if unit else x).astype("float32")


def right_bits(key, recovered, plain):
    """(32,) whether a bit is right in all of `plain` after encryption with one key and decryption with the other."""
    difference = decrypt(encrypt(plain, key), recovered).view(np.uint32) ^ plain.view(np.uint32)
    return np.array([not (difference >> np.uint32(i) & 1).any() for i in range(32)])


def leading(right):
    return int(np.cumprod(right[22::-1]).sum())


@pytest.fixture(scope="module")
def relu():
    return BitStatistics.of(features(600, 0)), features(400, 1)


@pytest.mark.parametrize("seed", range(4))
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
        for words in (encrypt(users[:20], np.random.default_rng(seed).permutation(32)) for seed in range(5))
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
    assert recovery.determined.all()


def test_known_plaintext_tells_what_it_cannot_know():
    plain = np.array([0b0011, 0b1011, 0b0100], np.uint32).view(np.float32)  # bits 0 and 1 alike, bits from 4 on too
    key = np.random.default_rng(0).permutation(32)
    recovery = recover_key_from_pairs(plain, encrypt(plain, key))
    assert recovery.determined.tolist() == [False, False, True, True] + [False] * 28
    assert recovery.key[2:4].tolist() == key[2:4].tolist() and set(recovery.key[:2]) == set(key[:2])
    np.testing.assert_array_equal(decrypt(encrypt(plain, key), recovery.key), plain)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_no_key_changes_bit_counts(seed):
    generator = np.random.default_rng(seed)
    plain = generator.integers(0, 2**32, (3, 5), np.uint32)
    words = encrypt(plain.view(np.float32), generator.permuted(np.tile(np.arange(32), (5, 1)), axis=1))
    assert bit_counts(words).tolist() == [[int(x).bit_count() for x in row] for row in plain.tolist()]


def test_statistics_by_hand():
    statistics = BitStatistics.of(np.array([[1.0, -2.0], [1.5, -2.0], [1.75, 0.0]], np.float32))
    weight = 8  # vectors that all elements together count for; of 6 numbers two are negative, two have bit 22
    assert statistics.marginals[1, 31] == pytest.approx((2 + weight * 2.5 / 7) / (3 + weight))
    assert statistics.marginals[0, 22] == pytest.approx((2 + weight * 2.5 / 7) / (3 + weight))  # 1.5 and 1.75
    pooled = (3 + 0.5 / 512) / 6.5  # all of exponent 127 are of element 0
    assert statistics.heads[0, 127] == pytest.approx(np.log((3 + weight * pooled) / (3 + weight)), rel=1e-6)
    assert statistics.heads[1, 127] == pytest.approx(np.log(weight * pooled / (3 + weight)), rel=1e-6)
    assert statistics.mantissa[127, [21, 22]] == pytest.approx([(1 + 0.5) / 4, (2 + 0.5) / 4])
    assert statistics.squared_length is None and statistics.signs is None
    assert np.exp(statistics.heads).sum(1) == pytest.approx(1, rel=1e-5)


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


def test_lengths_follow_from_the_weights():
    plain = features(7, 0)
    values, slopes = errors_and_slopes(length_equations(plain.view(np.uint32), 0.5), UNITS[::-1])
    np.testing.assert_allclose(values, 2 * (plain.astype(float) ** 2).sum(1) - 1, rtol=1e-12)
    step = np.zeros(23)
    step[4] = 1e-6
    stepped = length_errors(length_equations(plain.view(np.uint32), 0.5), UNITS[::-1] + step)
    np.testing.assert_allclose((stepped - values) / 1e-6, slopes[:, 4], rtol=1e-5)


def test_evidence_of_a_whole_order_is_the_normal_density():
    equations = length_equations(features(5, 0).view(np.uint32), 1.0)
    orders = np.stack([np.random.default_rng(seed).permutation(23) for seed in range(3)])
    for order, likelihood in zip(orders, evidence(equations, orders, 0.1)):
        values = length_errors(equations, UNITS[np.argsort(order)])
        expected = multivariate_normal(cov=0.01 * np.eye(5)).logpdf(values) + 2.5 * np.log(2 * np.pi)
        assert likelihood == pytest.approx(expected, rel=1e-9)


def test_real_seal_holds(relu):
    """The very attack, on what `seal` returns under fresh keys."""
    statistics, users = relu
    sealed = seal(users, Key.generate(), AESGCM.generate_key(256))
    words = np.frombuffer(sealed[-16 - users.nbytes : -16], np.uint32).reshape(users.shape)
    recovery = recover_key(words[:300], statistics)
    guess = plausible(decrypt(words[300:], recovery.key), 1.0)
    cosine = (guess * users[300:]).sum(1) / np.maximum(np.linalg.norm(guess, axis=1), 1e-9)
    assert recovery.log_likelihood < recovery.expected - 2 and abs(cosine.mean()) < 0.05


@pytest.fixture(scope="module")
def both_sides():
    return features(500, 0, elements=256), features(200, 1, elements=256)


@pytest.fixture(scope="module")
def studied(both_sides):
    return study_ciphers(*both_sides, counts=(1, 5, 60, 1000), num_keys=3, identities=np.arange(200) // 4)


def test_study_finds_shufflebits_broken_and_ciphers_whole(studied):
    by_scheme = {}
    for record in studied:
        by_scheme.setdefault(record["scheme"], {})[record["vectors"]] = record
    assert list(by_scheme["one key"]) == [1, 5, 60]  # 1000 are not there
    assert by_scheme["one key"][60]["exponents"] == 1 and by_scheme["one key"][60]["mantissa_bits"] > 20
    assert by_scheme["one key, known plaintext"][1]["mantissa_bits"] == 23
    assert by_scheme["key per request"][1]["relinked"] > 0.9 and by_scheme["key per request"][1]["chance"] == 1 / 700
    assert by_scheme["key per element"][60]["relinked"] > 0.9
    both = by_scheme["key per element and request"][1]
    assert both["relinked"] is None and both["relinked_by_bit_counts"] == 1
    for scheme in ("ChaCha20", "cascade"):
        most = binom.ppf(1 - 1e-6, 300, 1 / 700) / 300  # 3 keys, 100 vectors each
        for record in by_scheme[scheme].values():
            assert record["exponents"] == 0 and record["mantissa_bits"] == 0 and record["numbers"] < 0.01
            assert record["relinked"] <= most and record["relinked_by_bit_counts"] <= most
            assert abs(record["cosine"]) < 0.05


def test_study_repeats_itself(both_sides, studied):
    again = study_ciphers(*both_sides, counts=(1, 5), num_keys=3, identities=np.arange(200) // 4)
    first = [record for record in studied if record["vectors"] <= 5]
    assert [{**record, "seconds": 0} for record in again] == [{**record, "seconds": 0} for record in first]


def test_command_line(tmp_path, monkeypatch, capsys):
    gallery = Embeddings(features(100, 0, elements=64), np.arange(100), np.zeros(100, int))
    query = Embeddings(features(40, 1, elements=64), np.arange(40) // 2, np.ones(40, int))
    save_embeddings(tmp_path / "features.npz", query, gallery)
    monkeypatch.setattr("sys.argv", ["x", str(tmp_path / "features.npz"), "--num-keys", "1", "--counts", "2", "9"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| scheme") and lines[2].startswith("| not encrypted") and len(lines) == 2 + 12 + 2
    assert lines[-1] == "By chance, 0.71% are re-linked and 2.56% recognized."
    assert study_table([]).startswith("| scheme")


def test_plausible_by_hand():
    x = np.array([1.0, -2.0, 2.5, np.nan, np.inf, -np.inf], np.float32)
    assert plausible(x, 1.0).tolist() == [1, -2, 0, 0, 0, 0]


WORDS, SAMPLE = np.zeros((3, 4), np.uint32), np.ones((5, 4), np.float32)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: recover_key(WORDS, SAMPLE.astype(float)), "The sample must be float32 .* got float64"),
        (lambda: recover_key(WORDS, SAMPLE[0]), r"shape \(M, D\), got float32 of \(4,\)"),
        (lambda: recover_key(WORDS, SAMPLE * np.float32("nan")), "The sample must be finite, got NaN"),
        (lambda: recover_key(WORDS.astype(int), SAMPLE), "Words must be uint32 .* got int64"),
        (lambda: recover_key(WORDS[:, :3], SAMPLE), "as many elements, got 3 and 4"),
        (lambda: recover_key(WORDS[:0], SAMPLE), "one vector of words or more, got none"),
        (lambda: recover_key_per_element(WORDS[0], SAMPLE), r"Words must be uint32 of shape \(N, D\)"),
        (lambda: recover_key_from_pairs(SAMPLE, WORDS), r"of one shape, got float32 \(5, 4\) and uint32 \(3, 4\)"),
        (lambda: recover_key_from_pairs(SAMPLE[:3], WORDS), "No key turns these features into these words"),
        (lambda: study_ciphers(SAMPLE, SAMPLE[:, :2]), "as many elements, got 4 and 2"),
        (lambda: study_ciphers(SAMPLE, SAMPLE[:1]), "two users' vectors"),
        (
            lambda: study_ciphers(SAMPLE, SAMPLE, identities=np.arange(3)),
            r"an identity for each of 5 users, got \(3,\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_key_convention():
    """f[i] is where bit i goes."""
    plain = np.random.default_rng(0).integers(0, 2**32, 200, np.uint32)
    words = sum(((plain >> np.uint32(i)) & np.uint32(1)) << np.uint32((i + 5) % 32) for i in range(32))
    recovery = recover_key_from_pairs(plain.view(np.float32), words.astype(np.uint32))
    assert recovery.key.tolist() == [(i + 5) % 32 for i in range(32)]
    assert inverse_key(recovery.key)[5] == 0
