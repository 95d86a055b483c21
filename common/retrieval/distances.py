"""Distances between two sets of features, a block of rows at a time."""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from common.jit import compiled, in_threads

Metric = Literal["cosine", "euclidean"]
BLOCK = 2**25  # numbers in a block: 128 MiB, large enough for a fast matrix product
_SAMPLE = 1024  # rows that the center is the mean of; any center gives the same distances
# Of |x|² + |y|²: what is nearer is computed from differences, which do not cancel.
_NEAR = 2.0**-8


def check_metric(metric: str) -> None:
    """Raises ValueError for an unknown metric."""
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be 'cosine' or 'euclidean', got {metric!r}.")


class Distances:
    """Distances between the rows of `left` and of `right`, computed a block at a time.

    - cosine: 1 - x·y / (‖x‖ ‖y‖) = ‖x/‖x‖ - y/‖y‖‖² / 2, in [0, 2]; 1 where x or y is the zero vector.
    - euclidean: ‖x - y‖, not squared.

    Features are divided by their lengths (cosine) and moved by the mean of `right` in float64, which changes no
    distance, and rounded to float32 then. So errors are in proportion to the spread of the features, wherever they
    are; distances small even against that are sums of squared differences. Equal features are at distance 0.

    Args:
        left: (M, D) float32.
        right: (N, D) float32.
        metric: cosine or euclidean.
        columns: indices of those rows of `right` that take part; None for all.

    Raises:
        ValueError: `metric` is unknown.
    """

    def __init__(self, left: np.ndarray, right: np.ndarray, metric: Metric, columns: np.ndarray | None = None) -> None:
        check_metric(metric)
        self.cosine, self._within = metric == "cosine", right is left and columns is None
        columns = np.arange(len(right)) if columns is None else columns
        self.shape = (len(left), len(columns))
        sample = right[columns[:: -(-len(columns) // _SAMPLE)]].astype(np.float64)
        if self.cosine:
            lengths = np.linalg.norm(sample, axis=1, keepdims=True)
            sample /= np.where(lengths > 0, lengths, 1)
        self._center, self._unit = sample.mean(axis=0), 1.0
        if not self.cosine:
            spread = _power_of_two(np.abs(sample - self._center).max())
            if spread > 0:  # on a grid, so that whole numbers stay exact, and so do equal distances of such
                self._center = np.round(self._center / spread * 16) / 16 * spread
            # A power of two brings lengths to about 1, so that float32 holds their squares.
            self._unit = spread or _power_of_two(np.abs(left - self._center).max()) or 1.0
        self._right, self._right_squares = self._prepared(right, columns)
        self._left = self._right if self._within else left
        self._buffer = np.empty(0, np.float32)

    def _prepared(self, features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Moved features (N, D) float32 and their squared lengths (N,); infinity for the zero vector with cosine."""
        moved, squares = np.empty((len(rows), features.shape[1]), np.float32), np.empty(len(rows))
        in_threads(_move, len(rows), features, rows, self._center, self.cosine, self._unit, moved, squares)
        return moved, squares

    def block(self, rows: slice, columns: slice = slice(None)) -> np.ndarray:
        """Distances of `left[rows]` to the `columns` of `right`, float32; the next call overwrites them."""
        if self._within:
            left, left_squares = self._right[rows], self._right_squares[rows]
        else:
            left, left_squares = self._prepared(self._left, np.arange(*rows.indices(len(self._left))))
        right, right_squares = self._right[columns], self._right_squares[columns]
        size = len(left) * len(right)
        if self._buffer.size < size:  # one buffer for all blocks: fresh pages cost as much as the ranking
            self._buffer = np.empty(size, np.float32)
        block = self._buffer[:size].reshape(len(left), len(right))
        np.matmul(left, right.T, out=block)  # (rows, D) x (D, columns)
        unit = np.float32(self._unit)
        in_threads(_to_distances, len(left), block, left, right, left_squares, right_squares, self.cosine, unit)
        return block

    def pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Distances within one set, `left is right`: of row rows[p] to row columns[p], (P,) float32."""
        distances, unit = np.empty(len(rows), np.float32), np.float32(self._unit)
        arguments = (self._right, self._right_squares, rows, columns, self.cosine, unit, distances)
        in_threads(_pair_distances, len(rows), *arguments)
        return distances

    def bound(self) -> float:
        """A number that no distance exceeds."""
        squares = [self._right_squares.max()]
        if not self._within:
            parts = np.array_split(np.arange(len(self._left)), -(-len(self._left) // 4096))
            squares.append(max(self._prepared(self._left, rows)[1].max() for rows in parts))
        longest = float(np.sqrt([squares[0], squares[-1]]).sum())
        return min(2.0, longest**2 / 2) if self.cosine else longest * self._unit

    def __iter__(self) -> Iterator[np.ndarray]:
        """Blocks of rows in order, (rows, N) each; the next one overwrites the last."""
        for rows in row_blocks(*self.shape, "distances"):
            yield self.block(rows)


def row_blocks(num_rows: int, num_columns: int, what: str) -> Iterator[slice]:
    """Slices of rows whose blocks hold about `BLOCK` numbers, with a progress bar from two seconds on."""
    step = max(1, BLOCK // num_columns)
    with tqdm(total=num_rows, desc=what, unit="row", delay=2, leave=False) as bar:
        for start in range(0, num_rows, step):
            stop = min(start + step, num_rows)
            yield slice(start, stop)
            bar.update(stop - start)


def _power_of_two(value: float) -> float:
    """The one up to `value`; 0 for 0."""
    return float(2.0 ** np.floor(np.log2(value))) if value > 0 else 0.0


@compiled(fastmath={"reassoc"})
def _move(start, stop, features, rows, center, cosine, unit, moved, squares):
    for i in range(start, stop):
        x, y = features[rows[i]], moved[i]
        total, factor = 0.0, 1 / unit
        if cosine:
            for d in range(len(x)):
                total += np.float64(x[d]) * np.float64(x[d])
            factor = 1 / np.sqrt(total) if total > 0 else 0.0
        if cosine and total == 0:
            y[:] = 0
            squares[i] = np.inf
        else:
            shift = 1.0 if cosine else factor
            total = 0.0
            for d in range(len(x)):
                y[d] = np.float64(x[d]) * factor - center[d] * shift
                total += np.float64(y[d]) * np.float64(y[d])
            squares[i] = total


@compiled(fastmath={"reassoc"})
def _square_of_difference(x, y):
    total = np.float32(0)
    for d in range(len(x)):
        difference = x[d] - y[d]
        total += difference * difference
    return total


@compiled()
def _distance(square, cosine, unit):
    """Of the squared length of the difference of moved features; infinity marks a zero vector with cosine."""
    if cosine:
        return np.float32(1) if square == np.inf else np.float32(square * np.float32(0.5))
    return np.sqrt(square) * unit


@compiled()
def _to_distances(start, stop, block, left, right, left_squares, right_squares, cosine, unit):
    for i in range(start, stop):
        row, own = block[i], left_squares[i]
        for first in range(0, len(row), 1024):
            chunk, others, near = row[first : first + 1024], right_squares[first : first + 1024], np.int32(0)
            for j in range(len(chunk)):
                total = own + others[j]
                square = total - 2.0 * chunk[j]
                near = np.int32(near + np.int32(square < total * _NEAR))
                chunk[j] = square
            if near > 0:
                for j in range(len(chunk)):
                    if chunk[j] < (own + others[j]) * _NEAR * 1.000001:
                        chunk[j] = _square_of_difference(left[i], right[first + j])
            for j in range(len(chunk)):
                chunk[j] = _distance(chunk[j], cosine, unit)


@compiled()
def _pair_distances(start, stop, features, squares, rows, columns, cosine, unit, distances):
    for p in range(start, stop):
        i, j = rows[p], columns[p]
        square = _square_of_difference(features[i], features[j])
        if squares[i] == np.inf or squares[j] == np.inf:
            square = np.float32(np.inf)
        distances[p] = _distance(square, cosine, unit)
