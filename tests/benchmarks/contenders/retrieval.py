"""One way of ranking or re-ranking synthetic features: prints seconds and memory as JSON.

python -m tests.benchmarks.contenders.retrieval NAME SIZE
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from common.retrieval import Embeddings, rerank, score
from common.retrieval.distances import BLOCK
from tests.benchmarks.contenders import measures

WIDTH = 2048
SIZES = {
    "Market-1501": (3368, 15913, 751, 6),
    "MSMT17": (11659, 82161, 3060, 15),
}  # query, gallery, identities, cameras
PART = 400  # queries of MSMT17 size that the slow version ranks; the rest is scaled


def features(size: str) -> tuple[Embeddings, Embeddings]:
    """An identity is a Gaussian cluster, a camera an offset; noise differs by image, so that mAP is around 0.7."""
    num_queries, num_gallery, num_identities, num_cameras = SIZES[size]
    rng = np.random.default_rng(0)

    def normal(rows: int) -> np.ndarray:
        return rng.standard_normal((rows, WIDTH), dtype=np.float32)

    centers, offsets = normal(num_identities), 0.4 * normal(num_cameras)

    def people(number: int) -> Embeddings:
        identities, cameras = rng.integers(0, num_identities, number), rng.integers(0, num_cameras, number)
        x = normal(number)
        x *= rng.uniform(1.5, 4.5, (number, 1)).astype(np.float32)
        for start in range(0, number, 1024):
            rows = slice(start, start + 1024)
            x[rows] += centers[identities[rows]] + offsets[cameras[rows]]
        return Embeddings(x, identities, cameras)

    return people(num_queries), people(num_gallery)


class Clock:
    """CPU seconds of all threads and wall seconds of a block."""

    def __enter__(self) -> "Clock":
        self.cpu, self.wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        self.cpu, self.wall = time.process_time() - self.cpu, time.perf_counter() - self.wall


def matrix_product(query: Embeddings, gallery: Embeddings) -> None:
    step = BLOCK // len(gallery)
    block = np.empty((step, len(gallery)), np.float32)
    for start in range(0, len(query), step):
        rows = query.features[start : start + step]
        np.matmul(rows, gallery.features.T, out=block[: len(rows)])


def compile_kernels() -> None:
    some = Embeddings(np.random.default_rng(0).random((60, WIDTH)), np.arange(60) % 5, np.arange(60) % 2)
    score(some, some, distances=rerank(some, some))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def ranking_ours(size: str) -> dict[str, float]:
    """`score` after the bare product of the same shape, with its own products timed apart.

    The difference of two passes of a minute says less about a few per cent than the times within one pass.
    """
    query, gallery = features(size)
    compile_kernels()
    with Clock() as bare:
        matrix_product(query, gallery)
    inside, matmul = [], np.matmul

    def timed(*arguments, **options):
        with Clock() as clock:
            result = matmul(*arguments, **options)
        inside.append(clock)
        return result

    np.matmul = timed
    with Clock() as clock:
        scores = score(query, gallery)
    np.matmul = matmul
    return {
        "cpu": clock.cpu,
        "wall": clock.wall,
        "product_cpu": bare.cpu,
        "product_wall": bare.wall,
        "ranking_cpu": clock.cpu - sum(part.cpu for part in inside),
        "ranking_wall": clock.wall - sum(part.wall for part in inside),
        "map": scores.mean_average_precision,
    }


def ranking_plain(size: str) -> dict[str, float]:
    """The straightforward way: the whole matrix, one argsort per row, boolean masks."""
    query, gallery = features(size)
    number = len(query) if size == "Market-1501" else PART
    left, right = unit(query.features[:number]), unit(gallery.features)
    with Clock() as product:
        distances = 1 - left @ right.T
    precisions = []
    with Clock() as clock:
        for row, identity, camera in zip(distances, query.identities, query.cameras):
            order = np.argsort(row)
            identities, cameras = gallery.identities[order], gallery.cameras[order]
            matches = (identities == identity)[~((identities == identity) & (cameras == camera))]
            if matches.any():
                precision = np.cumsum(matches) / np.arange(1, len(matches) + 1)
                precisions.append(np.sum(precision * matches) / matches.sum())
    scale = len(query) / number
    return {
        "cpu": scale * (product.cpu + clock.cpu),
        "wall": scale * (product.wall + clock.wall),
        "ranking_cpu": scale * clock.cpu,
        "ranking_wall": scale * clock.wall,
        "map": float(np.mean(precisions)),
    }


def reranking_ours(size: str) -> dict[str, float]:
    query, gallery = features(size)
    compile_kernels()
    with Clock() as clock:
        scores = score(query, gallery, distances=rerank(query, gallery))
    return {"cpu": clock.cpu, "wall": clock.wall, "map": scores.mean_average_precision}


def dense_rerank(query: Embeddings, gallery: Embeddings, k1: int, k2: int, lambda_value: float) -> np.ndarray:
    """The same definition as commonly computed: float32 matrices of all images by all images."""
    x = unit(np.concatenate([query.features, gallery.features]))
    number, num_queries = len(x), len(query)
    distance = np.power(1 - x @ x.T, 2)
    distance = np.transpose(distance / np.max(distance, axis=0))
    order = np.argpartition(distance, range(1, k1 + 1))

    def reciprocal(i: int, k: int) -> np.ndarray:
        forward = order[i, : k + 1]
        return forward[np.any(order[forward, : k + 1] == i, axis=1)]

    weights = np.zeros_like(distance)
    for i in range(number):
        core = reciprocal(i, k1)
        members = core
        for j in core:
            others = reciprocal(j, int(np.around(k1 / 2)))
            if len(np.intersect1d(others, core)) > 2 / 3 * len(others):
                members = np.append(members, others)
        members = np.unique(members)
        weight = np.exp(-distance[i, members])
        weights[i, members] = weight / weight.sum()
    distance = distance[:num_queries]
    expanded = np.zeros_like(weights)
    for i in range(number):
        expanded[i] = np.mean(weights[order[i, :k2]], axis=0)
    weights = expanded
    index = [np.flatnonzero(weights[:, j]) for j in range(number)]
    jaccard = np.zeros_like(distance)
    for i in range(num_queries):
        shared = np.zeros(number, np.float32)
        for j in np.flatnonzero(weights[i]):
            shared[index[j]] += np.minimum(weights[i, j], weights[index[j], j])
        jaccard[i] = 1 - shared / (2 - shared)
    return (jaccard * (1 - lambda_value) + distance * lambda_value)[:, num_queries:]


def reranking_plain(size: str) -> dict[str, float]:
    query, gallery = features(size)
    compile_kernels()
    with Clock() as clock:
        distances = dense_rerank(query, gallery, 20, 6, 0.3)
    return {
        "cpu": clock.cpu,
        "wall": clock.wall,
        "map": score(query, gallery, distances=distances).mean_average_precision,
    }


CONTENDERS: dict[str, Callable[[str], dict[str, float]]] = {
    "ranking_ours": ranking_ours,
    "ranking_plain": ranking_plain,
    "reranking_ours": reranking_ours,
    "reranking_plain": reranking_plain,
}

if __name__ == "__main__":
    measures.report(**CONTENDERS[sys.argv[1]](sys.argv[2]))
