"""One engine for the nearest exemplars of a large gallery, on one thread: prints seconds, recall and memory as JSON.

python -m tests.benchmarks.contenders.engines NAME EXEMPLARS WIDTH FOLDER [--prepare] [--features FILE.npy]

FILE.npy has embeddings (M, WIDTH) of a network, M at least EXEMPLARS + 300; else they are clusters of random ones.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from tests.benchmarks.contenders import measures
from tests.benchmarks.contenders.gallery import exemplars, unit

NEIGHBORS, QUERIES, STEP = 5, 300, 100_000
RECALLS = (1.0, 0.99)
# Name -> kind of index, and efforts to try until a recall is reached.
ENGINES: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "`gallery`, exact": ("", (None,)),
    "faiss, Flat": ("Flat", (None,)),
    "faiss SQ8, measured exactly": ("sq8", (None,)),
    "faiss IVF, measured exactly": ("ivf", (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)),
    "faiss HNSW, measured exactly": ("hnsw", (50, 100, 200, 400, 800, 1600, 3200)),
    "Milvus, HNSW, measured exactly": ("milvus", (None,)),
}


def features(start: int, stop: int, width: int) -> np.ndarray:
    if "--features" in sys.argv:
        file = np.load(sys.argv[sys.argv.index("--features") + 1], mmap_mode="r")
        return np.array(file[start:stop, :width], np.float32)
    return exemplars(start, stop, width)


def parts(number: int, width: int) -> Any:
    for start in range(0, number, STEP):
        yield start, unit(features(start, min(start + STEP, number), width))


def prepare(kind: str, number: int, width: int, folder: Path) -> dict[str, float]:
    """Writes the gallery once, and the index of the engine; seconds for the latter."""
    from vehicle_attributes.gallery import Gallery

    path, begin = folder / "gallery", time.perf_counter()
    if not path.exists():
        options = {"fingerprint": "model", "attribute": "make"}
        gallery = Gallery.build(path, np.empty((0, width)), [], [], **options)
        for start, part in parts(number, width):
            names = [f"class {i % 1000}" for i in range(start, start + len(part))]
            gallery.add(part, names, [f"/pictures/{i}.jpg" for i in range(start, start + len(part))])
    if kind:
        begin = time.perf_counter()
    if kind == "Flat":
        import faiss

        index = faiss.IndexFlatIP(width)
        for _, part in parts(number, width):
            index.add(part)
        faiss.write_index(index, str(folder / "flat"))
    elif kind == "milvus":
        from vehicle_attributes.gallery.engines.milvus import MilvusGallery

        gallery = Gallery(path)
        copy = MilvusGallery.open(f"{folder / 'milvus.db'}", gallery.head)
        for block in gallery.blocks():
            copy.add(block.features, block.labels, block.paths)
        copy.close()
    elif kind:
        from vehicle_attributes.gallery.engines.faiss_index import build_index

        build_index(Gallery(path), kind)  # type: ignore[arg-type]
    return {"build": time.perf_counter() - begin}


def searcher(kind: str, effort: int | None, folder: Path) -> Any:
    """Queries (Q, D) of unit length -> numbers of the exemplars (Q, k)."""
    from vehicle_attributes.gallery import Gallery

    if kind == "Flat":
        import faiss

        index = faiss.read_index(str(folder / "flat"))
        return lambda queries: index.search(queries, NEIGHBORS)[1]
    if kind == "milvus":
        from vehicle_attributes.gallery.engines.milvus import MilvusGallery

        copy = MilvusGallery(str(folder / "milvus.db"))
        return lambda queries: numbers(copy.query(queries, NEIGHBORS).paths)
    gallery, options = Gallery(folder / "gallery"), {}
    if kind:
        from vehicle_attributes.gallery.engines.faiss_index import FaissIndex

        options = {"index": FaissIndex(gallery, kind, effort)}  # type: ignore[arg-type]
    return lambda queries: numbers(gallery.query(queries, NEIGHBORS, **options).paths)


def numbers(paths: np.ndarray) -> np.ndarray:
    return np.array([[int(path[10:-4]) for path in row] for row in paths])


def seconds_of_one(search: Any, queries: np.ndarray, clock: Any) -> float:
    """Median of single queries, another one each time; on one thread, also of libraries that were just loaded."""
    row = iter(range(10**6))
    with threadpool_limits(1):
        return float(np.median(measures.seconds_of(lambda: search(queries[next(row) % QUERIES :][:1]), 30, 30, clock)))


def measure(name: str, number: int, width: int, folder: Path) -> dict[str, Any]:
    """For each recall the seconds of a query of one image, by the least effort that reaches it."""
    kind, efforts = ENGINES[name]
    queries = unit(features(number, number + QUERIES, width))
    exact_file = folder / "exact.npy"
    values: dict[str, Any] = {}
    for effort in efforts:
        search = searcher(kind, effort, folder)
        if not kind and not exact_file.exists():
            np.save(exact_file, search(queries))
        exact, answers = np.load(exact_file), search(queries)
        recall = float(np.mean([len(set(a) & set(b)) / NEIGHBORS for a, b in zip(answers, exact)]))
        one = [seconds_of_one(search, queries, clock) for clock in (time.perf_counter, time.process_time)]
        for wanted in RECALLS:
            if recall >= wanted and f"{wanted}" not in values:
                values[f"{wanted}"] = {"recall": recall, "wall": one[0], "cpu": one[1], "effort": effort}
        if len(values) == len(RECALLS):
            break
    return {**values, **measures.memory()}


if __name__ == "__main__":
    name, number, width, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    numba.set_num_threads(1)
    if "--prepare" in sys.argv:
        measures.report(**prepare(ENGINES[name][0], number, width, folder))
    else:
        measures.report(**measure(name, number, width, folder))
