"""Re-ranking with k-reciprocal encoding, sparse and by blocks.

Several computations have this name. `rerank` says which one it is. Others in public code, whose numbers differ:

- distances squared once more: squared Euclidean ones passed to code that squares;
- distances not squared;
- distances not divided by their row's maximum, with weights from exp(-d) of those;
- k1 instead of k1 + 1 neighbors, from a nearest-neighbor search that counts the image itself;
- k1 = 50 and k2 = 15;
- junk images as neighbors.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array

from common.jit import compiled, in_threads
from common.retrieval.distances import Distances, Metric
from common.retrieval.embeddings import Embeddings, check_widths
from common.retrieval.protocol import DEFAULT, Protocol
from common.retrieval.search import nearest_to_each_other

_ROWS = 4096  # samples whose sets are built before they are packed


@dataclass(frozen=True, eq=False)
class RerankedDistances:
    """Re-ranked distances of Q queries to G gallery images, for `score(..., distances=...)`.

    Iterating yields float32 blocks of rows, (rows, G), in the order of the queries; junk is at infinity. A block is
    computed when its turn comes and may be overwritten; the next one takes its place. One can iterate again.
    """

    protocol: Protocol
    _query: Embeddings
    _gallery: Embeddings
    _columns: np.ndarray | None  # (C,) the gallery images that are not junk; None for all
    _farthest: np.ndarray  # (Q,)
    _queries: csr_array  # (Q, N) encodings V of the queries
    _members: csr_array  # (N, C) encodings of the gallery by member: the inverted index
    _lambda: float

    @property
    def shape(self) -> tuple[int, int]:
        """(Q, G)."""
        return len(self._query), len(self._gallery)

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks():
            if self._columns is not None:
                whole = np.full((len(block), len(self._gallery)), np.inf, np.float32)
                whole[:, self._columns] = block
                block = whole
            yield block

    def blocks(self) -> Iterator[np.ndarray]:
        """The same without junk, (rows, C)."""
        queries, members, done = self._queries, self._members, 0
        index = (members.indptr, members.indices, members.data)
        original = Distances(self._query.features, self._gallery.features, self.protocol.metric, self._columns)
        for block in original:
            rows = slice(done, done + len(block))
            encodings = (queries.indptr[rows.start : rows.stop + 1], queries.indices, queries.data)
            in_threads(_blend, len(block), block, encodings, index, self._farthest[rows], self._lambda)
            done = rows.stop
            yield block

    def check(self, query: Embeddings, gallery: Embeddings, protocol: Protocol) -> None:
        """Raises ValueError where these distances are of other images, or under another protocol."""
        for side, own, given in (("query", self._query, query), ("gallery", self._gallery, gallery)):
            if own is not given and not all(
                np.array_equal(getattr(own, name), getattr(given, name)) for name in ("features", "identities")
            ):
                raise ValueError(f"The re-ranked distances are of another {side}; call rerank with the one to score.")
        # What the neighbors do not depend on may differ.
        free = {name: getattr(protocol, name) for name in ("ap", "same_camera", "distractors")}
        if replace(self.protocol, **free) != protocol:
            raise ValueError(
                f"The distances were re-ranked under {self.protocol}, but are to be scored under {protocol}; give both "
                "the same one."
            )


def rerank(
    query: Embeddings,
    gallery: Embeddings,
    *,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
    protocol: Protocol = DEFAULT,
    metric: Metric | None = None,
) -> RerankedDistances:
    """Re-ranking with k-reciprocal encoding.

    From Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
    Over the N images of query and gallery together, without junk, and each one once if the gallery has the queries:

    1. d(i, j) is the **squared** cosine or Euclidean distance, **divided by its row's maximum** over all N: what the
       paper's authors' NumPy code makes of such distances.
    2. R*(i, k1): reciprocal neighbors among i and its k1 nearest others, expanded with the sets of half size of
       which more than two thirds are shared (`expanded_sets`). An image is always its own first neighbor.
    3. V(i, j) = exp(-d(i, j)) on R*(i, k1), **divided by its sum**; then averaged over the k2 nearest, i included.
    4. Jaccard distance 1 - m / (2 - m) with m = Σ min(V(i, ·), V(j, ·)), as each V sums to 1.
    5. lambda_value · d + (1 - lambda_value) · Jaccard.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        k1: neighbors of the reciprocal sets.
        k2: neighbors that V is averaged over; 1 for none.
        lambda_value: weight of the original distance, in [0, 1].
        protocol: what is junk, and whether the gallery contains the queries; the distances carry it.
        metric: in place of the protocol's.

    Raises:
        ValueError: widths do not fit, or a parameter is out of its range.
    """
    check_widths(query, gallery)
    protocol = protocol if metric is None else replace(protocol, metric=metric)
    columns, own = protocol.counted(gallery), protocol.own_images(query, gallery)
    counted = np.arange(len(gallery)) if columns is None else columns
    # All images: first the queries that the gallery does not have, then what is not junk in the gallery.
    others = np.flatnonzero(~np.isin(own, counted))
    rows_of_queries = np.empty(len(query), np.int64)
    rows_of_queries[others] = np.arange(len(others))
    inside = np.flatnonzero(np.isin(own, counted))
    rows_of_queries[inside] = len(others) + np.searchsorted(counted, own[inside])
    number = len(others) + len(counted)
    if not 1 <= k1 < number or not 1 <= k2 <= number or not 0 <= lambda_value <= 1:
        raise ValueError(
            f"Re-ranking {number} images takes k1 in [1, {number - 1}], k2 in [1, {number}] and lambda_value in "
            f"[0, 1], got {k1}, {k2} and {lambda_value}; choose smaller numbers of neighbors for a small gallery."
        )
    features = np.concatenate([query.features[others], gallery.features[counted]])
    within = Distances(features, features, protocol.metric)
    del features  # `within` has them in its own form
    neighbors = nearest_to_each_other(within, max(k1 + 1, k2))
    farthest = np.where(neighbors.farthest > 0, neighbors.farthest, 1)  # all images alike: distances stay 0
    encodings = _encode(within, farthest, neighbors.indices, k1, k2)
    return RerankedDistances(
        protocol,
        query,
        gallery,
        columns,
        farthest[rows_of_queries],
        encodings[rows_of_queries],
        encodings[len(others) :].T.tocsr(),
        lambda_value,
    )


def _encode(within: Distances, farthest: np.ndarray, neighbors: np.ndarray, k1: int, k2: int) -> csr_array:
    """V of steps 2 and 3, (N, N)."""
    number = len(neighbors)
    starts, members = expanded_sets(np.ascontiguousarray(neighbors[:, : k1 + 1]), k1)
    rows = np.repeat(np.arange(number), np.diff(starts))
    scaled = within.pairs(rows, members) / farthest[rows]
    weights = np.exp(-(scaled**2))
    weights /= np.add.reduceat(weights, starts[:-1])[rows]
    encodings = csr_array((weights, members, starts), shape=(number, number))
    nearest = neighbors[:, :k2].ravel()
    shares = np.full(len(nearest), 1 / k2, np.float32)
    averaging = csr_array((shares, nearest, np.arange(0, len(nearest) + 1, k2)), shape=(number, number))
    return averaging @ encodings  # (N, N) sparse x (N, N) sparse


def expanded_sets(neighbors: np.ndarray, k1: int) -> tuple[np.ndarray, np.ndarray]:
    """R*(i, k1) of each sample i (Zhong et al. 2017, Eq. 5).

    R(i, k) holds those of i's k nearest (i itself comes on top) that have i among their own k nearest.
    R*(i, k1) adds to R(i, k1) each R(j, k1/2), j in R(i, k1), of which more than two thirds lie in R(i, k1). Half
    of an odd k1 is rounded to the even neighbor.

    Args:
        neighbors: (N, k1 + 1) nearest samples, each sample itself first.
        k1: see above.

    Returns:
        starts (N + 1,) and members: set i is members[starts[i]:starts[i + 1]].
    """
    half = round(k1 / 2) + 1
    places = np.empty(neighbors.shape, np.int32)
    in_threads(_places, len(neighbors), neighbors, places)
    capacity = min(len(neighbors), neighbors.shape[1] * (1 + half))
    sizes, members = [], []
    for start in range(0, len(neighbors), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(neighbors)))
        block = np.empty((len(rows), capacity), np.int32)
        block_sizes = np.zeros(len(rows), np.int64)
        in_threads(_expand, len(rows), rows, neighbors, places, half, block, block_sizes)
        sizes.append(block_sizes)
        members.append(block[np.arange(capacity) < block_sizes[:, None]])
    return np.concatenate([[0], np.cumsum(np.concatenate(sizes))]), np.concatenate(members)


@compiled()
def _places(start, stop, neighbors, places):
    """Fills (N, K): the place of i among the neighbors of its a-th neighbor, K where it is none of them."""
    for i in range(start, stop):
        for a in range(neighbors.shape[1]):
            place = 0
            for other in neighbors[neighbors[i, a]]:
                if other == i:
                    break
                place += 1
            places[i, a] = place


@compiled()
def _contains(members, value):
    for member in members:  # noqa: SIM110 - Numba has no any()
        if member == value:
            return True
    return False


@compiled()
def _expand(start, stop, rows, neighbors, places, half, sets, sizes):
    """Fills sets[i] for sample rows[i], and their sizes."""
    k = neighbors.shape[1]
    for i in range(start, stop):
        sample, members, size = rows[i], sets[i], 0
        for a in range(k):
            if places[sample, a] < k:
                members[size] = neighbors[sample, a]
                size += 1
        core = size  # R(sample, k1)
        for c in range(core):
            neighbor, total, shared = members[c], 0, 0
            for a in range(half):
                if places[neighbor, a] < half:
                    total += 1
                    shared += _contains(members[:core], neighbors[neighbor, a])
            if 3 * shared > 2 * total:
                for a in range(half):
                    if places[neighbor, a] < half and not _contains(members[:size], neighbors[neighbor, a]):
                        members[size] = neighbors[neighbor, a]
                        size += 1
        sizes[i] = size


@compiled()
def _blend(first, last, block, encodings, index, farthest, lambda_value):
    """Turns original distances (B, C) into final ones; the index lists the gallery images of each member."""
    starts, members, weights = encodings
    index_starts, index_rows, index_weights = index
    for i in range(first, last):
        row = block[i]
        shared = np.zeros(len(row), np.float32)  # m of step 4
        for a in range(starts[i], starts[i + 1]):
            member, weight = members[a], weights[a]
            for b in range(index_starts[member], index_starts[member + 1]):
                shared[index_rows[b]] += min(weight, index_weights[b])
        factor = 1 / np.float64(farthest[i])
        for j in range(len(row)):
            scaled = row[j] * factor
            jaccard = 1 - shared[j] / (2 - shared[j])
            row[j] = lambda_value * scaled**2 + (1 - lambda_value) * jaccard
