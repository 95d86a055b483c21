"""A gallery in Milvus: a file of `milvus-lite` on one machine, or a cluster by its URL, by the same code.

The place of such a gallery is `FILE.db#COLLECTION` or `http://HOST:PORT#COLLECTION`; it needs `pymilvus`.
"""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import validation
from ..index import Answers, Gallery
from ..search import HalfFeatures, reranked
from ..storage import Block, Head
from ..thresholds import no_exemplar, threshold_of_given
from ..validation import UNKNOWN
from ..voting import VOTERS, prior_corrected_vote
from .milvus_collections import create_collections, head_row, quoted

_ROWS = 1000  # of a request
_FIELDS = ["label", "path", "embedding"]


def is_milvus(place: str) -> bool:
    """Whether a gallery's place is one of Milvus, and no file of ours."""
    return "://" in place or place.partition("#")[0].endswith(".db")


class MilvusGallery:
    """Exemplars in a collection; several processes and machines may add to it at once.

    The number of an exemplar is a function of its path, so adding it again changes nothing: a job that was killed is
    simply started again. Candidates come from the index of Milvus, with their features, and are measured in float64
    here; equally near ones come in the order of their numbers. With the index "FLAT" answers are exact.

    Args:
        place: see above; the collection is `gallery` where none is named.
        fingerprint: of the network whose features will be added and queried; None does not compare.
        per_neighbor: exemplars to measure for each one that is wanted.
        token: of a cluster that wants one, `user:password`.

    Raises:
        ValueError: pymilvus is not installed, nothing answers, or the collection is missing or of another network.
    """

    def __init__(self, place: str, fingerprint: str | None = None, per_neighbor: int = 10, token: str = "") -> None:
        self.place, self._per_neighbor = place, per_neighbor
        uri, _, name = place.partition("#")
        self._name, self._heads = name or "gallery", f"{name or 'gallery'}_head"
        with self._explained():
            self._client = _pymilvus().MilvusClient(uri, token=token)
            if not self._client.has_collection(self._heads):
                raise ValueError(f"There is no gallery {place}; make one with push.")
            for collection in (self._name, self._heads):
                self._client.load_collection(collection)
        self.head = self._read_head()
        if fingerprint is not None and self.head.fingerprint != fingerprint:
            raise ValueError(
                f"The gallery {place} was made with another network ({self.head.fingerprint[:12]}…, this one is "
                f"{fingerprint[:12]}…), so distances would mean nothing; pass the training it was built with."
            )

    @classmethod
    def open(cls, place: str, head: Head, index: str = "HNSW", token: str = "") -> "MilvusGallery":
        """The gallery at a place, made there if there is none: with the attribute, network and width of `head`.

        Args:
            place: as of the class.
            head: of the exemplars that it is to have.
            index: of Milvus: "FLAT", "HNSW", "IVF_FLAT" and others; parameters are its defaults.
            token: as of the class.

        Raises:
            ValueError: as of the class, or there is one of another network or attribute.
        """
        pymilvus, (uri, _, name) = _pymilvus(), place.partition("#")
        with _explained(place):
            create_collections(
                pymilvus.MilvusClient(uri, token=token), pymilvus.DataType, name or "gallery", head, index
            )
        gallery = cls(place, head.fingerprint, token=token)
        if gallery.head.attribute != head.attribute or gallery.head.dimensions != head.dimensions:
            raise ValueError(
                f"The gallery {place} has {gallery.head.attribute} of {gallery.head.dimensions} numbers, got "
                f"{head.attribute} of {head.dimensions}; choose another collection."
            )
        return gallery

    def close(self) -> None:
        """Ends the connection; the file of milvus-lite is free for other processes then."""
        self._client.close()

    def __len__(self) -> int:
        return self._count("")

    @property
    def threshold(self) -> float | None:
        return self.head.threshold

    @property
    def attribute(self) -> str:
        return self.head.attribute

    @property
    def fingerprint(self) -> str:
        return self.head.fingerprint

    def blocks(self) -> Iterator[Block]:
        """All exemplars, in the order of Milvus, some at a time."""
        rows = self._rows("", [*_FIELDS, "sha256"])
        for number in itertools.count():
            if not (part := list(itertools.islice(rows, _ROWS))):
                return
            ids, features = (np.array([row[name] for row in part]) for name in ("id", "embedding"))
            labels, paths = ([row[name] for row in part] for name in ("label", "path"))
            digests = [bytes.fromhex(row["sha256"]) for row in part]
            yield Block(number, ids, labels, paths, digests, features.astype(np.float32))

    @property
    def classes(self) -> dict[str, int]:
        """Label -> number of its exemplars, in alphabetical order; all are read for it."""
        counts: dict[str, int] = {}
        for row in self._rows("", ["label"]):
            counts[row["label"]] = counts.get(row["label"], 0) + 1
        return dict(sorted(counts.items()))

    def add(
        self,
        features: Any,
        labels: str | Sequence[str],
        paths: Sequence[str],
        digests: Sequence[bytes] | None = None,
    ) -> int:
        """Adds exemplars, or replaces those of the same paths; returns how many. Equal pictures are there once.

        Args and errors are those of `Gallery.add`, but paths may be there already.
        """
        features, labels, paths, digests = validation.exemplars(features, labels, paths, digests, self.head.dimensions)
        with self._explained():
            rows = [
                {"id": id_of(path), "label": label, "path": path, "sha256": digest.hex(), "embedding": feature}
                for path, label, digest, feature in zip(paths, labels, digests, features)
            ]
            count = 0
            for start in range(0, len(rows), _ROWS):
                part = self._different(rows[start : start + _ROWS])
                if part:
                    count += len(part)
                    self._client.upsert(self._name, part)
        if self.head.threshold is not None and count:
            self._write_head(replace(self._read_head(), is_stale=True))
        return count

    def remove(self, *, label: str | None = None, path: str | None = None) -> int:
        """Removes the exemplars of a label, or that of an image; returns how many."""
        if (label is None) == (path is None):
            raise ValueError(f"remove takes a label or a path, got label={label!r} and path={path!r}; pass one.")
        condition = f"label == {quoted(label)}" if path is None else f"path == {quoted(path)}"
        count = self._count(condition)
        if not count:
            raise self.no_such(label, path)
        with self._explained():
            self._client.delete(self._name, filter=condition)
        if self.head.threshold is not None:
            self._write_head(replace(self._read_head(), is_stale=True))
        return count

    def query(self, features: Any, k: int = 1, *, by: str = "nearest", voters: int = VOTERS) -> Answers:
        """As `Gallery.query`, of what the index of Milvus names; by "nearest" or "votes"."""
        if min(k, voters) < 1 or by not in ("nearest", "votes"):
            raise ValueError(f"Milvus takes k and voters from 1 and by nearest or votes, got {k}, {voters} and {by!r}.")
        queries = validation.unit(features, self.head.dimensions)
        answers = [self._nearest(query, max(k, voters) if by == "votes" else k, "") for query in queries]
        if not all(len(near[0]) for near in answers):
            raise ValueError(f"The gallery {self.place} has no exemplars; add some first.")
        width = min((len(near[0]) for near in answers), default=k)
        ids, distances = (np.array([near[i][:width] for near in answers]).reshape(-1, width) for i in (0, 1))
        labels, paths = (np.array([near[i][:width] for near in answers], str).reshape(-1, width) for i in (2, 3))
        says = labels[:, 0].copy()
        if by == "votes":
            names, codes = np.unique(labels[:, :voters], return_inverse=True)
            counts = [self._count(f"label == {quoted(str(name))}") for name in names]
            codes = codes.reshape(labels[:, :voters].shape)
            says = names[prior_corrected_vote(codes, np.arange(len(names)), np.array(counts))]
        limit = np.inf if self.threshold is None else self.threshold
        says = np.where(distances[:, 0] > limit, UNKNOWN, says)
        return Answers(says, labels[:, :k], distances[:, :k].astype(np.float32), paths[:, :k], ids[:, :k])

    def calibrate(self, accept: float, features: Any, labels: Sequence[str]) -> float:
        """Sets, stores and returns the threshold by pictures that are no exemplars, as `Gallery.calibrate`."""
        queries = validation.unit(features, self.head.dimensions)
        distances = []
        for query, label in zip(queries, validation.label_list(labels, len(queries))):
            near = self._nearest(query, 1, f"label == {quoted(label)}")
            if not len(near[0]):
                raise no_exemplar(label)
            distances.append(near[1][0])
        limit = threshold_of_given(np.array(distances, np.float32), accept)
        self.set_threshold(replace(self.head, threshold=limit, accept=accept, by_exemplars=False, is_stale=False))
        return limit

    def no_such(self, label: str | None, path: str | None) -> ValueError:
        """The error to raise for a label, or else a path, that the gallery lacks."""
        what = f"label {label!r}" if path is None else f"image {path}"
        return ValueError(f"The gallery {self.place} has no {what}; list shows what it has.")

    def set_threshold(self, head: Head) -> None:
        """Takes the threshold of a head, and how it was set."""
        names = ("threshold", "accept", "by_exemplars", "is_stale")
        self._write_head(replace(self._read_head(), **{name: getattr(head, name) for name in names}))

    def _nearest(self, query: np.ndarray, k: int, condition: str) -> tuple[np.ndarray, np.ndarray, list, list]:
        """Numbers, distances, labels and paths of the k nearest, measured in float64."""
        wanted = max(self._per_neighbor * k, 64)
        with self._explained():
            (hits,) = self._client.search(
                self._name, data=[query.tolist()], limit=wanted, filter=condition, output_fields=_FIELDS,
                search_params={"metric_type": "IP", "params": {"ef": 2 * wanted, "nprobe": 64}},
            )  # fmt: skip
        hits = sorted(hits, key=lambda hit: hit["id"])
        features = np.array([hit["entity"]["embedding"] for hit in hits], np.float32).reshape(len(hits), len(query))
        if not hits:
            return np.empty(0, np.int64), np.empty(0), [], []
        pool = HalfFeatures(np.empty(features.shape, np.uint16), 0.0, lambda rows: features[rows])
        places, distances = reranked(query[np.newaxis], pool, np.arange(len(hits))[np.newaxis], min(k, len(hits)))
        near = [hits[place] for place in places[0]]
        texts = ([hit["entity"][name] for hit in near] for name in ("label", "path"))
        return np.array([hit["id"] for hit in near], np.int64), distances[0], *texts

    def _different(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows whose picture is not in the collection under another path."""
        digests = [row["sha256"] for row in rows if row["sha256"]]
        if not digests:
            return rows
        known = {row["sha256"]: row["id"] for row in self._rows(f"sha256 in {json.dumps(digests)}", ["sha256"])}
        return [row for row in rows if known.get(row["sha256"], row["id"]) == row["id"]]

    def _rows(self, condition: str, fields: list[str]) -> Iterator[dict[str, Any]]:
        with self._explained():
            options = {"filter": condition, "output_fields": ["id", *fields], "batch_size": _ROWS}
            iterator = self._client.query_iterator(self._name, **options)
            while batch := iterator.next():
                yield from batch
            iterator.close()

    def _count(self, condition: str) -> int:
        with self._explained():
            (row,) = self._client.query(self._name, filter=condition, output_fields=["count(*)"])
        return int(row["count(*)"])

    def _read_head(self) -> Head:
        with self._explained():
            (row,) = self._client.query(self._heads, filter="id == 0", output_fields=["content"])
        return Head(**json.loads(row["content"]))

    def _write_head(self, head: Head) -> None:
        with self._explained():
            self._client.upsert(self._heads, [head_row(head)])
        self.head = head

    def _explained(self) -> contextlib.AbstractContextManager:
        return _explained(self.place)


def opened(place: str, fingerprint: str | None = None) -> Gallery | MilvusGallery:
    """A gallery by its place, a file of ours or one of Milvus; errors are those of the classes."""
    return MilvusGallery(place, fingerprint) if is_milvus(place) else Gallery(place, fingerprint)


def id_of(path: str) -> int:
    """A number below 2^63 for a path; two of a billion paths have the same with a probability of 5 %."""
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "big") >> 1


@contextlib.contextmanager
def _explained(place: str) -> Iterator[None]:
    """Errors of Milvus in a sentence of ours."""
    pymilvus = _pymilvus()
    try:
        yield
    except pymilvus.MilvusException as error:
        reason = " ".join(str(getattr(error, "message", error)).split())
        raise ValueError(
            f"Milvus at {place} refuses or does not answer ({reason}); check the address and the server."
        ) from error


def _pymilvus() -> Any:
    try:
        import pymilvus
    except ImportError:
        raise ValueError("Milvus needs pymilvus, which is not installed; make install EXTRAS=milvus.") from None
    return pymilvus
