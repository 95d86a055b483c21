"""What an adversary reads in stolen features."""

import numpy as np
import pytest

from shufflebits.attacks.encryption_settings import PLAIN, on_words, repeatable_key, stolen
from shufflebits.cipher.shuffle import encrypt
from shufflebits.cryptanalysis.trials import chacha20
from tests.common.shuffle_oracle import derived_keys, shuffled


def features(count, seed):
    """Vectors of unit length with dependent parts, as a network's averages of ReLU outputs are."""
    rng = np.random.default_rng(seed)
    positive = np.maximum(rng.normal(size=(count, 6)) @ np.random.default_rng(9).normal(size=(6, 96)) + 0.5, 0)
    return (positive / np.linalg.norm(positive, axis=1, keepdims=True)).astype("float32")


LOCAL, USERS = features(200, 0), features(40, 1)


@pytest.fixture(scope="module")
def settings():
    return stolen(LOCAL, USERS, seed=0)


def cosine(a, b):
    return np.einsum("nd,nd->n", a, b) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)


def test_what_is_not_encrypted_is_as_it_was(settings):
    np.testing.assert_array_equal(settings[PLAIN], USERS)


def as_numbers(words):
    numbers = words.view("float32")
    return np.where(np.isfinite(numbers) & (np.abs(numbers) <= 2 * LOCAL.max()), numbers, 0)


def test_words_are_read_as_numbers_up_to_the_largest_local_feature(settings):
    np.testing.assert_array_equal(settings["ShuffleBits, one key"], as_numbers(encrypt(USERS, repeatable_key(0, 1))))
    for name, numbers in settings.items():
        assert numbers.dtype == np.float32 and numbers.shape == USERS.shape, name
        assert np.abs(numbers).max() <= 2 * LOCAL.max(), name


def test_each_request_has_its_own_key(settings):
    keys = np.asarray(repeatable_key(0, 1, len(USERS)))
    assert len(np.unique(keys, axis=0)) == len(USERS)
    for row in (0, 7, 39):
        expected = as_numbers(encrypt(USERS[row], keys[row]))
        np.testing.assert_array_equal(settings["ShuffleBits, key per request"][row], expected)


def test_a_broken_key_gives_the_features_back(settings):
    assert cosine(settings["ShuffleBits, one key, broken"], USERS).min() > 0.9999
    assert np.median(cosine(settings["ShuffleBits, key per request, broken"], USERS)) > 0.9


def test_chacha20_gives_nothing(settings):
    """Bits of the words are fair coins: 122,880 of them, within five deviations of a half. As numbers they are no
    nearer to their own image's features than to another's."""
    bits = np.unpackbits(chacha20(USERS, np.random.default_rng([0, 2]).bytes(32), bytes(16)).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)
    own, other = (cosine(settings["ChaCha20"], users) for users in (USERS, np.roll(USERS, 1, axis=0)))
    assert abs((own - other).mean()) < 4 * (own - other).std() / np.sqrt(len(USERS))


def test_training_on_words_meets_two_keys():
    """Each party's one key is derived from a secret of the run's seed; words become numbers from 0 to 1."""
    for party, (numbers, plain) in enumerate(zip(on_words(LOCAL, USERS, seed=3), (LOCAL, USERS))):
        (key,) = derived_keys(np.random.default_rng([3, party]).bytes(32), 1)
        some = plain[:4]
        np.testing.assert_array_equal(numbers[:4], np.float32(shuffled(some.view("uint32"), key) / 2**32))
        assert numbers.shape == plain.shape and numbers.dtype == np.float32
