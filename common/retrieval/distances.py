"""Distances between two sets of features, a block of rows at a time."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numba import prange
from tqdm import tqdm

from common.jit import compiled

Metric = Literal["cosine", "euclidean"]
BLOCK = 2**25  # numbers in a block: 128 MiB, large enough for a fast matrix product
_SHORTEST, _LONGEST = 1e-15, 1e15  # lengths whose squares float32 holds


class Distances:
    """Distances between the rows of `left` and of `right`, computed a block at a time.

    - cosine: 1 - x·y / (‖x‖ ‖y‖), in [0, 2]; 1 where x or y is the zero vector.
    - euclidean: the **squared** distance ‖x - y‖², which ranks as the distance does.

    The products x·y are float32, all else is float64 rounded once to float32. For the squared distance this
    leaves an error of some 1e-7 (‖x‖² + ‖y‖²); what falls below 0 by it is set to 0.

    Args:
        left: (M, D) float32.
        right: (N, D) float32.
        metric: cosine or euclidean.

    Raises:
        ValueError: `metric` is unknown, or a feature vector is too long or too short for float32.
    """

    def __init__(self, left: np.ndarray, right: np.ndarray, metric: Metric) -> None:
        if metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}.")
        self.left, self.right, self.cosine = left, right, metric == "cosine"
        self._left_terms = self._terms(left)
        self._right_terms = self._left_terms if right is left else self._terms(right)
        self._buffer = np.empty(0, np.float32)

    def _terms(self, features: np.ndarray) -> np.ndarray:
        """(N,) 1 / ‖x‖ for cosine, with 0 for the zero vector; ‖x‖² for euclidean."""
        squares = _squared_lengths(features)
        used = squares[squares > 0]
        if np.any((used < _SHORTEST**2) | (used > _LONGEST**2)):
            raise ValueError(
                f"Feature vectors must be zero or have lengths in [{_SHORTEST:g}, {_LONGEST:g}], "
                f"got {used.min() ** 0.5:.3g} to {used.max() ** 0.5:.3g}; scale all features by one factor."
            )
        if self.cosine:
            return np.divide(1, np.sqrt(squares), out=np.zeros_like(squares), where=squares > 0)
        return squares

    def block(self, rows: slice, columns: slice = slice(None)) -> np.ndarray:
        """Distances of `left[rows]` to `right[columns]`, float32; the next call overwrites them."""
        left, right = self.left[rows], self.right[columns]
        size = len(left) * len(right)
        if self._buffer.size < size:  # one buffer for all blocks: fresh pages cost as much as the ranking
            self._buffer = np.empty(size, np.float32)
        products = self._buffer[:size].reshape(len(left), len(right))
        np.matmul(left, right.T, out=products)  # (rows, D) x (D, columns)
        _to_distances(products, self._left_terms[rows], self._right_terms[columns], self.cosine)
        return products

    def pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Distances of `left[rows[p]]` to `right[columns[p]]`, (P,) float32."""
        return _pair_distances(self.left, self.right, self._left_terms, self._right_terms, rows, columns, self.cosine)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks of rows in order, (rows, N) each; the next one overwrites the last."""
        for rows in row_blocks(len(self.left), len(self.right), "distances"):
            yield self.block(rows)


def row_blocks(num_rows: int, num_columns: int, what: str) -> Iterator[slice]:
    """Slices of rows whose blocks hold about `BLOCK` numbers, with a progress bar from two seconds on."""
    step = max(1, BLOCK // num_columns)
    with tqdm(total=num_rows, desc=what, unit="row", delay=2, leave=False) as bar:
        for start in range(0, num_rows, step):
            stop = min(start + step, num_rows)
            yield slice(start, stop)
            bar.update(stop - start)


@compiled(parallel=True)
def _squared_lengths(features):
    squares = np.zeros(len(features))
    for i in prange(len(features)):
        total = 0.0
        for value in features[i]:
            total += np.float64(value) * np.float64(value)
        squares[i] = total
    return squares


@compiled()
def _distance(product, left, right, cosine):
    return max(0.0, 1.0 - product * (left * right) if cosine else left + right - 2.0 * product)


@compiled(parallel=True)
def _to_distances(products, left, right, cosine):
    for i in prange(len(products)):
        row, term = products[i], left[i]
        for j in range(len(row)):
            row[j] = _distance(row[j], term, right[j], cosine)


@compiled(parallel=True, fastmath={"reassoc"})
def _pair_distances(left, right, left_terms, right_terms, rows, columns, cosine):
    distances = np.empty(len(rows), np.float32)
    for p in prange(len(rows)):
        x, y, product = left[rows[p]], right[columns[p]], np.float32(0)
        for d in range(len(x)):
            product += x[d] * y[d]
        distances[p] = _distance(product, left_terms[rows[p]], right_terms[columns[p]], cosine)
    return distances
