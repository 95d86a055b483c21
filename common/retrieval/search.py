"""Exact nearest neighbors by blocks, each product of two vectors computed once."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.jit import compiled, in_threads
from common.retrieval.distances import Distances, row_blocks
from common.retrieval.embeddings import Embeddings
from common.retrieval.protocol import DEFAULT, Comparisons, Protocol

_COLUMNS = 256  # columns that one thread updates at a time


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The k nearest of each of M samples, nearest first, equal distances by index; -1 at infinity if there are less."""

    indices: np.ndarray  # (M, k) int32
    distances: np.ndarray  # (M, k), as `Distances` defines them
    farthest: np.ndarray  # (M,) distance to the farthest of all that count


def _no_neighbors(number: int, k: int, dtype: type) -> Neighbors:
    return Neighbors(np.full((number, k), -1, np.int32), np.full((number, k), np.inf, dtype), np.zeros(number, dtype))


def _at(neighbors: Neighbors, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return neighbors.indices[rows], neighbors.distances[rows], neighbors.farthest[rows]


def search(
    query: Embeddings, gallery: Embeddings, k: int, *, protocol: Protocol = DEFAULT, distances: Any = None
) -> Neighbors:
    """The k nearest gallery images of each query among those that count for it, exactly and in bounded memory.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        k: from 1 to G; fewer are returned where fewer count.
        protocol: what counts, and the metric.
        distances: as of `score`, by default those of the features.

    Raises:
        ValueError: as `score`, or k is out of its range.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"k must be from 1 to the {len(gallery)} gallery images, got {k}.")
    comparisons = Comparisons(query, gallery, protocol)
    neighbors = _no_neighbors(len(query), k, np.float64)  # given distances may have as many digits
    for rows, block in comparisons.blocks(distances):
        in_threads(_update_rows, len(block), block, np.full(len(block), -1), 0, *_at(neighbors, rows))
    if comparisons.columns is not None:
        indices = neighbors.indices
        indices[:] = np.where(indices >= 0, comparisons.columns[indices], -1)
    return neighbors


def nearest_to_each_other(distances: Distances, k: int) -> Neighbors:
    """Neighbors within one set, `distances.left is distances.right`.

    Each sample is its own first neighbor at distance 0, also where others are equal to it. A block of rows meets
    only the columns from its own first one on and serves both its rows and its columns: half the products.
    """
    number = distances.shape[0]
    neighbors = _no_neighbors(number, k, np.float32)
    neighbors.indices[:, 0], neighbors.distances[:, 0] = np.arange(number), -1  # nothing comes before the sample itself
    limits = neighbors.distances[:, -1].copy()
    for rows in row_blocks(number, number, "neighbors"):
        block = distances.block(rows, slice(rows.start, None))
        own = np.arange(rows.start, rows.stop)
        in_threads(_update_rows, len(own), block, own, rows.start, *_at(neighbors, rows))
        # Columns meet rows of smaller index before those of larger index, so equal distances keep their order.
        rest = slice(rows.stop, None)
        in_threads(
            _update_columns, number - rows.stop, block, len(own), rows.start, *_at(neighbors, rest), limits[rest]
        )
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


@compiled()
def _update_rows(start, stop, block, own, first_column, indices, distances, farthest):
    """block[i, j] is the distance of sample i, which is number own[i] itself, to number first_column + j, or NaN."""
    for i in range(start, stop):
        row, limit, largest = block[i], distances[i, -1], farthest[i]
        for j in range(len(row)):
            if row[j] > largest:
                largest = row[j]
            if row[j] < limit and first_column + j != own[i]:
                _insert(indices[i], distances[i], first_column + j, row[j])
                limit = distances[i, -1]
        farthest[i] = largest


@compiled()
def _update_columns(first, last, block, skipped, first_row, indices, distances, farthest, limits):
    """block[i, skipped + j] is the distance of sample j to number first_row + i; limits[j] = distances[j, -1]."""
    for start in range(first, last, _COLUMNS):
        stop = min(last, start + _COLUMNS)
        for i in range(len(block)):
            row = block[i, skipped:]
            for j in range(start, stop):
                farthest[j] = max(farthest[j], row[j])
                if row[j] < limits[j]:
                    _insert(indices[j], distances[j], first_row + i, row[j])
                    limits[j] = distances[j, -1]
