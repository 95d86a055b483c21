"""XChaCha20-Poly1305 against its draft, a plain implementation, and libsodium; and every way of breaking a seal."""

import copy
import ctypes
import ctypes.util
import os
import pickle
import struct

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from common.layers import ChaCha20
from common.layers.words import words_dtype
from shufflebits.cipher import sealed as module
from shufflebits.cipher.keys import Key
from shufflebits.cipher.sealed import (  # fmt: skip
    Message,
    features_context,
    generate_key,
    hchacha20,
    open_features,
    open_sealed,
    seal,
)
from shufflebits.cipher.shuffle import decrypt, encrypt
from tests.common.shuffle_oracle import patterns
from tests.helpers import words_of

WORDS = patterns()
FEATURES = WORDS.view(np.float32)
SECRET = bytes(range(32))


def plain_hchacha20(key, nonce):
    """draft-irtf-cfrg-xchacha-03, section 2.2, on Python's integers."""
    x = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))

    def quarter_round(a, b, c, d):
        for i, j, k, by in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            x[i] = (x[i] + x[j]) % 2**32
            x[k] ^= x[i]
            x[k] = (x[k] << by | x[k] >> (32 - by)) % 2**32

    for _ in range(10):
        for i in range(4):
            quarter_round(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter_round(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *x[:4], *x[12:])


def test_subkey_of_the_draft():
    """Section 2.2.1."""
    nonce = bytes.fromhex("000000090000004a0000000031415927")
    subkey = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    assert hchacha20(SECRET, nonce).hex() == plain_hchacha20(SECRET, nonce).hex() == subkey


def test_subkeys_by_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        key, nonce = rng.bytes(32), rng.bytes(16)
        assert hchacha20(key, nonce) == plain_hchacha20(key, nonce)


def test_message_of_the_draft(monkeypatch):
    """Appendix A.3.1."""
    text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    text += b"sunscreen would be it."
    nonce = bytes(range(0x40, 0x58))
    monkeypatch.setattr(os, "urandom", lambda size: nonce)
    sealed = seal(text, bytes(range(0x80, 0xA0)), bytes.fromhex("50515253c0c1c2c3c4c5c6c7"))
    assert sealed[:24] == nonce and sealed[24:40].hex() == "bd6d179d3e83d43b9576579493c0e939"
    assert sealed[-16:].hex() == "c0875924c1c7987947deafd8780acf49"


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 16), (7, 50)])
def test_graph_and_library_agree(shape, monkeypatch):
    """What the layer encrypts and Poly1305 signs are the bytes of `cryptography` under the subkey."""
    nonce = bytes(range(24))
    monkeypatch.setattr(os, "urandom", lambda size: nonce)
    features, message = FEATURES.ravel()[: np.prod(shape)].reshape(shape).copy(), Message(SECRET)
    sealed = message.seal(words_of(ChaCha20()([features, *as_inputs(message.stream(features.size))])))
    cipher = ChaCha20Poly1305(plain_hchacha20(SECRET, nonce[:16]))
    assert sealed == nonce + cipher.encrypt(bytes(4) + nonce[16:], features.tobytes(), features_context(shape))
    assert sealed == seal(features, SECRET, b"float32 features " + f"{shape[0]}x{shape[1]}".encode())
    opened = open_features(sealed, SECRET, shape)
    assert opened.dtype == np.float32 and opened.tobytes() == features.tobytes()


def as_inputs(stream):
    return [x.astype(words_dtype()) for x in stream]


def test_pieces_of_a_message_go_on():
    """Three calls, of 32, 16 and 5 words: none hands out a block again, and the whole opens."""
    features, message, layer = FEATURES[:1].repeat(5, 1)[:, :53], Message(SECRET), ChaCha20()
    streams = [message.stream(size) for size in (32, 16, 5)]
    assert [int(stream[2]) for stream in streams] == [1, 3, 4]
    parts = np.split(np.ascontiguousarray(features), [32, 48], axis=1)
    words = [words_of(layer([part, *as_inputs(stream)])) for part, stream in zip(parts, streams)]
    with pytest.raises(ValueError, match="go on behind a whole block of 16"):
        message.stream(1)
    sealed = message.seal(np.concatenate(words, axis=1))
    assert open_features(sealed, SECRET, (1, 53)).tobytes() == features.tobytes()
    for call in (lambda: message.stream(1), lambda: message.seal(words[0])):
        with pytest.raises(ValueError, match="sealed"):
            call()


