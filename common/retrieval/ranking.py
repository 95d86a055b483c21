"""From rows of distances to the ranks of the true matches, without sorting a row."""

import numpy as np
from numba import prange

from common.jit import compiled

# Columns of `rank_rows`' result.
MATCHES, FIRST_RANK, LAST_RANK, STANDARD, TRAPEZOID = range(5)
_CHUNK = 8192  # distances that stay in the first-level cache while every match is compared with them
_FEW = 512  # matches up to which comparing with each is faster than a binary search among them


@compiled()
def _count_by_comparing(row, matches, counts):
    """counts[t] = entries before matches[t] in the order of (distance, index).

    An equal distance counts only from the left, which splits the row at the match and leaves two loops
    without branches, which the compiler turns into vector instructions. NaN is never counted.
    """
    counts[:] = 0
    for start in range(0, len(row), _CHUNK):
        chunk = row[start : start + _CHUNK]
        for t in range(len(matches)):
            value, middle, count = row[matches[t]], min(max(matches[t] - start, 0), len(chunk)), np.int32(0)
            left, right = chunk[:middle], chunk[middle:]
            # The inner casts keep 32-bit sums, eight to an instruction; Numba would widen them to 64.
            for j in range(len(left)):
                count = np.int32(count + np.int32(left[j] <= value))
            for j in range(len(right)):
                count = np.int32(count + np.int32(right[j] < value))
            counts[t] += count


@compiled()
def _count_by_searching(row, matches, counts):
    """The same by one pass over the row with a binary search among the matches, which come nearest first."""
    counts[:] = 0
    values = row[matches]
    for j in range(len(row)):
        distance = row[j]
        if distance <= values[-1]:
            low, high = 0, len(values)  # find the first match behind (distance, j)
            while low < high:
                middle = (low + high) // 2
                if values[middle] > distance or (values[middle] == distance and matches[middle] > j):
                    high = middle
                else:
                    low = middle + 1
            if low < len(values):
                counts[low] += 1
    for t in range(1, len(counts)):
        counts[t] += counts[t - 1]


@compiled()
def _average_precisions(counts):
    """By the standard and by the trapezoid rule; counts[t] ranked entries are before match t, t of them matches."""
    standard, trapezoid = 0.0, 0.0
    for t in range(len(counts)):
        precision = (t + 1) / (counts[t] + 1)
        standard += precision
        trapezoid += (precision + (t / counts[t] if counts[t] > 0 else 1.0)) / 2
    return standard / len(counts), trapezoid / len(counts)


@compiled(parallel=True)
def rank_rows(rows, cameras, starts, stops, members, gallery_cameras, junk):
    """Ranks every query's true matches; overwrites `rows`.

    Args:
        rows: (B, G) distances of B queries, float32 or float64, none of them NaN.
        cameras: (B,) of the queries.
        starts, stops: (B,) the query's identity has the gallery indices members[start:stop].
        members: gallery indices without junk, sorted by identity, then index.
        gallery_cameras: (G,).
        junk: gallery indices to ignore.

    Returns:
        (B, 5) float64: number of matches, ranks (from 1) of the first and of the last one, average precision
        by the standard and by the trapezoid rule; zeros where there is no match.
    """
    results = np.zeros((len(rows), 5))
    for i in prange(len(rows)):
        row = rows[i]
        matches = np.empty(stops[i] - starts[i], np.int64)
        number = 0
        for index in members[starts[i] : stops[i]]:
            if gallery_cameras[index] == cameras[i]:
                row[index] = np.nan  # seen by the same camera: no comparison with NaN holds, so it never counts
            else:
                matches[number] = index
                number += 1
        if number > 0:
            for index in junk:
                row[index] = np.nan
            matches = matches[:number]
            matches = matches[np.argsort(row[matches], kind="mergesort")]  # stable: ties stay in index order
            counts = np.empty(number, np.int64)
            if number <= _FEW:
                _count_by_comparing(row, matches, counts)
            else:
                _count_by_searching(row, matches, counts)
            results[i, 0] = number
            results[i, 1] = counts[0] + 1
            results[i, 2] = counts[number - 1] + 1
            results[i, 3], results[i, 4] = _average_precisions(counts)
    return results
