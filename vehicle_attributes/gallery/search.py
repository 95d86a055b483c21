"""Exact nearest exemplars by cosine distance, of which memory holds copies in half precision."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from tqdm import tqdm

from common.jit import compiled, in_threads

_SCORES = 2**25  # products at once: 128 MiB, large enough for a fast matrix product
_NUMBERS = 2**20  # numbers of a step that works on features
_ROUNDING = 2.0**-24  # of float32, relative
_SCALE = 2.0**15  # of half-precision copies: numbers from 1 down to 2e-9 have all their digits, and 1 is below 65,504
_SHIFT = 2.0**112  # between a half-precision number and a float32 of the same exponent bits
_TOGETHER = 4  # queries that one pass over a row serves
_FIRST = 64  # neighbors up to which the best are collected while passing by


class Index(Protocol):
    """What names exemplars that may be the nearest ones, such as `engines.faiss_index.FaissIndex`."""

    @property
    def state(self) -> str: ...

    def search(self, queries: np.ndarray, k: int) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class HalfFeatures:
    """N features of unit length: copies in half precision, and a way to the exact ones.

    Attributes:
        half: (N, D) float16, of the features times 2^15, as uint16.
        error: a bound of |x - copy of x|, over all of them.
        exact: (R,) indices -> (R, D) float32.
    """

    half: np.ndarray
    error: float
    exact: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, features: np.ndarray) -> "HalfFeatures":
        """Of (N, D) float32 features in memory, which are not copied otherwise."""
        half, errors = np.empty(features.shape, np.uint16), [0.0]
        step = max(1, _NUMBERS // features.shape[1])
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            half[rows], error = compressed(features[rows])
            errors.append(error)
        return cls(half, max(errors), lambda rows: features[rows])

    def __len__(self) -> int:
        return len(self.half)

    def take(self, rows: np.ndarray) -> "HalfFeatures":
        """Those at the indices."""
        return HalfFeatures(self.half[rows], self.error, lambda chosen: self.exact(rows[chosen]))


def compressed(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Copies of unit features (N, D) float32 as of `HalfFeatures`, and the bound of their error."""
    scaled = features * np.float32(_SCALE)  # exact, and so is the difference below: it is of 13 bits
    half = scaled.astype(np.float16)
    scaled -= half
    squares = np.einsum("nd,nd->n", scaled, scaled)
    # The sum of D squares is off by at most about D roundings; with twice as many the root is rounded up.
    largest = float(np.max(squares, initial=0)) * (1 + 2 * features.shape[1] * _ROUNDING)
    return half.view(np.uint16), largest**0.5 * (1 + 4 * _ROUNDING) / _SCALE


