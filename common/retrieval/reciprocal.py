"""Expanded sets of k-reciprocal nearest neighbors."""

import numpy as np
from numba import prange

from common.jit import compiled

_ROWS = 4096  # samples whose sets are built before they are packed


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
    places = _places(neighbors)
    capacity = min(len(neighbors), neighbors.shape[1] * (1 + half))
    sizes, members = [], []
    for start in range(0, len(neighbors), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(neighbors)))
        block = np.empty((len(rows), capacity), np.int32)
        block_sizes = _expand(rows, neighbors, places, half, block)
        sizes.append(block_sizes)
        members.append(block[np.arange(capacity) < block_sizes[:, None]])
    return np.concatenate([[0], np.cumsum(np.concatenate(sizes))]), np.concatenate(members)


@compiled(parallel=True)
def _places(neighbors):
    """(N, K): the place of i among the neighbors of its a-th neighbor, K where it is none of them."""
    places = np.empty(neighbors.shape, np.int32)
    for i in prange(len(neighbors)):
        for a in range(neighbors.shape[1]):
            place = 0
            for other in neighbors[neighbors[i, a]]:
                if other == i:
                    break
                place += 1
            places[i, a] = place
    return places


@compiled()
def _contains(members, value):
    for member in members:  # noqa: SIM110 - Numba has no any()
        if member == value:
            return True
    return False


@compiled(parallel=True)
def _expand(rows, neighbors, places, half, sets):
    """Fills sets[i] for sample rows[i]; returns their sizes."""
    sizes = np.zeros(len(rows), np.int64)
    k = neighbors.shape[1]
    for i in prange(len(rows)):
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
    return sizes
