"""Keys of ShuffleBits: generated, derived, saved to files, and issued for one use."""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.bit_permutation import checked_key, inverse_key, swap_masks
from common.files import replacing

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

    @classmethod
    def load(cls, path: Path) -> "Key":
        """Reads what `save` wrote.

        Raises:
            PermissionError: others than the owner can read the file.
            ValueError: it holds no key.
        """
        try:
            return cls(json.loads(read_private(path))["shufflebits_key"])
        except (KeyError, TypeError, ValueError):
            # Without its cause, which could quote the file.
            raise ValueError(f"{path} is no key file of shufflebits; write one with Key.save.") from None

    def save(self, path: Path) -> None:
        """Writes the key to a file that only its owner can read."""
        write_private(path, json.dumps({"shufflebits_key": self._positions.tolist()}).encode())

    def inverse(self) -> "Key":
        """The key that undoes this one (Eq. 2.11)."""
        return Key(inverse_key(self._positions))

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


class OneTimeKeys:
    """Keys that are issued, can be taken once, and expire.

    A server issues a key under a random identifier, its user names the identifier in one request, and the server
    takes the key for that request. Safe to use from several threads; lost with the process.

    Args:
        lifetime: seconds from issue to expiry.
        clock: seconds that never go back.
        limit: how many may be unexpired, used ones included, so that issuing cannot fill the memory.
    """

    def __init__(
        self, lifetime: float = 60.0, clock: Callable[[], float] = time.monotonic, limit: int = 10_000
    ) -> None:
        if not lifetime > 0:
            raise ValueError(f"lifetime must be above zero seconds, got {lifetime}.")
        self._lifetime, self._clock, self._limit = lifetime, clock, limit
        self._keys: dict[str, tuple[Key | None, float]] = {}  # identifier -> (key, None once taken; expiry)
        self._lock = threading.Lock()

    def issue(self) -> tuple[str, Key]:
        """A new key and the identifier under which it can be taken.

        Raises:
            ValueError: there are as many as may be.
        """
        identifier, key = secrets.token_urlsafe(16), Key.generate()
        with self._lock:
            now = self._clock()
            # In order of issue and thus of expiry: the expired ones come first.
            while self._keys and next(iter(self._keys.values()))[1] <= now:
                del self._keys[next(iter(self._keys))]
            if len(self._keys) >= self._limit:
                raise ValueError(
                    f"There are {self._limit} one-time keys already; wait {self._lifetime:g} seconds until they expire."
                )
            self._keys[identifier] = key, now + self._lifetime
        return identifier, key

    def take(self, identifier: str) -> Key:
        """The key, for the one time.

        Raises:
            ValueError: it was taken before, it has expired, or there never was such an identifier.
        """
        with self._lock:
            key, expiry = self._keys.get(identifier, (None, -np.inf))
            if expiry <= self._clock():
                raise ValueError("The one-time key has expired or was never issued; ask for a new one.")
            if key is None:
                raise ValueError("The one-time key has been used; ask for a new one for each request.")
            self._keys[identifier] = None, expiry
        return key

    def __repr__(self) -> str:
        return f"OneTimeKeys({len(self._keys)} hidden)"


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


def write_private(path: Path, content: bytes) -> None:
    """Writes a file in one rename that has never been readable for others than its owner."""
    with replacing(path) as temporary:
        temporary.unlink(missing_ok=True)  # left by a process that was killed
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)


def read_private(path: Path) -> bytes:
    """Reads a file, and refuses one that others than its owner can read or write.

    Raises:
        PermissionError: they can.
    """
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise PermissionError(
                f"{path} holds a key and is open to others (mode {mode:o}); chmod 600 it, and make a new key if anyone "
                "may have read it."
            )
        return file.read()
