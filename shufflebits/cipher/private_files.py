"""Files that only their owner can read: keys, and what is sealed under them."""

import os
from pathlib import Path

from common.files import replacing

from .sealed import KEY, generate_key


def create_key(path: Path) -> bytes:
    """A new key for `sealed`, in a new file.

    Raises:
        FileExistsError: there is a file.
    """
    key = generate_key()
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())  # before anything is sealed under it
    return key


def load_key(path: Path) -> bytes:
    """Reads what `create_key` wrote.

    Raises:
        ValueError: there is no such file, others than its owner can open it, or it holds no key.
    """
    content = read_private(path)
    try:
        key = bytes.fromhex(content.decode("ascii"))
    except ValueError:  # whose text quotes the file
        key = b""
    if len(key) != KEY:
        raise ValueError(f"{path} is no key file; it must hold {2 * KEY} hex digits, as create_key writes them.")
    return key


def write_private(path: Path, content: bytes) -> None:
    """Writes a file in one rename that has never been readable for others than its owner."""
    with replacing(path) as temporary:
        temporary.unlink(missing_ok=True)  # left by a process that was killed
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)


def read_private(path: Path) -> bytes:
    """Reads a file, and refuses one that others than its owner can read or write.

    Raises:
        ValueError: they can, or there is no such file.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            content = file.read()
    except FileNotFoundError:
        raise ValueError(f"There is no file {path}; check the path.") from None
    if mode & 0o077:
        raise ValueError(
            f"{path} is open to others (mode {mode:o}); chmod 600 it, and take a new key if anyone may have read it."
        )
    return content
