"""One way of storing and querying a gallery of exemplars: prints seconds and memory as JSON.

python -m tests.benchmarks.contenders.gallery NAME EXEMPLARS WIDTH FOLDER [--prepare]
"""

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from tests.benchmarks.contenders import measures

NEIGHBORS, ADDED, LABELS = 5, 100, 1000
BATCH = 32  # queries at once
QUERIES, BATCHES, ADDITIONS, LIMIT = 40, 5, 9, 20  # of each so many, and seconds after which no further one begins


class Contender(Protocol):
    def query(self, queries: np.ndarray) -> np.ndarray: ...  # (Q, D) -> indices (Q, k)

    def add(self, features: np.ndarray, first: int) -> None: ...  # in memory and on the disk


Open = Callable[[Path], Contender]


def exemplars(start: int, stop: int, width: int) -> np.ndarray:
    """Clusters as a network makes them: cosines of about 0.5 within a class."""
    centers = np.random.default_rng(0).standard_normal((LABELS, width), dtype=np.float32)
    features = np.random.default_rng(1 + start).standard_normal((stop - start, width), dtype=np.float32)
    features += centers[np.arange(start, stop) % LABELS]
    return features


class Ours:
    """`vehicle_attributes.gallery`."""

    def __init__(self, folder: Path) -> None:
        from vehicle_attributes.gallery import Gallery

        self.gallery = Gallery(folder / "gallery", "model")

    def query(self, queries: np.ndarray) -> np.ndarray:
        paths = self.gallery.query(queries, NEIGHBORS).paths
        return np.array([[int(path) for path in row] for row in paths])

    def add(self, features: np.ndarray, first: int) -> None:
        self.gallery.add(features, "new", [str(first + i) for i in range(len(features))])


class Arrays:
    """An npz file, which is written anew with each addition, in one rename."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gallery.npz"
        with np.load(self.path) as file:
            self.features, self.names = file["features"], file["names"]
        self.fit()

    def fit(self) -> None: ...

    def add(self, features: np.ndarray, first: int) -> None:
        from common.files import replacing

        self.features = np.concatenate([self.features, unit(features)])
        self.names = np.concatenate([self.names, np.arange(first, first + len(features))])
        with replacing(self.path) as temporary:
            np.savez(temporary, features=self.features, names=self.names)
        self.fit()


class NumPy(Arrays):
    """All distances, sorted."""

    def query(self, queries: np.ndarray) -> np.ndarray:
        return np.argsort(1 - unit(queries) @ self.features.T, axis=1)[:, :NEIGHBORS]


class ScikitLearn(Arrays):
    def fit(self) -> None:
        from sklearn.neighbors import NearestNeighbors

        self.index = NearestNeighbors(n_neighbors=NEIGHBORS, metric="cosine", algorithm="brute").fit(self.features)

    def query(self, queries: np.ndarray) -> np.ndarray:
        return self.index.kneighbors(queries, return_distance=False)


class Faiss:
    """`IndexFlatIP`, or with numbers of 16 bits, which is not exact; the whole index is written with each addition."""

    kind = "Flat"

    def __init__(self, folder: Path) -> None:
        import faiss

        self.faiss, self.path = faiss, folder / f"gallery.{self.kind}"
        self.index = faiss.read_index(str(self.path))

    def query(self, queries: np.ndarray) -> np.ndarray:
        return self.index.search(unit(queries), NEIGHBORS)[1]

    def add(self, features: np.ndarray, first: int) -> None:
        from common.files import replacing

        self.index.add(unit(features))
        with replacing(self.path) as temporary:
            self.faiss.write_index(self.index, str(temporary))


class Faiss16(Faiss):
    kind = "SQfp16"


CONTENDERS: dict[str, Open] = {
    "`gallery`": Ours,
    "NumPy, sorted; npz": NumPy,
    "scikit-learn; npz": ScikitLearn,
    "faiss, float32": Faiss,
    "faiss, float16 (not exact)": Faiss16,
}
MODULES = {
    "`gallery`": "vehicle_attributes.gallery",
    "scikit-learn; npz": "sklearn.neighbors",
    "faiss, float32": "faiss",
    "faiss, float16 (not exact)": "faiss",
}


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def prepare(name: str, number: int, width: int, folder: Path) -> None:
    """Writes the file that the contender opens; in a process of its own, so that its memory is not counted."""
    kind = CONTENDERS[name]
    features = exemplars(0, number, width)
    if kind is Ours:
        from vehicle_attributes.gallery import Gallery

        labels, paths = [f"class {i % LABELS}" for i in range(number)], [str(i) for i in range(number)]
        options = {"fingerprint": "model", "attribute": "make", "overwrite": True}
        Gallery.build(folder / "gallery", features, labels, paths, **options)
    elif issubclass(kind, Arrays):
        np.savez(folder / "gallery.npz", features=unit(features), names=np.arange(number))
    else:
        import faiss

        index = faiss.index_factory(width, kind.kind, faiss.METRIC_INNER_PRODUCT)
        features = unit(features)
        index.train(features[:1000])
        index.add(features)
        faiss.write_index(index, str(folder / f"gallery.{kind.kind}"))


def measure(name: str, number: int, width: int, folder: Path) -> dict[str, float]:
    queries = exemplars(number, number + 2000, width)
    __import__(MODULES.get(name, "numpy"))  # is not what opening takes
    start = time.perf_counter()
    contender = CONTENDERS[name](folder)
    values = {"open": time.perf_counter() - start}
    starts = itertools.count()

    def query(size: int) -> None:
        start = next(starts)  # not the same queries again
        contender.query(queries[start : start + size])

    values["query"] = median(lambda: query(1), QUERIES)
    values["batch"] = median(lambda: query(BATCH), BATCHES) / BATCH
    values |= measures.memory()
    answers = contender.query(queries[:20])
    values["answers"] = int(np.sum(answers.astype(np.int64) * np.arange(1, answers.size + 1).reshape(answers.shape)))
    firsts = range(number, number + ADDED * (1 + ADDITIONS), ADDED)
    added = iter([(exemplars(first, first + ADDED, width), first) for first in firsts])
    values["add"] = median(lambda: contender.add(*next(added)), ADDITIONS)
    return values


def median(run: Callable[[], object], count: int) -> float:
    return float(np.median(measures.seconds_of(run, count, LIMIT)))


if __name__ == "__main__":
    name, number, width, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    if "--prepare" in sys.argv:
        prepare(name, number, width, folder)
        measures.report()
    else:
        measures.report(**measure(name, number, width, folder))
