"""A gallery in memory and on the disk: exemplars are added, removed and queried, and nothing is trained."""

import contextlib
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import storage, validation
from .search import calibrated, class_means, nearest
from .validation import UNKNOWN

_SHOWN = 20  # labels that an error message lists
_ROWS = 2**14  # that a removal moves at once


@dataclass(frozen=True, eq=False)
class Answers:
    """The nearest exemplars of Q queries, nearest first.

    Attributes:
        recognized: (Q,) label of the nearest exemplar, or `UNKNOWN` if that one is farther than the threshold.
        labels: (Q, k) of the exemplars.
        distances: (Q, k) float32, 1 - cosine.
        paths: (Q, k) of the exemplars' images; "" for the means of classes.
    """

    recognized: np.ndarray
    labels: np.ndarray
    distances: np.ndarray
    paths: np.ndarray


class Gallery:
    """The exemplars of a gallery file; one thread at a time.

    Each call sees what other processes have written to the file. Features are stored at unit length, float32, and once
    more in memory; whatever is refused leaves file and memory as they were.

    Args:
        path: a file that `build` wrote.
        fingerprint: of the network whose features will be added and queried; None does not compare.

    Raises:
        ValueError: the file is missing, foreign, damaged, of another version, or of another network.
    """

    def __init__(self, path: str | Path, fingerprint: str | None = None) -> None:
        self._path, self._head = Path(path), None
        with storage.transaction(self._path) as connection:
            storage.check(self._path, connection)
            self._refresh(connection, fingerprint)

    @classmethod
    def build(
        cls,
        path: str | Path,
        features: Any,
        labels: str | Sequence[str],
        paths: Sequence[str | Path],
        *,
        fingerprint: str,
        attribute: str,
        threshold: float | None = None,
        overwrite: bool = False,
    ) -> "Gallery":
        """A new gallery, in one rename.

        Args:
            path: of the file.
            features: (N, D), N may be zero.
            labels: N names, or one for all.
            paths: N different ones, of the images.
            fingerprint: of the network.
            attribute: what the labels are, such as `make`.
            threshold: see `calibrate`; None rejects nothing.
            overwrite: whether a file that is there may be replaced.

        Raises:
            ValueError: as `add`, or there is such a file.
        """
        features, labels, paths = validation.exemplars(features, labels, paths, None)
        head = storage.Head(attribute, fingerprint, features.shape[1], threshold=validation.distance(threshold))
        storage.create(Path(path), head, labels, paths, features, overwrite)
        return cls(path, fingerprint)

    def __len__(self) -> int:
        return self._head.exemplars

    def __repr__(self) -> str:
        return f"Gallery({str(self._path)!r}, {len(self)} exemplars of {len(self.classes)} classes)"

    @property
    def classes(self) -> dict[str, int]:
        """Label -> number of its exemplars, in alphabetical order."""
        counts = Counter(self._labels[: len(self)].tolist())
        return {name: counts[name] for name in sorted(counts)}

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
    def features(self) -> np.ndarray:
        """(N, D) float32 of unit length, in order of adding; not to be changed, and gone with the next call."""
        features = self._features[: len(self)]
        features.flags.writeable = False
        return features

    def add(self, features: Any, labels: str | Sequence[str], paths: Sequence[str | Path]) -> int:
        """Adds n exemplars, of known classes or of new ones; returns n. The threshold stays.

        Args:
            features: (n, D).
            labels: n names, or one for all.
            paths: n different ones, none of them in the gallery.

        Raises:
            ValueError: shapes do not fit, features are zero, infinite or not a number, a label is empty or `UNKNOWN`, a
                path is there already, or the file cannot be written.
        """
        features, labels, paths = validation.exemplars(features, labels, paths, self._head.dimensions)
        with self._writing() as connection:
            repeated = self._known.intersection(paths)
            if repeated:
                raise ValueError(
                    f"The image {min(repeated)} is in the gallery already ({len(repeated)} of {len(paths)} are); leave "
                    "it out, or remove it first."
                )
            blocks = storage.append(connection, labels, paths, features)
            head = storage.write_head(connection, replace(self._head, exemplars=len(self) + len(paths)))
        self._extend(features, labels, paths, blocks)
        self._head = head
        return len(paths)

    def remove(self, *, label: str | None = None, path: str | Path | None = None) -> int:
        """Removes the exemplars of a label, or that of an image; returns how many. The threshold stays.

        Raises:
            ValueError: there is none, or not one of both is given.
        """
        if (label is None) == (path is None):
            raise ValueError(f"remove takes a label or a path, got label={label!r} and path={path!r}; pass one.")
        with self._writing() as connection:
            names, wanted = (self._paths, str(path)) if label is None else (self._labels, label)
            gone = names[: len(self)] == wanted
            if not gone.any():
                raise ValueError(self._no_such(label, path))
            for number in np.unique(self._blocks[: len(self)][gone]):
                rows = np.flatnonzero((self._blocks[: len(self)] == number) & ~gone)
                parts = self._labels[rows].tolist(), self._paths[rows].tolist(), self._features[rows]
                storage.write_block(connection, storage.Block(int(number), *parts))
            remaining = np.flatnonzero(~gone)
            head = storage.write_head(connection, replace(self._head, exemplars=len(remaining)))
        self._known.difference_update(self._paths[: len(self)][gone].tolist())
        for array in (self._features, self._labels, self._paths, self._blocks):
            # In place: rows only move forward, and a piece is read before it is written.
            for start in range(int(np.argmax(gone)), len(remaining), _ROWS):
                array[start : start + _ROWS][: len(remaining) - start] = array[remaining[start : start + _ROWS]]
        self._head = head
        return int(gone.sum())

    def query(self, features: Any, k: int = 1, *, by_means: bool = False) -> Answers:
        """The k nearest exemplars of Q queries, exactly, equally distant ones in order of adding.

        Args:
            features: (Q, D).
            k: how many; of fewer exemplars all are returned.
            by_means: whether the mean of each class (`search.class_means`) stands for its exemplars. Nothing is unknown
                then: the threshold is one of exemplars.

        Raises:
            ValueError: the gallery has no exemplars, or features or k are none.
        """
        if k < 1:
            raise ValueError(f"k must be one or more, got {k}.")
        with storage.transaction(self._path) as connection:
            self._refresh(connection, self._head.fingerprint)
        queries = validation.unit(features, self._head.dimensions)
        if not len(self):
            raise ValueError(f"The gallery {self._path} has no exemplars; add some first.")
        pool, labels, paths = (part[: len(self)] for part in (self._features, self._labels, self._paths))
        if by_means:
            pool, labels = class_means(pool, labels)
            paths = np.full(len(labels), "", object)
        indices, distances = nearest(queries, pool, k)
        labels, paths = (names[indices].astype(str).reshape(indices.shape) for names in (labels, paths))
        limit = np.inf if self.threshold is None or by_means else self.threshold
        recognized = np.where(distances[:, 0] > limit, UNKNOWN, labels[:, 0])
        return Answers(recognized, labels, distances, paths)

    def calibrate(self, accept: float = 0.95, features: Any = None, labels: str | Sequence[str] | None = None) -> float:
        """Sets, stores and returns the threshold that accepts the share `accept` of pictures of known classes.

        Without features each exemplar is compared with the others of its class. A network puts the pictures that it
        was trained on closer to each other than new ones, so if such are the exemplars, the threshold comes out too
        low and rejects more than it should; so do exemplars that show the same twice. Features of pictures that were
        used neither in training nor as exemplars are better: with them, `accept` is guaranteed on average
        (`search.threshold`).

        Args:
            accept: between 0 and 1.
            features: (Q, D) of such pictures.
            labels: their Q labels, or one for all.

        Raises:
            ValueError: there are too few exemplars or pictures, or a label is not in the gallery.
        """
        if (features is None) != (labels is None):
            raise ValueError("calibrate takes features with their labels, got one of both; pass both or neither.")
        with self._writing() as connection:
            given = None
            if features is not None:
                queries = validation.unit(features, self._head.dimensions)
                given = queries, np.array(validation.label_list(labels, len(queries)), object)
            limit = calibrated(self._features[: len(self)], self._labels[: len(self)], accept, given)
            head = storage.write_head(connection, replace(self._head, threshold=limit))
        self._head = head
        return limit

    def _no_such(self, label: str | None, path: str | Path | None) -> str:
        if label is None:
            return f"The gallery {self._path} has no image {path}; pass its path as query shows it."
        known = list(self.classes)
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        names = ", ".join(repr(name) for name in known[:_SHOWN]) or "none"
        return f"The gallery {self._path} has no label {label!r}; known are {names}{more}."

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that begins with memory as the file is."""
        with storage.transaction(self._path, writing=True) as connection:
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
        # Room to add to costs nothing before it is used.
        room = head.exemplars + head.exemplars // 8 + _ROWS
        self._features = np.empty((room, head.dimensions), np.float32)
        self._labels, self._paths, self._blocks = (np.empty(room, kind) for kind in (object, object, np.int64))
        self._known, self._head = set(), replace(head, exemplars=0)
        for block in storage.read_blocks(self._path, connection, head.dimensions):
            self._extend(block.features, block.labels, block.paths, [(block.number, len(block.labels))])
            self._head = replace(head, exemplars=len(self) + len(block.labels), state="")
        if len(self) != head.exemplars:
            raise storage.damaged(self._path, f"it has {len(self)} exemplars of {head.exemplars}")
        self._head = head

    def _extend(
        self, features: np.ndarray, labels: Sequence[str], paths: Sequence[str], blocks: list[tuple[int, int]]
    ) -> None:
        """Copies exemplars behind the last one."""
        start, stop = len(self), len(self) + len(features)
        if stop > len(self._features):
            for name in ("_features", "_labels", "_paths", "_blocks"):
                old = getattr(self, name)
                grown = np.empty((stop + stop // 8 + _ROWS, *old.shape[1:]), old.dtype)
                grown[:start] = old[:start]
                setattr(self, name, grown)
        self._features[start:stop] = features
        self._labels[start:stop] = [sys.intern(label) for label in labels]  # a class has one text, however large
        self._paths[start:stop] = paths
        self._blocks[start:stop] = np.repeat(*np.array(blocks, np.int64).reshape(-1, 2).T)
        self._known.update(paths)
