"""Whole-file writes: a reader sees the old file or the new one, never half of one."""

import contextlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it takes `path`'s place in one rename.

    The temporary name keeps the suffixes of `path`, because some writers choose the format by it.
    If the body raises, the temporary file is removed and `path` is left as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file that somebody else may have written.

    Raises:
        ValueError: it is none, is damaged, or holds objects.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except (zipfile.BadZipFile, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no npz file of plain arrays ({error}); write one with np.savez.") from error


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` in one rename."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON to `path` in one rename."""
    write_text(path, json.dumps(value, indent=2) + "\n")
