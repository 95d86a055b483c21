"""A ChaCha20 key and the number of its next message in one file, so that no number is used twice."""

import json
import os
import secrets
import threading
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from .keys import read_private, write_private

LIMIT = 2**64  # messages under one key


class NonceSequence:
    """Numbers the messages under one key; a number leaves only once the next one is safely on the disk.

    A crash skips numbers and never repeats one. The file is locked while it is open, a forked process is refused, and
    only the file's owner can read it. Never use a copy of the file: one sequence, one file, one key.

        nonces = NonceSequence.create(path)
        nonce = nonces.next_nonce()
        words = ChaCha20()([features, nonces.key, nonce, counter])  # send nonce and words; counter from 0

    Args:
        path: a file that `create` made.
        reserve: how many numbers each write to the disk, of some milliseconds, covers.

    Raises:
        PermissionError: others can read the file.
        ValueError: it is not a file of `create`, or is in use.
    """

    def __init__(self, path: Path, reserve: int = 1) -> None:
        if reserve < 1:
            raise ValueError(f"reserve must be one or more, got {reserve}.")
        self._path, self._reserve = Path(path), reserve
        self._lock, self._process = threading.Lock(), os.getpid()
        read_private(self._path)  # before a lock file is left next to what is none of ours
        # The file itself changes its identity with each write.
        self._file_lock = FileLock(f"{path}.lock", timeout=0, mode=0o600, thread_local=False)
        try:
            self._file_lock.acquire()
            self._key, self._next = _read(self._path)
        except Timeout:
            raise ValueError(f"{path} is in use by another NonceSequence; create one for each.") from None
        except (KeyError, TypeError, ValueError):
            self.close()
            raise ValueError(f"{path} is no file of a NonceSequence; make one with NonceSequence.create.") from None
        self._reserved = self._next  # numbers below this are on the disk as used

    @classmethod
    def create(cls, path: Path, reserve: int = 1) -> "NonceSequence":
        """A new key in a new file.

        Raises:
            FileExistsError: there is a file.
        """
        path = Path(path)
        if path.exists():
            raise FileExistsError(
                f"{path} exists; open it with NonceSequence(path), or choose another path for a new key."
            )
        _write(path, secrets.token_bytes(32), 0)
        return cls(path, reserve)

    @property
    def key(self) -> np.ndarray:
        """(8,) uint32."""
        return np.frombuffer(self._key, "<u4").astype(np.uint32)

    def next_nonce(self) -> np.ndarray:
        """(3,) uint32: the message's number, lowest word first.

        Raises:
            ValueError: the key has numbered all its messages, or the sequence is closed or of another process.
        """
        with self._lock:
            if os.getpid() != self._process or not self._file_lock.is_locked:
                raise ValueError("This NonceSequence is closed or was opened by another process; open one of your own.")
            if self._next >= LIMIT:
                raise ValueError("The key has numbered its last message; create a NonceSequence with a new key.")
            if self._next >= self._reserved:
                reserved = min(self._next + self._reserve, LIMIT)
                _write(self._path, self._key, reserved)
                self._reserved = reserved
            number, self._next = self._next, self._next + 1
        return np.frombuffer(number.to_bytes(12, "little"), "<u4").astype(np.uint32)

    def close(self) -> None:
        """Lets another sequence use the file; numbers that were reserved and not used are skipped."""
        self._file_lock.release()

    def __enter__(self) -> "NonceSequence":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"NonceSequence({str(self._path)!r}, key hidden)"


def _read(path: Path) -> tuple[bytes, int]:
    state = json.loads(read_private(path))
    key, next_message = bytes.fromhex(state["chacha20_key"]), int(state["next_message"])
    if len(key) != 32 or not 0 <= next_message <= LIMIT:
        raise ValueError("The key or the number is out of range.")
    return key, next_message


def _write(path: Path, key: bytes, next_message: int) -> None:
    write_private(path, json.dumps({"chacha20_key": key.hex(), "next_message": next_message}).encode())
    # The rename too must outlive a loss of power.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
