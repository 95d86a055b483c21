"""A gallery in memory and on the disk: exemplars are added, removed and queried, and nothing is trained."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import storage, validation
from .memory import OpenGallery
from .search import Index, nearest, reranked
from .thresholds import calibrated, no_exemplar
from .validation import UNKNOWN
from .voting import VOTERS, WAYS, Way, choose_gallery, means_of, prior_corrected_vote

_SHOWN = 20  # labels that an error message lists


@dataclass(frozen=True, eq=False)
class Answers:
    """The nearest exemplars of Q queries, nearest first.

    Attributes:
        recognized: (Q,) label by the way of the query, or `UNKNOWN` if the nearest exemplar is beyond the threshold.
        labels: (Q, k) of the exemplars.
        distances: (Q, k) float32, 1 - cosine.
        paths: (Q, k) of the exemplars' images; "" for the means of classes.
        ids: (Q, k) int64 of the exemplars; -1 for the means of classes.
    """

    recognized: np.ndarray
    labels: np.ndarray
    distances: np.ndarray
    paths: np.ndarray
    ids: np.ndarray


class Gallery(OpenGallery):
    """The exemplars of a gallery file; one thread at a time.

    Each method sees what other processes have written to the file; so do the properties `paths` and `features`, and the
    others, which memory has, after the next method or `refresh`. Features are stored at unit length, float32; memory
    holds copies in half precision, and the few exact ones that a query needs are read. Whatever is refused leaves file
    and memory as they were.

    Args:
        path: a file that `build` wrote.
        fingerprint: of the network whose features will be added and queried; None does not compare.

    Raises:
        ValueError: the file is missing, foreign, damaged, of another version, or of another network.
    """

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
        digests: Sequence[bytes] | None = None,
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
            digests: as of `add`.
            threshold: see `calibrate`; None rejects nothing.
            overwrite: whether a file that is there may be replaced.

        Raises:
            ValueError: as `add`, or there is such a file.
        """
        features, *names = validation.exemplars(features, labels, paths, digests, None)
        head = storage.Head(attribute, fingerprint, features.shape[1], threshold=validation.distance(threshold))
        storage.create(Path(path), head, *names, features, overwrite)
        return cls(path, fingerprint)

    def query(
        self, features: Any, k: int = 1, *, by: Way = "nearest", voters: int = VOTERS, index: Index | None = None
    ) -> Answers:
        """The k nearest exemplars of Q queries, exactly, equally distant ones in order of adding, and what they say.

        By "nearest", the nearest exemplar says the class. By "balanced", that among as many exemplars of each class as
        the smallest one has, always the same ones (`voting.choose_gallery`). By "votes", the nearest `voters`, each of
        weight 1 / exemplars of its class (`voting.prior_corrected_vote`). By "class_means", the nearest mean of a class
        stands for its exemplars (`voting.class_means`), and nothing is unknown: the threshold is one of exemplars.

        Args:
            features: (Q, D).
            k: how many; of fewer exemplars all are returned.
            by: see above.
            voters: as of "votes".
            index: that names exemplars, of which the nearest are chosen exactly; None compares with all.

        Raises:
            ValueError: the gallery has no exemplars, or features, k, by or voters are none.
        """
        if min(k, voters) < 1:
            raise ValueError(f"{'k' if k < 1 else 'voters'} must be one or more, got {min(k, voters)}.")
        if by not in WAYS:
            raise ValueError(f"by must be one of {', '.join(WAYS)}, got {by!r}.")
        with self._transaction() as connection:
            queries = validation.unit(features, self._head.dimensions)
            if not len(self):
                raise ValueError(f"The gallery {self._path} has no exemplars; add some first.")
            if by == "class_means":
                return self._by_means(connection, queries, k)
            if index is not None and index.state != self._head.state:
                raise ValueError(f"The gallery {self._path} has changed since its index was made; make it again.")
            return self._by_exemplars(connection, queries, k, by, voters, index)

    def _by_exemplars(
        self, connection: sqlite3.Connection, queries: np.ndarray, k: int, by: str, voters: int, index: Index | None
    ) -> Answers:
        memory, pool = self._memory, self._pool(connection)
        wanted = max(k, voters) if by == "votes" else k
        if index is None:
            indices, distances = nearest(queries, pool, wanted)
        else:
            indices, distances = reranked(queries, pool, index.search(queries, wanted), wanted)
        farthest = distances[:, 0]
        if by == "balanced":
            rows = choose_gallery(memory.codes, min(self.classes.values()), 0)
            chosen, distances = nearest(queries, pool.take(rows), k)
            indices = rows[chosen]
        codes = (
            prior_corrected_vote(indices[:, :voters], memory.codes) if by == "votes" else memory.codes[indices[:, 0]]
        )
        limit = np.inf if self.threshold is None else self.threshold
        recognized = np.where(farthest > limit, UNKNOWN, memory.labels(codes).astype(str))
        indices, distances = indices[:, :k], distances[:, :k]
        labels, paths = memory.labels(memory.codes[indices]), self._paths_of(connection, indices)
        return Answers(recognized, labels.astype(str), distances, paths.astype(str), memory.ids[indices])

    def _by_means(self, connection: sqlite3.Connection, queries: np.ndarray, k: int) -> Answers:
        blocks = storage.read_blocks(self._path, connection, self._head.dimensions)
        means, names = means_of((block.features, np.array(block.labels, object)) for block in blocks)
        indices, distances = nearest(queries, means, k)
        labels = names[indices].astype(str).reshape(indices.shape)
        return Answers(labels[:, 0], labels, distances, np.full(labels.shape, ""), np.full(labels.shape, -1))

    def add(
        self,
        features: Any,
        labels: str | Sequence[str],
        paths: Sequence[str | Path],
        digests: Sequence[bytes] | None = None,
    ) -> int:
        """Adds n exemplars, of known classes or of new ones; returns n. A threshold stays, and is stale from then on.

        Args:
            features: (n, D).
            labels: n names, or one for all.
            paths: n different ones, none of them in the gallery.
            digests: SHA-256 of each picture, by which equal ones are refused; b"" or None where it is not known.

        Raises:
            ValueError: shapes do not fit, features are zero, infinite or not a number, a label is empty or `UNKNOWN`, a
                path or a picture is there already, or the file cannot be written.
        """
        features, labels, paths, digests = validation.exemplars(features, labels, paths, digests, self._head.dimensions)
        with self._transaction(writing=True) as connection:
            known = self._pictures(connection)
            repeated = [path for path in paths if path in known]
            pictures = set(filter(None, known.values())) if any(digests) else set()
            repeated += [path for path, digest in zip(paths, digests) if digest in pictures and path not in known]
            if repeated:
                raise ValueError(
                    f"The image {min(repeated)} is in the gallery already ({len(repeated)} of {len(paths)} are); leave "
                    "it out, or remove it first."
                )
            ids = np.arange(self._head.next_id, self._head.next_id + len(paths))
            blocks = storage.append(connection, ids, labels, paths, digests, features)
            head = self._changed(exemplars=len(self) + len(paths), next_id=self._head.next_id + len(paths))
            head = storage.write_head(connection, head)
        self._memory.extend(features, ids, labels, np.repeat(*np.array(blocks, np.int64).reshape(-1, 2).T))
        known.update(zip(paths, digests))
        self._head = head
        return len(paths)

    def remove(self, *, label: str | None = None, path: str | Path | Collection[str] | None = None) -> int:
        """Removes the exemplars of a label, or those of some images; returns how many. A threshold is stale afterwards.

        Raises:
            ValueError: there is none, or not one of both is given.
        """
        if (label is None) == (path is None):
            raise ValueError(f"remove takes a label or a path, got label={label!r} and path={path!r}; pass one.")
        with self._transaction(writing=True) as connection:
            memory = self._memory
            if label is None:
                paths = {str(path)} if isinstance(path, (str, Path)) else path or ()
                gone = np.array([known in paths for known in self._pictures(connection)], bool)
            else:
                gone = memory.codes == memory.numbers_of([label])[0]
            if not gone.any():
                raise self.no_such(label, path)
            numbers = np.unique(memory.blocks[gone])
            for block in storage.read_blocks(self._path, connection, self._head.dimensions, numbers):
                rows = np.flatnonzero(~gone[memory.blocks == block.number])
                names = ([part[i] for i in rows] for part in (block.labels, block.paths, block.digests))
                smaller = storage.Block(block.number, block.ids[rows], *names, block.features[rows])
                storage.write_block(connection, smaller)
            remaining = np.flatnonzero(~gone)
            head = storage.write_head(connection, self._changed(exemplars=len(remaining)))
        self._memory.keep(remaining)
        self._known, self._head = None, head
        return int(gone.sum())

    def relocate(self, old: str | Path, new: str | Path) -> int:
        """Paths in the folder `old` are in the folder `new` from then on; returns how many. Files are not looked at.

        Raises:
            ValueError: there is none, or two would be one.
        """
        old, new, count = str(old).rstrip("/"), str(new).rstrip("/"), 0
        with self._transaction(writing=True) as connection:
            moved = {path: _moved(path, old, new) for path in self._pictures(connection)}
            if len(set(moved.values())) < len(moved):
                raise ValueError(f"Images in {new} are in the gallery already; remove them first, or move to another.")
            for block in storage.read_blocks(self._path, connection, self._head.dimensions):
                paths = [moved[path] for path in block.paths]
                if paths != block.paths:
                    count += sum(before != after for before, after in zip(block.paths, paths))
                    storage.write_block(connection, replace(block, paths=paths))
            if not count:
                raise ValueError(
                    f"The gallery {self._path} has no image in the folder {old}; pass a part of its paths."
                )
            head = storage.write_head(connection, self._head)
        self._known, self._head = None, head
        return count

    def calibrate(self, accept: float = 0.95, features: Any = None, labels: str | Sequence[str] | None = None) -> float:
        """Sets, stores and returns the threshold that accepts the share `accept` of pictures of known classes.

        Without features each exemplar is compared with the others of its class. A network puts the pictures that it
        was trained on closer to each other than new ones, so if such are the exemplars, the threshold comes out too
        low and rejects more than it should; so do exemplars that show the same twice. Features of pictures that were
        used neither in training nor as exemplars are better: with them, `accept` is guaranteed on average
        (`thresholds.threshold`).

        Args:
            accept: between 0 and 1.
            features: (Q, D) of such pictures.
            labels: their Q labels, or one for all.

        Raises:
            ValueError: there are too few exemplars or pictures, or a label is not in the gallery.
        """
        if (features is None) != (labels is None):
            raise ValueError("calibrate takes features with their labels, got one of both; pass both or neither.")
        with self._transaction(writing=True) as connection:
            given = None
            if features is not None:
                queries = validation.unit(features, self._head.dimensions)
                labels = validation.label_list(labels, len(queries))
                if missing := sorted(set(labels) - set(self.classes)):
                    raise no_exemplar(missing[0])
                given = queries, self._memory.numbers_of(labels)
            limit = calibrated(self._pool(connection), self._memory.codes, accept, given)
            how = {"accept": accept, "by_exemplars": given is None, "is_stale": False}
            head = storage.write_head(connection, replace(self._head, threshold=limit, **how))
        self._head = head
        return limit

    def no_such(self, label: str | None, path: object) -> ValueError:
        """The error to raise for a label, or else a path, that the gallery lacks."""
        if label is None:
            return ValueError(f"The gallery {self._path} has no image {path}; pass its path as query shows it.")
        known = list(self.classes)
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        names = ", ".join(repr(name) for name in known[:_SHOWN]) or "none"
        return ValueError(f"The gallery {self._path} has no label {label!r}; known are {names}{more}.")

    def _changed(self, **fields: int) -> storage.Head:
        return replace(self._head, is_stale=self._head.threshold is not None, **fields)


def _moved(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if path == old or path.startswith(f"{old}/") else path
