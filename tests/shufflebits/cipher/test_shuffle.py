"""The array path against the definition."""

import os
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from common.layers import ShuffleBits
from shufflebits.cipher import shuffle
from shufflebits.cipher.keys import Key
from shufflebits.cipher.shuffle import decrypt, encrypt
from tests.common.shuffle_oracle import IDENTITY, REVERSAL, SIGN_AND_LOWEST, patterns, random_keys, shuffled

WORDS = patterns()
FEATURES = WORDS.view(np.float32)
KEY = Key(random_keys(None))


@pytest.mark.parametrize(
    "key, expected",
    [
        (IDENTITY, [0x3F800000, 0x80000000, 0x7F800001]),
        (REVERSAL, [0x000001FC, 0x00000001, 0x800001FE]),
        (SIGN_AND_LOWEST, [0x3F800000, 0x00000001, 0xFF800000]),
        ([*range(1, 32), 0], [0x7F000000, 0x00000001, 0xFF000002]),  # a left rotation, as in Fig. 2.5
    ],
)
def test_values_by_hand(key, expected):
    """1, -0 and a signalling NaN."""
    words = np.array([0x3F800000, 0x80000000, 0x7F800001], np.uint32)
    encrypted = encrypt(words.view(np.float32), key)
    assert encrypted.dtype == np.uint32 and encrypted.tolist() == expected
    assert decrypt(encrypted, key).dtype == np.float32
    np.testing.assert_array_equal(decrypt(encrypted, key).view(np.uint32), words)


@pytest.mark.parametrize("threads", [None, 1, 3])
@pytest.mark.parametrize("count", [None, 12], ids=["one_key", "key_per_element"])
def test_every_exponent(count, threads):
    key = random_keys(count)
    encrypted = shuffled(WORDS, key)
    np.testing.assert_array_equal(encrypt(FEATURES, key, threads), encrypted)
    np.testing.assert_array_equal(decrypt(encrypted, key, threads).view(np.uint32), WORDS)


def test_long_vectors_are_cut_into_pieces():
    """Over two pieces of the cache and a rest, and over two threads."""
    width = 2 * shuffle.CHUNK + 50
    keys = np.resize(random_keys(50), (width, 32))
    words = np.resize(WORDS, (2 * shuffle.PART // width + 1, width))
    encrypted = encrypt(words.view(np.float32), keys)
    some = slice(None, None, 60)
    np.testing.assert_array_equal(encrypted[some], shuffled(words[some], keys))
    np.testing.assert_array_equal(decrypt(encrypted, keys).view(np.uint32), words)


@pytest.mark.parametrize("size, threads", [(2**19 - 1, 1), (2**19, 2), (3 * 2**18, 3), (2**20, 3)])
def test_threads_are_used_for_large_arrays_alone(size, threads, monkeypatch):
    """One for each 2^18 numbers, but no more than the three processors."""
    started = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, count):
            started.append(count)
            super().__init__(count)

    monkeypatch.setattr(shuffle, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(3) if process == 0 else range(9))
    words = np.arange(size, dtype=np.uint32)
    assert encrypt(words.view(np.float32), SIGN_AND_LOWEST)[[0, 1, -1]].tolist() == [
        int(shuffled(words[n], SIGN_AND_LOWEST)) for n in (0, 1, -1)
    ]
    assert started == [threads] * (threads > 1)


@pytest.mark.parametrize("count", [None, 12])
def test_equals_the_layer(count):
    key = random_keys(count, seed=5)
    np.testing.assert_array_equal(encrypt(FEATURES, key), keras.ops.convert_to_numpy(ShuffleBits(key)(FEATURES)))


def test_shapes_and_strides():
    for view in (FEATURES[:, ::2], FEATURES.T, FEATURES[:0], FEATURES.reshape(2, -1, 12), FEATURES[0, 0], FEATURES[3]):
        view = np.asarray(view)
        encrypted = encrypt(view, KEY)
        assert encrypted.shape == view.shape
        np.testing.assert_array_equal(encrypted, shuffled(view.copy().view(np.uint32), np.asarray(KEY)))
    assert encrypt(FEATURES[:0], random_keys(12)).shape == (0, 12)


@pytest.mark.parametrize("count", [None, 12])
def test_output_given_even_the_input_itself(count):
    key, words = random_keys(count), WORDS.copy()
    assert encrypt(words.view(np.float32), key, out=words) is words
    np.testing.assert_array_equal(words, shuffled(WORDS, key))
    features = np.empty_like(FEATURES)
    assert decrypt(words, key, out=features) is features
    np.testing.assert_array_equal(features.view(np.uint32), WORDS)


def test_input_is_left_alone():
    encrypt(FEATURES, KEY)
    np.testing.assert_array_equal(WORDS, patterns())


@pytest.mark.parametrize(
    "action, message",
    [
        (lambda: encrypt(np.ones(3), KEY), "encrypt takes float32, got float64; cast to float32 yourself"),
        (lambda: encrypt(np.ones(3, "float16"), KEY), "encrypt takes float32, got float16"),
        (lambda: decrypt(FEATURES, KEY), "decrypt takes uint32, got float32"),
        (lambda: encrypt(FEATURES, KEY, out=WORDS.T), r"uint32, of shape \(512, 12\) .* got uint32 of \(12, 512\)"),
        (lambda: encrypt(FEATURES, KEY, out=FEATURES), "out must be uint32, .* got float32"),
        (lambda: encrypt(FEATURES, [0] * 32), "each position once, got one twice"),
        (lambda: encrypt(FEATURES, range(33)), r"got \(33,\)"),
        (lambda: encrypt(FEATURES, random_keys(7)), r"vectors of 7 elements, got features of shape \(512, 12\)"),
    ],
)
def test_bad_arguments(action, message):
    with pytest.raises(ValueError, match=message):
        action()


STEP = 2**22


@pytest.mark.exhaustive
@pytest.mark.tensorflow
@pytest.mark.parametrize("way", ["array", "graph", "xla"])
def test_all_numbers(way):
    """Each of the 2^32 patterns there and back; a number's bits go where those of its four bytes go one by one."""
    import tensorflow as tf

    key = random_keys(None, seed=11)
    bytes_moved = [shuffled(np.arange(256, dtype=np.uint32) << np.uint32(8 * n), key) for n in range(4)]
    if way == "array":
        there, back = (lambda x: encrypt(x, key)), (lambda x: decrypt(x, key))
    else:
        layers = ShuffleBits(key), ShuffleBits(key, inverse=True)
        steps = [tf.function(layer, jit_compile=way == "xla") for layer in layers]
        there, back = (lambda x, step=step: step(tf.constant(x)).numpy() for step in steps)
    for start in range(0, 2**32, STEP):
        words = np.arange(start, start + STEP, dtype=np.uint32)
        numbers = words.view(np.uint8).reshape(-1, 4)
        expected = np.bitwise_or.reduce([bytes_moved[n][numbers[:, n]] for n in range(4)])
        encrypted = there(words.view(np.float32))
        assert np.array_equal(encrypted, expected), f"{start:08x}"
        assert np.array_equal(back(encrypted).view(np.uint32), words), f"{start:08x}"
