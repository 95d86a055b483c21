"""Keys of ShuffleBits: generated and derived."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.bit_permutation import checked_key, inverse_key, swap_masks

SHORTEST_SECRET = 16  # bytes


class Key:
    """A permutation of 32 bit positions, or one per element of a vector; neither `repr` nor an error shows it.

    Wherever a key is expected, a `Key` and its array are taken alike.

    Args:
        positions: (32,) or (D, 32); position i holds where bit i goes, see `common.bit_permutation`.

    Raises:
        ValueError: no such permutation.
    """

    def __init__(self, positions: Any) -> None:
        self._positions = checked_key(positions)
        self._positions.flags.writeable = False
        self._masks: dict[bool, np.ndarray] = {}

    @classmethod
    def generate(cls) -> "Key":
        """One of all 32! keys, each as likely, from the operating system's secure source."""
        return cls(shuffled(32, secrets.randbelow))

    @classmethod
    def derive(cls, secret: bytes, num_elements: int, context: bytes = b"") -> "Key":
        """A key for each of `num_elements` elements, all from one secret; the same for the same arguments.

        HKDF-SHA256 makes the key of a ChaCha20 stream from secret and context, and each element takes a permutation,
        one of 32! and each as likely, from the stream.

        Args:
            secret: 16 bytes or more, such as `secrets.token_bytes(32)`; a password is not enough.
            num_elements: D. A longer key starts with the shorter one.
            context: makes keys of the same secret differ, such as the name of the model.

        Raises:
            ValueError: the secret is too short, or there are no elements.
        """
        if len(secret) < SHORTEST_SECRET:
            raise ValueError(
                f"The secret must have {SHORTEST_SECRET} bytes or more, got {len(secret)}; take token_bytes(32)."
            )
        if num_elements < 1:
            raise ValueError(f"num_elements must be one or more, got {num_elements}.")
        stream_key = HKDF(SHA256(), length=32, salt=None, info=b"shufflebits keys 1:" + context).derive(secret)
        below = _below(_stream(stream_key))
        return cls([shuffled(32, below) for _ in range(num_elements)])

    def swap_masks(self, inverse: bool = False) -> np.ndarray:
        """Masks that apply the key or its inverse, see `common.bit_permutation.swap_masks`; computed once."""
        if inverse not in self._masks:
            masks = swap_masks(inverse_key(self._positions) if inverse else self._positions)
            masks.flags.writeable = False
            self._masks[inverse] = masks
        return self._masks[inverse]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self._positions, dtype=dtype) if copy else self._positions.astype(dtype or np.int64, copy=False)

    def __repr__(self) -> str:
        return f"Key(hidden, shape {self._positions.shape})"


def shuffled(count: int, below: Callable[[int], int]) -> list[int]:
    """A permutation of range(count) by Fisher and Yates' exchanges, uniform if `below(n)` is uniform in range(n)."""
    values = list(range(count))
    for last in range(count - 1, 0, -1):
        chosen = below(last + 1)
        values[last], values[chosen] = values[chosen], values[last]
    return values


def _stream(key: bytes) -> Iterator[int]:
    """The bytes of a ChaCha20 key stream."""
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    while True:
        yield from encryptor.update(bytes(4096))


def _below(stream: Iterator[int]) -> Callable[[int], int]:
    """n up to 256 -> an unbiased number below n: a byte from the last, incomplete run of n is thrown away."""

    def below(n: int) -> int:
        limit = 256 - 256 % n
        return next(byte for byte in stream if byte < limit) % n

    return below
