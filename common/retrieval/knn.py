"""Exact nearest neighbors by blocks, each product of two vectors computed once."""

from dataclasses import dataclass

import numpy as np
from numba import prange

from common.jit import compiled
from common.retrieval.distances import Distances, row_blocks

_COLUMNS = 256  # columns that one thread updates at a time


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest of each of M samples, nearest first, equal distances by index."""

    indices: np.ndarray  # (M, k) int32
    distances: np.ndarray  # (M, k) float32, as `Distances` defines them
    farthest: np.ndarray  # (M,) float32, distance to the farthest of all


def _no_neighbors(number: int, k: int) -> Neighbors:
    indices, distances = np.full((number, k), -1, np.int32), np.full((number, k), np.inf, np.float32)
    return Neighbors(indices, distances, np.zeros(number, np.float32))


def _at(neighbors: Neighbors, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return neighbors.indices[rows], neighbors.distances[rows], neighbors.farthest[rows]


def nearest(distances: Distances, k: int) -> Neighbors:
    """The k neighbors of each row of `distances.left` in `distances.right`."""
    neighbors = _no_neighbors(len(distances.left), k)
    for rows in row_blocks(len(distances.left), len(distances.right), "neighbors"):
        block = distances.block(rows)
        own = np.full(len(block), -1)
        _update_rows(block, own, 0, *_at(neighbors, rows))
    return neighbors


def nearest_to_each_other(distances: Distances, k: int) -> Neighbors:
    """Neighbors within one set, `distances.left is distances.right`.

    Each sample is its own first neighbor at distance 0, also where others are equal to it. A block of rows meets
    only the columns from its own first one on and serves both its rows and its columns: half the products.
    """
    number = len(distances.left)
    neighbors = _no_neighbors(number, k)
    neighbors.indices[:, 0], neighbors.distances[:, 0] = np.arange(number), -1  # nothing comes before the sample itself
    limits = neighbors.distances[:, -1].copy()
    for rows in row_blocks(number, number, "neighbors"):
        block = distances.block(rows, slice(rows.start, None))
        own = np.arange(rows.start, rows.stop)
        _update_rows(block, own, rows.start, *_at(neighbors, rows))
        # Columns meet rows of smaller index before those of larger index, so equal distances keep their order.
        rest = slice(rows.stop, None)
        _update_columns(block, len(own), rows.start, *_at(neighbors, rest), limits[rest])
    neighbors.distances[:, 0] = 0
    return neighbors


@compiled()
def _insert(indices, distances, index, distance):
    """Puts a sample into its place behind nearer and equal ones; the last one falls out."""
    place = len(distances) - 1
    while place > 0 and distances[place - 1] > distance:
        distances[place], indices[place] = distances[place - 1], indices[place - 1]
        place -= 1
    distances[place], indices[place] = distance, index


@compiled(parallel=True)
def _update_rows(block, own, first_column, indices, distances, farthest):
    """block[i, j] is the distance of sample i, which is number own[i] itself, to number first_column + j."""
    for i in prange(len(block)):
        row, limit, largest = block[i], distances[i, -1], farthest[i]
        for j in range(len(row)):
            largest = max(largest, row[j])
            if row[j] < limit and first_column + j != own[i]:
                _insert(indices[i], distances[i], first_column + j, row[j])
                limit = distances[i, -1]
        farthest[i] = largest


@compiled(parallel=True)
def _update_columns(block, skipped, first_row, indices, distances, farthest, limits):
    """block[i, skipped + j] is the distance of sample j to number first_row + i; limits[j] = distances[j, -1]."""
    for chunk in prange((len(limits) + _COLUMNS - 1) // _COLUMNS):
        start, stop = chunk * _COLUMNS, min(len(limits), (chunk + 1) * _COLUMNS)
        for i in range(len(block)):
            row = block[i, skipped:]
            for j in range(start, stop):
                farthest[j] = max(farthest[j], row[j])
                if row[j] < limits[j]:
                    _insert(indices[j], distances[j], first_row + i, row[j])
                    limits[j] = distances[j, -1]
