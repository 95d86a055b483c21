"""The array path against the definition, and the seal against every way of breaking it."""

import hashlib

import keras
import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.layers import ShuffleBits
from shufflebits import arrays
from shufflebits.arrays import decrypt, encrypt, open_sealed, seal
from shufflebits.keys import Key
from tests.common.shuffle_oracle import IDENTITY, REVERSAL, SIGN_AND_LOWEST, patterns, random_keys, shuffled

WORDS = patterns()
FEATURES = WORDS.view(np.float32)
KEY, AES_KEY = Key(random_keys(None)), bytes(range(32))


@pytest.mark.parametrize(
    "key, expected",
    [
        (IDENTITY, [0x3F800000, 0x80000000, 0x7F800001]),
        (REVERSAL, [0x000001FC, 0x00000001, 0x800001FE]),
        (SIGN_AND_LOWEST, [0x3F800000, 0x00000001, 0xFF800000]),
    ],
)
def test_values_by_hand(key, expected):
    """1, -0 and a signalling NaN."""
    words = np.array([0x3F800000, 0x80000000, 0x7F800001], np.uint32)
    found = encrypt(words.view(np.float32), key)
    assert found.dtype == np.uint32 and found.tolist() == expected
    assert decrypt(found, key).dtype == np.float32
    np.testing.assert_array_equal(decrypt(found, key).view(np.uint32), words)


@pytest.mark.parametrize("threads", [None, 1, 3])
@pytest.mark.parametrize("count", [None, 12], ids=["one_key", "key_per_element"])
def test_every_exponent(count, threads):
    key = random_keys(count)
    encrypted = shuffled(WORDS, key)
    np.testing.assert_array_equal(encrypt(FEATURES, key, threads), encrypted)
    np.testing.assert_array_equal(decrypt(encrypted, key, threads).view(np.uint32), WORDS)


def test_long_vectors_are_cut_into_pieces():
    """Over two pieces of the cache and a rest, and over two threads."""
    width = 2 * arrays._CHUNK + 50
    keys = np.resize(random_keys(50), (width, 32))
    words = np.resize(WORDS, (2 * arrays._PART // width + 1, width))
    found = encrypt(words.view(np.float32), keys)
    some = slice(None, None, 60)
    np.testing.assert_array_equal(found[some], shuffled(words[some], keys))
    np.testing.assert_array_equal(decrypt(found, keys).view(np.uint32), words)


@pytest.mark.parametrize("count", [None, 12])
def test_equals_the_layer(count):
    key = random_keys(count, seed=5)
    np.testing.assert_array_equal(encrypt(FEATURES, key), keras.ops.convert_to_numpy(ShuffleBits(key)(FEATURES)))


def test_shapes_and_strides():
    for view in (FEATURES[:, ::2], FEATURES.T, FEATURES[:0], FEATURES.reshape(2, -1, 12), FEATURES[0, 0], FEATURES[3]):
        view = np.asarray(view)
        found = encrypt(view, KEY)
        assert found.shape == view.shape
        np.testing.assert_array_equal(found, shuffled(view.copy().view(np.uint32), np.asarray(KEY)))
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
        (lambda: seal(FEATURES, KEY, bytes(16)), r"must have 32 bytes, got 16; take AESGCM.generate_key\(256\)"),
        (
            lambda: seal(np.broadcast_to(FEATURES[0, 0], 2**29), KEY, AES_KEY),
            "up to 2147483647 bytes at once, got 2147483648",
        ),
        (lambda: open_sealed(b"", KEY, bytes(31)), "must have 32 bytes, got 31"),
    ],
)
def test_bad_arguments_are_told(action, message):
    with pytest.raises(ValueError, match=message):
        action()


@pytest.mark.parametrize(
    "shape, count",
    [
        ((512, 12), None),
        ((512, 12), 12),
        ((6144,), None),
        ((6144,), 6144),
        ((2, 3, 1024), 1024),
        ((0, 5), 5),
        ((), None),
    ],
)
def test_sealed_features_open(shape, count):
    features = np.resize(FEATURES, shape)
    key = KEY if count is None else np.resize(random_keys(40), (count, 32))
    found = open_sealed(seal(features, key, AES_KEY), key, AES_KEY)
    assert found.shape == shape and found.dtype == np.float32
    np.testing.assert_array_equal(found.view(np.uint32), features.view(np.uint32))


def test_seal_by_hand():
    """8 bytes of magic, version 1, two axes of 1 and 3, nonce; then AES-256-GCM of the shuffled words."""
    sealed = seal(FEATURES[:1, :3], KEY, AES_KEY)
    header = b"SHUFBITS\1\2" + (1).to_bytes(8, "little") + (3).to_bytes(8, "little")
    assert sealed[:26] == header and len(sealed) == 26 + 12 + 12 + 16
    with pytest.raises(InvalidTag):
        AESGCM(AES_KEY).decrypt(sealed[26:38], sealed[38:], header)  # the key of ShuffleBits belongs to it
    fingerprint = hashlib.sha256(bytes(np.asarray(KEY).tolist())).digest()
    words = AESGCM(AES_KEY).decrypt(sealed[26:38], sealed[38:], header + fingerprint)
    np.testing.assert_array_equal(np.frombuffer(words, "<u4"), shuffled(WORDS[0, :3], np.asarray(KEY)))
    assert seal(FEATURES[:1, :3], KEY, AES_KEY)[26:38] != sealed[26:38]


def test_every_flipped_bit_is_told():
    sealed = seal(FEATURES[:1, :3], KEY, AES_KEY)
    for bit in range(8 * len(sealed)):
        broken = bytearray(sealed)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError) as error:
            open_sealed(bytes(broken), KEY, AES_KEY)
        assert str(error.value).count(".") <= 2 and str(error.value).endswith(".")


def test_every_truncation_is_told():
    sealed = seal(FEATURES[:1, :3], KEY, AES_KEY)
    for length in [*range(len(sealed)), len(sealed) + 1]:
        with pytest.raises(ValueError, match="send them whole|no sealed features"):
            open_sealed((sealed + b"\0")[:length], KEY, AES_KEY)


@pytest.mark.parametrize(
    "key, aes_key", [(Key(REVERSAL), AES_KEY), (KEY, bytes(32)), (np.tile(np.asarray(KEY), (12, 1)), AES_KEY)]
)
def test_wrong_keys_are_told(key, aes_key):
    """Also a wrong key of ShuffleBits alone, of which AES knows nothing."""
    with pytest.raises(ValueError, match="were altered, or a key is not the one that sealed them"):
        open_sealed(seal(FEATURES, KEY, AES_KEY), key, aes_key)


def test_other_versions_and_files_are_told():
    sealed = seal(FEATURES, KEY, AES_KEY)
    with pytest.raises(ValueError, match="of version 1 are read, got version 9; update"):
        open_sealed(sealed[:8] + b"\x09" + sealed[9:], KEY, AES_KEY)
    with pytest.raises(ValueError, match="are no sealed features"):
        open_sealed(b"\x93NUMPY" + bytes(100), KEY, AES_KEY)


STEP = 2**22


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", ["array", "graph", "xla"])
def test_all_numbers(way):
    """Each of the 2^32 patterns there and back; a number's bits go where those of its four bytes go one by one."""
    tf = pytest.importorskip("tensorflow")

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
        found = there(words.view(np.float32))
        assert np.array_equal(found, expected), f"{start:08x}"
        assert np.array_equal(back(found).view(np.uint32), words), f"{start:08x}"
