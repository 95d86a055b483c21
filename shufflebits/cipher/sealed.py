"""ShuffleBits sealed by AES-256-GCM, which also detects tampering."""

import hashlib
import math
import os
import struct
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common.bit_permutation import checked_key

from .shuffle import decrypt, encrypt

MAGIC, VERSION = b"SHUFBITS", 1
_NONCE, _TAG, _LARGEST = 12, 16, 2**31 - 1  # bytes


def seal(features: np.ndarray, key: Any, aes_key: bytes) -> bytes:
    """`encrypt`, then AES-256-GCM: the cascade of dissertation section 2.4.3.5, with its shape.

    Magic, version and shape stand in front in the clear, and are authenticated; so is the key of ShuffleBits, which is
    not in it. The nonce is random: use an AES key for no more than 2^32 messages.

    Args:
        features: float32 of any shape.
        key: as for `encrypt`.
        aes_key: 32 bytes, `AESGCM.generate_key(256)`.

    Raises:
        ValueError: as for `encrypt`, the AES key is of another length, or the features take 2 GiB or more.
    """
    cipher = _cipher(aes_key)
    if features.nbytes > _LARGEST:
        raise ValueError(f"seal takes up to {_LARGEST} bytes at once, got {features.nbytes}; seal parts of the array.")
    header = _header(features.shape)
    nonce = os.urandom(_NONCE)
    words = encrypt(features, key).astype("<u4", copy=False).reshape(-1).view(np.uint8)
    return b"".join((header, nonce, cipher.encrypt(nonce, words, _authenticated(header, key))))


def open_sealed(sealed: bytes, key: Any, aes_key: bytes) -> np.ndarray:
    """Undoes `seal`: float32 features in their shape.

    Raises:
        ValueError: these are no sealed features, or not whole; a bit has changed, or a key is another one.
    """
    cipher = _cipher(aes_key)
    shape, start = _shape(sealed)
    header, nonce, body = sealed[:start], sealed[start : start + _NONCE], memoryview(sealed)[start + _NONCE :]
    expected = 4 * math.prod(shape) + _TAG  # in whole numbers: a forged shape must not overflow
    if len(body) != expected:
        raise ValueError(
            f"Sealed features of shape {shape} take {start + _NONCE + expected} bytes, got {len(sealed)}; "
            "send them whole."
        )
    try:
        content = cipher.decrypt(nonce, body, _authenticated(header, key))
    except InvalidTag:
        raise ValueError("The sealed features were altered, or a key is not the one that sealed them.") from None
    return decrypt(np.frombuffer(content, "<u4").astype(np.uint32, copy=False).reshape(shape), key)


def _cipher(aes_key: bytes) -> AESGCM:
    if len(aes_key) != 32:
        raise ValueError(f"The AES key must have 32 bytes, got {len(aes_key)}; take AESGCM.generate_key(256).")
    return AESGCM(aes_key)


def _header(shape: tuple[int, ...]) -> bytes:
    return MAGIC + struct.pack(f"<BB{len(shape)}Q", VERSION, len(shape), *shape)


def _shape(sealed: bytes) -> tuple[tuple[int, ...], int]:
    """The shape in a header, and where the header ends."""
    start = len(MAGIC) + 2
    if len(sealed) < start or sealed[: len(MAGIC)] != MAGIC:
        raise ValueError("These are no sealed features; pass the bytes that seal returned.")
    version, count = sealed[len(MAGIC)], sealed[len(MAGIC) + 1]
    if version != VERSION:
        raise ValueError(f"Sealed features of version {VERSION} are read, got version {version}; update this package.")
    if len(sealed) < start + 8 * count:
        raise ValueError(f"The sealed features end within their header, after {len(sealed)} bytes; send them whole.")
    return struct.unpack_from(f"<{count}Q", sealed, start), start + 8 * count


def _authenticated(header: bytes, key: Any) -> bytes:
    """A wrong ShuffleBits key would open to garbage if the tag did not depend on the key."""
    return header + hashlib.sha256(checked_key(key).astype(np.uint8).tobytes()).digest()
