"""What may enter a gallery: features with a direction, labels, paths that differ; and what is wrong with its file."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

UNKNOWN = "unknown"  # what a query is called that is too far from every exemplar
_NUMBERS = 2**20  # float64 of a step: 8 MiB
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
NO_GALLERY = "{path} is no gallery; pass a file that build wrote."
_OUTER = "The gallery {path} cannot be read or written ({error}); check its permissions and the room on the disk."
_REASONS = {
    sqlite3.SQLITE_NOTADB: NO_GALLERY,
    sqlite3.SQLITE_FULL: "The gallery {path} could not be written: the disk is full. What was committed is there; make "
    "room, and give the same command again.",
    **dict.fromkeys((sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN), _OUTER),
}


def unit(features: Any, dimensions: int | None = None, names: Sequence[str] | None = None) -> np.ndarray:
    """Features (N, D), each of length one, float32.

    Args:
        features: (N, D) numbers.
        dimensions: the D that is expected; None takes any.
        names: N names for the error messages.

    Raises:
        ValueError: another shape, or features that are infinite, not a number, or zero throughout.
    """
    features = np.asarray(features)
    expected = "D" if dimensions is None else dimensions
    if features.ndim != 2 or features.shape[1] != (features.shape[1] if dimensions is None else dimensions):
        raise ValueError(
            f"Features must be of shape (N, {expected}), got {features.shape}; pass one row for each image."
        )
    if features.shape[1] == 0 or features.dtype.kind not in "fiu":
        raise ValueError(f"Features must be numbers, got {features.dtype} of shape {features.shape}; pass embeddings.")
    scaled = np.empty(features.shape, np.float32)
    step = max(1, _NUMBERS // features.shape[1])
    for start in range(0, len(features), step):
        rows = features[start : start + step].astype(np.float64)
        largest = np.max(np.abs(rows), axis=1, keepdims=True)
        bad = np.flatnonzero(~((largest > 0) & (largest < np.inf)))  # so that NaN is bad, too
        if len(bad):
            index = start + int(bad[0])
            name = f"row {index}" if names is None else names[index]
            raise ValueError(
                f"The features of {name} must be finite and not all zero, got a largest one of {largest[bad[0], 0]:g}; "
                "leave it out, or check the network."
            )
        rows /= largest  # squares of any features neither overflow nor vanish
        scaled[start : start + step] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def label_list(labels: str | Sequence[str], number: int) -> list[str]:
    """A label for each of `number` features, from one for all or one for each.

    Raises:
        ValueError: there are more or fewer, or one is empty, no text, or `UNKNOWN`.
    """
    labels = [labels] * number if isinstance(labels, str) else list(labels)
    if len(labels) != number:
        raise ValueError(f"There must be one label for each of {number} features, got {len(labels)}; pass as many.")
    for label in labels:
        if not isinstance(label, str) or label in ("", UNKNOWN):
            raise ValueError(
                f"A label must be a text, and not empty or {UNKNOWN!r}, which rejected queries are called, got "
                f"{label!r}; choose another name."
            )
    return labels


def exemplars(
    features: Any,
    labels: str | Sequence[str],
    paths: Sequence[str | Path],
    digests: Sequence[bytes] | None,
    dimensions: int | None,
) -> tuple[np.ndarray, list[str], list[str], list[bytes]]:
    """Features of length one, labels, paths and digests of n exemplars.

    Raises:
        ValueError: as `unit` and `label_list`, or paths or known digests are not n different ones.
    """
    if isinstance(paths, (str, Path)):
        raise ValueError(f"paths must be a list with one for each of the features, got {paths!r}; put it into a list.")
    paths = [str(path) for path in paths]
    if len(paths) != len(features):
        raise ValueError(
            f"There must be one path for each of {len(features)} features, got {len(paths)}; pass as many."
        )
    if len(set(paths)) < len(paths):
        path, count = Counter(paths).most_common(1)[0]
        raise ValueError(f"Each path must be there once, got {path} {count} times; leave the others out.")
    digests = [b""] * len(paths) if digests is None else list(digests)
    if len(digests) != len(paths) or any(len(digest) not in (0, 32) for digest in digests):
        raise ValueError(
            f"There must be a SHA-256 of 32 bytes, or none, for each of {len(paths)} images, got {len(digests)}; pass "
            "hashlib.sha256(...).digest() of each file."
        )
    repeated = [digest for digest, count in Counter(filter(None, digests)).items() if count > 1]
    if repeated:
        one, other = [path for path, digest in zip(paths, digests) if digest == repeated[0]][:2]
        raise ValueError(f"Each picture must be there once, but {one} and {other} are equal; leave one of them out.")
    return unit(features, dimensions, paths), label_list(labels, len(paths)), paths, digests


def distance(threshold: float | None) -> float | None:
    """A threshold, or None for none; raises ValueError if it is no cosine distance."""
    if threshold is not None and not 0 <= threshold <= 2:
        raise ValueError(f"A threshold of cosine distances must be between 0 and 2, got {threshold}; see calibrate.")
    return None if threshold is None else float(threshold)


class InUseError(ValueError):
    """Another process is writing to the gallery."""


@contextlib.contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Inside, an error of SQLite becomes a sentence of ours."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what extends it
        if code in _BUSY:
            raise InUseError(f"The gallery {path} is in use by another process ({error}); try again later.") from error
        if code in _REASONS:
            raise ValueError(_REASONS[code].format(path=path, error=error)) from error
        raise damaged(path, str(error)) from error


@contextlib.contextmanager
def unless_in_use() -> Iterator[None]:
    """Inside, a file may be missing, foreign, damaged or of another network, but not in use by another process."""
    try:
        yield
    except InUseError:
        raise
    except ValueError:
        pass


def damaged(path: Path, reason: str) -> ValueError:
    """The error to raise for a file whose content is not what was written."""
    return ValueError(f"The gallery {path} is damaged ({reason}); take it from a backup, or build it again.")