def nearest(queries: np.ndarray, exemplars: np.ndarray | HalfFeatures, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest exemplars of each query, nearest first, equally distant ones by index.

    The distance is 1 - cosine in float64, rounded once to float32, and equal features have exactly 0. All products are
    computed in float32 with the copies first, which reads each exemplar once, at half the bytes. Their error has a
    bound, so only exemplars within twice the bound of the k-th best can be among the k nearest, and only these, mostly
    few more than k, are read exactly and measured in float64.

    Args:
        queries: (Q, D) float32 as `validation.unit` returns them.
        exemplars: (N, D) likewise, N above zero, or `HalfFeatures` of such.
        k: how many, above zero; of fewer exemplars all are returned.

    Returns:
        Indices (Q, k) int64 and distances (Q, k) float32.
    """
    pool = HalfFeatures.of(exemplars) if isinstance(exemplars, np.ndarray) else exemplars
    k = min(k, len(pool))
    indices, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    step = max(1, _SCORES // len(pool))
    with tqdm(total=len(queries), desc="nearest", unit="query", delay=2, leave=False) as bar:
        for start in range(0, len(queries), step):
            rows = slice(start, min(start + step, len(queries)))
            indices[rows], distances[rows] = _nearest(queries[rows], pool, k)
            bar.update(rows.stop - rows.start)
    return indices, distances


def _nearest(queries: np.ndarray, pool: HalfFeatures, k: int) -> tuple[np.ndarray, np.ndarray]:
    dimensions = pool.half.shape[1]
    products = _products(queries, pool.half)  # (Q, N)
    # |x·y - x·c| ≤ |x| |y - c| for the copy c of y. And a sum of D products in float32, in whatever order, is off by at
    # most nu / (1 - nu) |x| |c| with n = D and u the rounding (Higham, Accuracy and Stability of Numerical Algorithms,
    # 2002, section 3.1). The rest is for lengths that are one up to u, and for the rounding of the limit and of the
    # distances that are compared in the end.
    summing = dimensions * _ROUNDING / (1 - dimensions * _ROUNDING)
    error = pool.error + summing * (1 + pool.error) + 16 * _ROUNDING
    # At least k exemplars have products of `reached` or more, thus cosines of reached - error or more. Whatever is
    # among the k nearest is no worse, and has a product of reached - 2 error or more.
    if k > _FIRST:
        reached = np.partition(products, len(pool) - k, axis=1)[:, len(pool) - k]
    else:
        reached = np.empty(len(queries), np.float32)
        in_threads(_reached, len(queries), products, np.full((len(queries), k), -np.inf, np.float32), reached)
    limits = reached - np.float32(2 * error)
    columns = [np.flatnonzero(row >= limit) for row, limit in zip(products, limits)]
    sizes = [len(own) for own in columns]
    rows, columns = np.repeat(np.arange(len(queries)), sizes), np.concatenate([*columns, np.empty(0, np.int64)])
    distances = _distances(queries, pool, rows, columns)
    order = np.lexsort((columns, distances, rows))
    first = np.cumsum([0, *sizes])[:-1]  # rows are in order before and after
    chosen = order[first[:, np.newaxis] + np.arange(k)]  # (Q, k)
    return columns[chosen], distances[chosen]


def reranked(queries: np.ndarray, pool: HalfFeatures, shortlist: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, among the exemplars that an index names for each query, (Q, m), -1 for none.

    A query with fewer than k of them is compared with all.
    """
    k, indices = min(k, len(pool)), np.sort(shortlist, axis=1)[:, ::-1]
    indices[:, 1:][indices[:, 1:] == indices[:, :-1]] = -1
    lacking = np.sum(indices >= 0, axis=1) < k
    rows, places = np.nonzero((indices >= 0) & ~lacking[:, np.newaxis])
    columns = indices[rows, places]
    distances = _distances(queries, pool, rows, columns)
    order = np.lexsort((columns, distances, rows))
    first = np.searchsorted(rows, np.flatnonzero(~lacking))
    chosen = order[first[:, np.newaxis] + np.arange(k)]
    nearest_indices, nearest_distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    nearest_indices[~lacking], nearest_distances[~lacking] = columns[chosen], distances[chosen]
    if lacking.any():
        nearest_indices[lacking], nearest_distances[lacking] = nearest(queries[lacking], pool, k)
    return nearest_indices, nearest_distances


def _products(queries: np.ndarray, half: np.ndarray) -> np.ndarray:
    """(Q, N) float32, of queries (Q, D) with copies (N, D)."""
    products = np.empty((len(queries), len(half)), np.float32)
    scaled = queries * np.float32(_SHIFT / _SCALE)
    if len(queries) < _TOGETHER:
        for query, row in zip(scaled, products):
            in_threads(_dot, len(half), query, half, row)
        return products
    missing = -len(queries) % _TOGETHER
    in_threads(_dots, len(half), np.concatenate([scaled, scaled[:missing]]), half, products)
    return products


def _distances(queries: np.ndarray, pool: HalfFeatures, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(P,) float32 distances of pairs: 1 - cosine = |x - y|² / 2 for unit x and y, which does not cancel near zero."""
    distances = np.empty(len(rows), np.float32)
    step = max(1, _NUMBERS // queries.shape[1])
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        needed, places = np.unique(columns[pairs], return_inverse=True)
        x, y = _exact(queries[rows[pairs]]), _exact(pool.exact(needed))[places]
        x -= y
        distances[pairs] = np.einsum("pd,pd->p", x, x) / 2
    return distances


def _exact(features: np.ndarray) -> np.ndarray:
    """Of length one in float64, too."""
    features = features.astype(np.float64)
    features /= np.sqrt(np.einsum("pd,pd->p", features, features))[:, np.newaxis]
    return features


@intrinsic
def _as_float(typing_context, bits):
    """The float32 that has these bits."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@compiled(fastmath={"reassoc", "contract"})
def _dot(start, stop, query, half, products):
    """A half-precision number's bits, moved to those of a float32, are that number / 2^112: any processor does it."""
    for i in range(start, stop):
        row, total = half[i], np.float32(0)
        for d in range(len(query)):
            bits = np.uint32(row[d])
            sign = (bits & np.uint32(0x8000)) << np.uint32(16)
            total += query[d] * _as_float(np.uint32(sign | ((bits & np.uint32(0x7FFF)) << np.uint32(13))))
        products[i] = total


@compiled(fastmath={"reassoc", "contract"})
def _dots(start, stop, queries, half, products):
    """As `_dot`, of a number of queries that `_TOGETHER` divides; those that `products` has no row for are dropped."""
    row = np.empty(half.shape[1], np.float32)
    for i in range(start, stop):
        copy = half[i]
        for d in range(len(row)):
            bits = np.uint32(copy[d])
            sign = (bits & np.uint32(0x8000)) << np.uint32(16)
            row[d] = _as_float(np.uint32(sign | ((bits & np.uint32(0x7FFF)) << np.uint32(13))))
        for first in range(0, len(queries), 4):
            q0, q1, q2, q3 = queries[first], queries[first + 1], queries[first + 2], queries[first + 3]
            t0, t1, t2, t3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            for d in range(len(row)):
                x = row[d]
                t0 += x * q0[d]
                t1 += x * q1[d]
                t2 += x * q2[d]
                t3 += x * q3[d]
            totals = (t0, t1, t2, t3)
            for t in range(min(4, len(products) - first)):
                products[first + t, i] = totals[t]


@compiled()
def _reached(start, stop, products, best, reached):
    """The k-th largest of each row; `best` (Q, k) is room for the k largest."""
    for i in range(start, stop):
        row, top = products[i], best[i]
        for j in range(len(row)):
            if row[j] > top[-1]:
                place = len(top) - 1
                while place > 0 and top[place - 1] < row[j]:
                    top[place] = top[place - 1]
                    place -= 1
                top[place] = row[j]
        reached[i] = top[-1]
