"""The seal against every way of breaking it."""

import hashlib

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shufflebits.cipher.keys import Key
from shufflebits.cipher.sealed import open_sealed, seal
from tests.common.shuffle_oracle import REVERSAL, patterns, random_keys, shuffled

WORDS = patterns()
FEATURES = WORDS.view(np.float32)
KEY, AES_KEY = Key(random_keys(None)), bytes(range(32))


@pytest.mark.parametrize(
    "action, message",
    [
        (lambda: seal(FEATURES, KEY, bytes(16)), r"must have 32 bytes, got 16; take AESGCM.generate_key\(256\)"),
        (
            lambda: seal(np.broadcast_to(FEATURES[0, 0], 2**29), KEY, AES_KEY),
            "up to 2147483647 bytes at once, got 2147483648",
        ),
        (lambda: open_sealed(b"", KEY, bytes(31)), "must have 32 bytes, got 31"),
    ],
)
def test_bad_arguments(action, message):
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
    opened = open_sealed(seal(features, key, AES_KEY), key, AES_KEY)
    assert opened.shape == shape and opened.dtype == np.float32
    np.testing.assert_array_equal(opened.view(np.uint32), features.view(np.uint32))


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


def test_every_flipped_bit_is_refused():
    sealed = seal(FEATURES[:1, :3], KEY, AES_KEY)
    for bit in range(8 * len(sealed)):
        broken = bytearray(sealed)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError) as error:
            open_sealed(bytes(broken), KEY, AES_KEY)
        assert str(error.value).count(".") <= 2 and str(error.value).endswith(".")


def test_every_truncation_is_refused():
    sealed = seal(FEATURES[:1, :3], KEY, AES_KEY)
    for length in [*range(len(sealed)), len(sealed) + 1]:
        if length < 10:
            sentence = "^These are no sealed features; pass the bytes"
        elif length < 26:
            sentence = f"^The sealed features end within their header, after {length} bytes; send them whole"
        else:
            sentence = rf"^Sealed features of shape \(1, 3\) take 66 bytes, got {length}; send them whole"
        with pytest.raises(ValueError, match=sentence):
            open_sealed((sealed + b"\0")[:length], KEY, AES_KEY)


@pytest.mark.parametrize(
    "key, aes_key", [(Key(REVERSAL), AES_KEY), (KEY, bytes(32)), (np.tile(np.asarray(KEY), (12, 1)), AES_KEY)]
)
def test_wrong_keys_are_refused(key, aes_key):
    """Also a wrong key of ShuffleBits alone, of which AES knows nothing."""
    with pytest.raises(ValueError, match="were altered, or a key is not the one that sealed them"):
        open_sealed(seal(FEATURES, KEY, AES_KEY), key, aes_key)


def test_other_versions_and_files_are_refused():
    sealed = seal(FEATURES, KEY, AES_KEY)
    with pytest.raises(ValueError, match="of version 1 are read, got version 9; update"):
        open_sealed(sealed[:8] + b"\x09" + sealed[9:], KEY, AES_KEY)
    with pytest.raises(ValueError, match="are no sealed features"):
        open_sealed(b"\x93NUMPY" + bytes(100), KEY, AES_KEY)