def test_nonces_have_no_state():
    """10,000 messages of one key; nothing to copy, and no copies of a message."""
    nonces = {seal(b"", SECRET)[:24] for _ in range(5000)} | {Message(SECRET)._nonce for _ in range(5000)}
    assert len(nonces) == 10_000 and {len(nonce) for nonce in nonces} == {24}
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="would encrypt under the same nonce; make another one"):
            duplicate(Message(SECRET))
    assert repr(Message(SECRET)) == "Message(hidden)"
    assert len({generate_key() for _ in range(10)}) == 10 and len(generate_key()) == 32


SODIUM = ctypes.util.find_library("sodium")


@pytest.mark.skipif(SODIUM is None, reason="needs libsodium")
def test_libsodium_opens_what_is_sealed_here_and_the_reverse():
    sodium, content, context = ctypes.CDLL(SODIUM), FEATURES.tobytes(), b"context"
    assert sodium.sodium_init() >= 0
    size, sealed = ctypes.c_ulonglong, seal(FEATURES, SECRET, context)
    room, length = ctypes.create_string_buffer(len(content) + 16), size()
    opens = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt
    arguments = (sealed[24:], size(len(sealed) - 24), context, size(len(context)), sealed[:24], SECRET)
    assert opens(room, ctypes.byref(length), None, *arguments) == 0 and room.raw[: length.value] == content
    nonce = os.urandom(24)
    arguments = (content, size(len(content)), context, size(len(context)), None, nonce, SECRET)
    assert sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(room, ctypes.byref(length), *arguments) == 0
    assert open_sealed(nonce + room.raw[: length.value], SECRET, context) == content


@pytest.mark.parametrize("broken", ["bits", "lengths", "key", "shapes"])
def test_nothing_else_opens(broken):
    """Every flipped bit, every truncation, another key, and other shapes of as many numbers or not."""
    sealed = seal(FEATURES[:1, :3].copy(), SECRET, features_context((1, 3)))
    assert len(sealed) == 24 + 12 + 16
    number = int.from_bytes(sealed, "big")
    others = {
        "bits": [((number ^ 1 << bit).to_bytes(52, "big"), SECRET, (1, 3)) for bit in range(8 * 52)],
        "lengths": [((sealed + b"\0")[:length], SECRET, (1, 3)) for length in [*range(52), 53]],
        "key": [(sealed, bytes(32), (1, 3))],
        "shapes": [(sealed, SECRET, shape) for shape in ((3, 1), (1, 2), (13,))],
    }
    for arguments in others[broken]:
        with pytest.raises(ValueError, match="no whole sealed message, or it was altered, or key or context") as error:
            open_features(*arguments)
        assert error.value.__suppress_context__


def test_bad_arguments(monkeypatch):
    for call in (seal, open_sealed):
        with pytest.raises(ValueError, match="key must have 32 bytes, got 31; take one of generate_key"):
            call(b"", bytes(31))
    with pytest.raises(ValueError, match="key must have 32 bytes, got 33"):
        Message(bytes(33))
    monkeypatch.setattr(module, "_LARGEST", 47)
    with pytest.raises(ValueError, match="takes up to 47 bytes at once, got 48; seal parts of them"):
        seal(FEATURES[:1], SECRET)


def test_cascade_of_the_dissertation():
    """Section 2.4.3.5: ShuffleBits, then a cipher."""
    key = Key.generate()
    opened = open_sealed(seal(encrypt(FEATURES, key), SECRET), SECRET)
    restored = decrypt(np.frombuffer(opened, "<u4").astype(np.uint32).reshape(WORDS.shape), key)
    np.testing.assert_array_equal(restored.view(np.uint32), WORDS)
