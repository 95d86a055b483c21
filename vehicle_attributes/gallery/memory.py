"""What memory holds of a gallery: copies of the features in half precision, and numbers for everything else."""

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from . import storage
from .search import HalfFeatures, compressed
from .validation import damaged

_ROWS = 2**14  # that a removal moves at once


class Memory:
    """Columns of N exemplars in order of adding, with room for more.

    Attributes:
        half, error: as of `HalfFeatures`.
        codes: (N,) int32, numbers of the labels in `names`.
        ids: (N,) int64.
        blocks: (N,) int64, numbers of the blocks of the file, which increase.
    """

    def __init__(self, room: int, dimensions: int) -> None:
        self.error, self._size = 0.0, 0
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        # Room costs nothing before it is used.
        self._columns = {
            "half": np.empty((room + _ROWS, dimensions), np.uint16),
            "codes": np.empty(room + _ROWS, np.int32),
            "ids": np.empty(room + _ROWS, np.int64),
            "blocks": np.empty(room + _ROWS, np.int64),
        }

    def __len__(self) -> int:
        return self._size

    @property
    def half(self) -> np.ndarray:
        return self._columns["half"][: self._size]

    @property
    def codes(self) -> np.ndarray:
        return self._columns["codes"][: self._size]

    @property
    def ids(self) -> np.ndarray:
        return self._columns["ids"][: self._size]

    @property
    def blocks(self) -> np.ndarray:
        return self._columns["blocks"][: self._size]

    def labels(self, codes: np.ndarray) -> np.ndarray:
        """The labels of their numbers, as objects in the same shape."""
        return np.array([*self.names, ""], object)[codes]

    def numbers_of(self, labels: Sequence[str]) -> np.ndarray:
        """(M,) the numbers of labels; -1 of one that there never was."""
        return np.array([self._numbers.get(label, -1) for label in labels], np.int64)

    def extend(self, features: np.ndarray, ids: np.ndarray, labels: Sequence[str], blocks: np.ndarray) -> None:
        """Adds n exemplars behind the last one."""
        start, stop = self._size, self._size + len(features)
        for name, old in self._columns.items():
            if stop > len(old):
                self._columns[name] = np.empty((stop + stop // 8 + _ROWS, *old.shape[1:]), old.dtype)
                self._columns[name][:start] = old[:start]
        for label in labels:
            if label not in self._numbers:
                self._numbers[label] = len(self.names)
                self.names.append(label)
        step = max(1, 2**20 // features.shape[1])
        for first in range(0, len(features), step):
            part = features[first : first + step]
            half, error = compressed(part)
            self._columns["half"][start + first : start + first + len(part)] = half
            self.error = max(self.error, error)
        self._size = stop
        self.codes[start:], self.ids[start:], self.blocks[start:] = self.numbers_of(labels), ids, blocks

    def keep(self, rows: np.ndarray) -> None:
        """Leaves the exemplars at these increasing indices alone."""
        for column in self._columns.values():
            # In place: rows only move forward, and a piece is read before it is written.
            for start in range(0, len(rows), _ROWS):
                piece = column[rows[start : start + _ROWS]]
                column[start : start + len(piece)] = piece
        self._size = len(rows)


class OpenGallery:
    """A gallery file and what memory holds of it, which each call brings to the file's state; see `index.Gallery`."""

    def __init__(self, path: str | Path, fingerprint: str | None = None) -> None:
        self._path, self._head = Path(path), None
        self._known: dict[str, bytes] | None = None
        with storage.transaction(self._path) as connection:
            storage.check(self._path, connection)
            self._refresh(connection, fingerprint)

    def __len__(self) -> int:
        return self._head.exemplars

    def __repr__(self) -> str:
        return f"Gallery({str(self._path)!r}, {len(self)} exemplars of {len(self.classes)} classes)"

    @property
    def classes(self) -> dict[str, int]:
        """Label -> number of its exemplars, in alphabetical order."""
        counts = np.bincount(self._memory.codes, minlength=len(self._memory.names)).tolist()
        return {name: count for name, count in sorted(zip(self._memory.names, counts)) if count}

    @property
    def path(self) -> Path:
        return self._path

    @property
    def head(self) -> storage.Head:
        """Attribute, fingerprint, dimensions, threshold and how that was set."""
        return self._head

    @property
    def attribute(self) -> str:
        return self._head.attribute

    @property
    def fingerprint(self) -> str:
        return self._head.fingerprint

    @property
    def threshold(self) -> float | None:
        return self._head.threshold

    @property
    def ids(self) -> np.ndarray:
        """(N,) int64 numbers of the exemplars, in order of adding; none is given twice."""
        return self._memory.ids.copy()

    @property
    def labels(self) -> np.ndarray:
        """(N,) text, in order of adding."""
        return self._memory.labels(self._memory.codes).astype(str)

    @property
    def paths(self) -> np.ndarray:
        """(N,) text, in order of adding, read from the file."""
        return np.array([path for block in self.blocks() for path in block.paths], str)

    @property
    def features(self) -> np.ndarray:
        """(N, D) float32 of unit length, in order of adding, read from the file; not to be changed."""
        parts = [block.features for block in self.blocks()]
        features = np.concatenate([np.empty((0, self._head.dimensions), np.float32), *parts])
        features.flags.writeable = False
        return features

    def refresh(self) -> None:
        """Brings head, classes, labels and ids, which memory has, to the file's state."""
        with self._transaction():
            pass

    def exemplars_of(self, label: str, start: int, count: int) -> list[tuple[int, str]]:
        """Numbers and paths of `count` exemplars of a label at most, from `start` on in order of adding."""
        with self._transaction() as connection:
            rows = np.flatnonzero(self._memory.codes == self._memory.numbers_of([label])[0])[start : start + count]
            return list(zip(self._memory.ids[rows].tolist(), self._paths_of(connection, rows)))

    def path_of(self, number: int) -> str | None:
        """The path of the exemplar of a number; None if there is none."""
        with self._transaction() as connection:
            rows = np.flatnonzero(self._memory.ids == number)
            return self._paths_of(connection, rows)[0] if len(rows) else None

    def labels_of(self, digests: Collection[bytes]) -> dict[bytes, str]:
        """Digest -> label of those of some pictures that are exemplars."""
        with self._transaction() as connection:
            known = [(row, one) for row, one in enumerate(self._pictures(connection).values()) if one in digests]
            codes = self._memory.codes[[row for row, _ in known]]
            return {digest: str(label) for (_, digest), label in zip(known, self._memory.labels(codes))}

    def blocks(self) -> Iterator[storage.Block]:
        """All exemplars as they are in the file, some hundreds at a time; nobody can write until the last."""
        with self._transaction() as connection:
            yield from storage.read_blocks(self._path, connection, self._head.dimensions)

    def _pool(self, connection: sqlite3.Connection) -> HalfFeatures:
        return HalfFeatures(self._memory.half, self._memory.error, partial(self._exact, connection))

    def _exact(self, connection: sqlite3.Connection, rows: np.ndarray) -> np.ndarray:
        """Features (R, D) float32 of increasing indices, from the file, of which the copies were made."""
        parts = [np.empty((0, self._head.dimensions), np.float32)]
        for number, places in self._in_blocks(rows):
            parts.append(storage.read_rows(connection, number, places, self._head.dimensions))
        features = np.concatenate(parts)
        if not np.array_equal(compressed(features)[0], self._memory.half[rows]):
            raise damaged(self._path, "features are others than they were")
        return features

    def _in_blocks(self, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Numbers of blocks, and places in them, of increasing indices of exemplars."""
        numbers, starts = np.unique(self._memory.blocks[rows], return_index=True)
        firsts = np.searchsorted(self._memory.blocks, numbers)
        for number, first, own in zip(numbers.tolist(), firsts, np.split(rows, starts[1:])):
            yield number, own - first

    def _paths_of(self, connection: sqlite3.Connection, indices: np.ndarray) -> np.ndarray:
        """Paths, as objects, in the shape of the indices."""
        rows, places = np.unique(indices, return_inverse=True)
        paths: list[str] = []
        for number, own in self._in_blocks(rows):
            block = storage.read_paths(self._path, connection, number)
            paths += [block[place] for place in own]
        return np.array([*paths, ""], object)[places].reshape(indices.shape)

    def _pictures(self, connection: sqlite3.Connection) -> dict[str, bytes]:
        """Path -> digest of all exemplars, b"" where it is not known, in order of adding; not to be changed.

        They are read when something is first added or removed.
        """
        if self._known is None:
            blocks = storage.read_blocks(self._path, connection, self._head.dimensions)
            self._known = {path: digest for block in blocks for path, digest in zip(block.paths, block.digests)}
        return self._known

    @contextlib.contextmanager
    def _transaction(self, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """A transaction that begins with memory as the file is."""
        with storage.transaction(self._path, writing) as connection:
            self._refresh(connection, self._head.fingerprint)
            yield connection

    def _refresh(self, connection: sqlite3.Connection, fingerprint: str | None) -> None:
        """Reads the file unless it is as it was."""
        head = storage.read_head(self._path, connection)
        if fingerprint is not None and head.fingerprint != fingerprint:
            raise ValueError(
                f"The gallery {self._path} was made with another network ({head.fingerprint[:12]}…, this one is "
                f"{fingerprint[:12]}…), so distances would mean nothing; pass the training it was built with, or build "
                "it again."
            )
        if self._head is not None and self._head.state == head.state:
            return
        self._memory, self._known = Memory(head.exemplars + head.exemplars // 8, head.dimensions), None
        self._head = replace(head, exemplars=0, state="")
        for block in storage.read_blocks(self._path, connection, head.dimensions):
            self._memory.extend(block.features, block.ids, block.labels, np.full(len(block.ids), block.number))
        if len(self._memory) != head.exemplars:
            raise damaged(self._path, f"it has {len(self._memory)} exemplars of {head.exemplars}")
        self._head = head
