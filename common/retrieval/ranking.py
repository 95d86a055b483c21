"""From rows of distances to the ranks of the true matches, without sorting a row."""

import numpy as np

from common.jit import compiled

# Columns of `rank_rows`' results.
MATCHES, FIRST_RANK, LAST_RANK, STANDARD, TRAPEZOID, R_PRECISION, AT_R = range(7)
_CHUNK = 8192  # distances that stay in the first-level cache while every match is compared with them
_FEW = 512  # matches up to which comparing with each is faster than a binary search among them


@compiled()
def _count_by_comparing(row, matches, counts):
    """counts[t] = entries before matches[t] in the order of (distance, index).

    An equal distance counts only from the left, which splits the row at the match and leaves two loops
    without branches, which the compiler turns into vector instructions. NaN is never counted.
    """
    for t in range(len(counts)):
        counts[t] = 0
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
    for t in range(len(counts)):
        counts[t] = 0
    values = np.empty(len(matches), row.dtype)
    for t in range(len(matches)):
        values[t] = row[matches[t]]
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
def _sort(row, matches):
    """Puts matches in the order of (distance, index), by Shell's method: NumPy's takes two seconds to compile."""
    gap = 1
    while 3 * gap < len(matches):
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, len(matches)):
            match, place = matches[i], i
            while place >= gap:
                other = matches[place - gap]
                if row[other] < row[match] or (row[other] == row[match] and other < match):
                    break
                matches[place] = other
                place -= gap
            matches[place] = match
        gap //= 3


@compiled()
def _precisions(counts, results):
    """Fills the last columns of a query's row; counts[t] ranked entries are before match t, t of them matches."""
    number = len(counts)
    for t in range(number):
        precision = (t + 1) / (counts[t] + 1)
        results[STANDARD] += precision / number
        results[TRAPEZOID] += (precision + (t / counts[t] if counts[t] > 0 else 1.0)) / 2 / number
        if counts[t] < number:
            results[R_PRECISION] += 1 / number
            results[AT_R] += precision / number


@compiled()
def exclude(block, starts, stops, members, cameras, gallery_cameras):
    """Sets to NaN, block (B, C), what has both the identity and the camera of a query; arguments as of `rank_rows`."""
    for i in range(len(block)):
        for index in members[starts[i] : stops[i]]:
            if gallery_cameras[index] == cameras[i]:
                block[i, index] = np.nan


@compiled()
def rank_rows(first, last, rows, starts, stops, members, results):
    """Ranks the true matches of the queries from `first` to before `last`.

    Args:
        first, last: see above.
        rows: (B, C) distances of B queries, float32 or float64; NaN is not ranked: no comparison with it holds.
        starts, stops: (B,) the query's identity has the gallery indices members[start:stop].
        members: gallery indices, sorted by identity, then index.
        results: (B, 7) float64 zeros, to be filled for queries with a match: number of matches, ranks (from 1) of the
            first and of the last one, average precision by the standard and by the trapezoid rule, R-precision, and
            MAP@R.
    """
    for i in range(first, last):
        row = rows[i]
        matches = np.empty(stops[i] - starts[i], np.int64)
        number = 0
        for index in members[starts[i] : stops[i]]:
            if not np.isnan(row[index]):
                matches[number] = index
                number += 1
        if number > 0:
            matches = matches[:number]
            _sort(row, matches)
            counts = np.empty(number, np.int64)
            if number <= _FEW:
                _count_by_comparing(row, matches, counts)
            else:
                _count_by_searching(row, matches, counts)
            results[i, MATCHES] = number
            results[i, FIRST_RANK] = counts[0] + 1
            results[i, LAST_RANK] = counts[number - 1] + 1
            _precisions(counts, results[i])
