"""XChaCha20-Poly1305: authenticated encryption whose random nonces take no state, of bytes and of a graph's output.

The format of draft-irtf-cfrg-xchacha-03: nonce (24 bytes), ciphertext, tag (16 bytes), as libsodium's
`crypto_aead_xchacha20poly1305_ietf` has them, so that other programs open what is sealed here, and the reverse.

What it depends on, and what it does not do:

- Nonces are 192 random bits of the operating system. After 2^64 messages under one key two are equal with a
  probability of 2^-65; there is no counter that a copy, a backup or a fork could set back. A virtual machine that is
  restored with its kernel's random state, before the kernel has noticed, can repeat one.
- A message has at most 2^31 - 1 bytes (`cryptography`'s limit; the format's is 2^38 - 64). An attempt to forge one of
  16 n bytes succeeds with a probability of n / 2^102 at most (RFC 8439, section 4).
- A ciphertext tells the length of its content, and whoever has the key can make one that opens under two keys. An
  older message under the same key and context passes for a newer one: put what tells them apart into the context.
"""

import os
import secrets
import struct

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305

KEY, NONCE, TAG = 32, 24, 16  # bytes
_LARGEST = 2**31 - 1  # bytes


def generate_key() -> bytes:
    """32 random bytes."""
    return secrets.token_bytes(KEY)


def seal(content: bytes | np.ndarray, key: bytes, context: bytes = b"") -> bytes:
    """Nonce, ciphertext and tag.

    Args:
        content: bytes, or an array, of which the bytes are taken row after row.
        key: 32 bytes, see `generate_key`.
        context: what is not in the message and must be the same when it is opened, such as what it is for.

    Raises:
        ValueError: the key is of another length, or the content is too long.
    """
    _check_key(key)
    content = np.ascontiguousarray(content).reshape(-1).view(np.uint8) if isinstance(content, np.ndarray) else content
    if len(content) > _LARGEST:
        raise ValueError(f"seal takes up to {_LARGEST} bytes at once, got {len(content)}; seal parts of them.")
    nonce = os.urandom(NONCE)
    return nonce + ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], content, context)


def open_sealed(sealed: bytes, key: bytes, context: bytes = b"") -> bytes:
    """Undoes `seal`.

    Raises:
        ValueError: a bit has changed, something is missing, or key or context are not those that it was sealed with.
    """
    _check_key(key)
    nonce = sealed[:NONCE]
    try:
        if len(sealed) < NONCE + TAG:
            raise InvalidTag
        cipher = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
        return cipher.decrypt(bytes(4) + nonce[16:], memoryview(sealed)[NONCE:], context)
    except InvalidTag:
        raise ValueError(
            "This is no whole sealed message, or it was altered, or key or context are not those that sealed it."
        ) from None


class Message:
    """A message whose ciphertext a graph makes, by the layer `ChaCha20`; each has a nonce of its own.

        message = Message(key)
        words = ChaCha20()([features, *message.stream(features.size)])
        sealed = message.seal(words)  # the bytes of `seal(features, key, features_context(features.shape))`

    No part of the key stream is handed out twice: each call of `stream` goes on where the last one ended, nothing
    follows on `seal`, and there are no copies.
    """

    def __init__(self, key: bytes) -> None:
        _check_key(key)
        self._nonce, self._words = os.urandom(NONCE), 0
        self._key = hchacha20(key, self._nonce[:16])

    def stream(self, num_words: int) -> list[np.ndarray]:
        """Key (8,), nonce (3,) and counter () uint32 as the layer takes them, for that many words.

        Raises:
            ValueError: the words before these did not fill their last block of 16, or the message is sealed.
        """
        if self._words % 16:
            raise ValueError("The words of a Message go on behind a whole block of 16, and end when it is sealed.")
        counter, self._words = 1 + self._words // 16, self._words + num_words
        key, nonce = (np.frombuffer(x, "<u4").astype(np.uint32) for x in (self._key, bytes(4) + self._nonce[16:]))
        return [key, nonce, np.array(counter, np.uint32)]

    def seal(self, words: np.ndarray) -> bytes:
        """Nonce, the words (N, D) uint32 in little-endian bytes, and their tag.

        Raises:
            ValueError: the message is sealed already.
        """
        if self._words < 0:
            raise ValueError("A Message is sealed once; make another one.")
        self._words = -1
        context, content = features_context(words.shape), words.astype("<u4", copy=False).tobytes()
        tag = Poly1305(_block(self._key, bytes(8) + self._nonce[16:])[:32])  # of block 0
        for part in (context, content):
            tag.update(part + bytes(-len(part) % 16))
        tag.update(struct.pack("<QQ", len(context), len(content)))
        return self._nonce + content + tag.finalize()

    def __reduce__(self):
        raise TypeError("A copy of a Message would encrypt under the same nonce; make another one.")

    def __repr__(self) -> str:
        return "Message(hidden)"


def features_context(shape: tuple[int, ...]) -> bytes:
    """Context of features: whoever alters them cannot pass them for an array of another shape either."""
    return f"float32 features {'x'.join(map(str, shape))}".encode()


def open_features(sealed: bytes, key: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The features, float32 of this shape, of what `Message.seal` returned.

    Raises:
        ValueError: as of `open_sealed`, or they are of another shape.
    """
    content = open_sealed(sealed, key, features_context(shape))
    return np.frombuffer(content, "<f4").astype(np.float32, copy=False).reshape(shape)


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """A subkey of 32 bytes from 32 and 16: the first and last rows of ChaCha20's state, before the last addition.

    `cryptography` has the block, to which RFC 8439 adds the initial state; subtracting that gives the rows back.
    """
    end = np.frombuffer(_block(key, nonce), "<u4")[[0, 1, 2, 3, 12, 13, 14, 15]]
    start = np.frombuffer(b"expand 32-byte k" + nonce, "<u4")
    return (end - start).astype("<u4").tobytes()


def _block(key: bytes, nonce: bytes) -> bytes:
    """The block of 64 bytes at counter and nonce, 16 bytes together."""
    return Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor().update(bytes(64))


def _check_key(key: bytes) -> None:
    if len(key) != KEY:
        raise ValueError(f"The key must have {KEY} bytes, got {len(key)}; take one of generate_key.")
