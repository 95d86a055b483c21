"""Re-ranking with k-reciprocal encoding, sparse and by blocks.

Several computations have this name. `rerank` says which one it is. Others in public code, whose numbers differ:

- distances squared once more: squared Euclidean ones passed to code that squares;
- distances not squared;
- distances not divided by their row's maximum, with weights from exp(-d) of those;
- k1 instead of k1 + 1 neighbors, from a nearest-neighbor search that counts the image itself;
- k1 = 50 and k2 = 15.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import prange
from scipy.sparse import csr_array

from common.jit import compiled
from common.retrieval.distances import Distances, Metric
from common.retrieval.embeddings import Embeddings, check_widths
from common.retrieval.knn import nearest_to_each_other
from common.retrieval.reciprocal import expanded_sets


@dataclass(frozen=True, eq=False)
class RerankedDistances:
    """Re-ranked distances of Q queries to G gallery images, for `score(..., distances=...)`.

    Iterating yields float32 blocks of rows, (rows, G), in the order of the queries. A block is computed when its
    turn comes and may be overwritten; the next one takes its place. One can iterate again.
    """

    _original: Distances
    _farthest: np.ndarray  # (Q,)
    _queries: csr_array  # (Q, Q + G) encodings V of the queries
    _members: csr_array  # (Q + G, G) encodings of the gallery by member: the inverted index
    _lambda: float

    @property
    def shape(self) -> tuple[int, int]:
        """(Q, G)."""
        return len(self._original.left), len(self._original.right)

    def __iter__(self) -> Iterator[np.ndarray]:
        queries, members, done = self._queries, self._members, 0
        index = (members.indptr, members.indices, members.data)
        for block in self._original:
            rows = slice(done, done + len(block))
            encodings = (queries.indptr[rows.start : rows.stop + 1], queries.indices, queries.data)
            _blend(block, encodings, index, self._farthest[rows], self._original.cosine, self._lambda)
            done = rows.stop
            yield block


def rerank(
    query: Embeddings,
    gallery: Embeddings,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    metric: Metric = "cosine",
) -> RerankedDistances:
    """Re-ranking with k-reciprocal encoding.

    From Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
    Over the N = Q + G images of query and gallery together:

    1. d(i, j) is the **squared** cosine distance (1 - cos)² or squared Euclidean distance, **divided by its row's
       maximum** over all N: what the paper's authors' NumPy code makes of cosine or Euclidean distances.
    2. R*(i, k1): reciprocal neighbors among i and its k1 nearest others, expanded with the sets of half size of
       which more than two thirds are shared (`expanded_sets`). An image is always its own first neighbor.
    3. V(i, j) = exp(-d(i, j)) on R*(i, k1), **divided by its sum**; then averaged over the k2 nearest, i included.
    4. Jaccard distance 1 - m / (2 - m) with m = Σ min(V(i, ·), V(j, ·)), as each V sums to 1.
    5. lambda_value · d + (1 - lambda_value) · Jaccard.

    All images take part as neighbors, junk (identity -1) too: drop it before if it shall not.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        k1: neighbors of the reciprocal sets.
        k2: neighbors that V is averaged over; 1 for none.
        lambda_value: weight of the original distance, in [0, 1].
        metric: "cosine" or "euclidean".

    Raises:
        ValueError: widths do not fit, or a parameter is out of its range.
    """
    check_widths(query, gallery)
    number = len(query) + len(gallery)
    if not 1 <= k1 < number or not 1 <= k2 <= number or not 0 <= lambda_value <= 1:
        raise ValueError(
            f"Re-ranking {number} images takes k1 in [1, {number - 1}], k2 in [1, {number}] and lambda_value in "
            f"[0, 1], got {k1}, {k2} and {lambda_value}; choose smaller numbers of neighbors for a small gallery."
        )
    features = np.concatenate([query.features, gallery.features])
    within = Distances(features, features, metric)
    neighbors = nearest_to_each_other(within, max(k1 + 1, k2))
    farthest = np.where(neighbors.farthest > 0, neighbors.farthest, 1)  # all images alike: distances stay 0
    encodings = _encode(within, farthest, neighbors.indices, k1, k2)
    original, members = Distances(query.features, gallery.features, metric), encodings[len(query) :].T.tocsr()
    return RerankedDistances(original, farthest[: len(query)], encodings[: len(query)], members, lambda_value)


def _encode(within: Distances, farthest: np.ndarray, neighbors: np.ndarray, k1: int, k2: int) -> csr_array:
    """V of steps 2 and 3, (N, N)."""
    number = len(neighbors)
    starts, members = expanded_sets(np.ascontiguousarray(neighbors[:, : k1 + 1]), k1)
    rows = np.repeat(np.arange(number), np.diff(starts))
    scaled = within.pairs(rows, members) / farthest[rows]
    weights = np.exp(-(scaled**2 if within.cosine else scaled))
    weights /= np.add.reduceat(weights, starts[:-1])[rows]
    encodings = csr_array((weights, members, starts), shape=(number, number))
    nearest = neighbors[:, :k2].ravel()
    shares = np.full(len(nearest), 1 / k2, np.float32)
    averaging = csr_array((shares, nearest, np.arange(0, len(nearest) + 1, k2)), shape=(number, number))
    return averaging @ encodings  # (N, N) sparse x (N, N) sparse


@compiled(parallel=True)
def _blend(block, encodings, index, farthest, cosine, lambda_value):
    """Turns original distances (B, G) into final ones; the index lists the gallery images of each member."""
    starts, members, weights = encodings
    index_starts, index_rows, index_weights = index
    for i in prange(len(block)):
        row = block[i]
        shared = np.zeros(len(row), np.float32)  # m of step 4
        for a in range(starts[i], starts[i + 1]):
            member, weight = members[a], weights[a]
            for b in range(index_starts[member], index_starts[member + 1]):
                shared[index_rows[b]] += min(weight, index_weights[b])
        factor = 1 / np.float64(farthest[i])
        for j in range(len(row)):
            scaled = row[j] * factor
            if cosine:
                scaled *= scaled
            jaccard = 1 - shared[j] / (2 - shared[j])
            row[j] = lambda_value * scaled + (1 - lambda_value) * jaccard
