"""Compiled loops of the bit model: sums of integers that are the same on every machine."""

import numpy as np

from common.jit import compiled


@compiled()
def products(bits_as_signs, columns):
    """(n, J or more) int8 · (J, K) int16 -> (n, K) int32, exactly.

    From the sum where all bits are -1, since most bits of most codes are; what the others change is added.
    """
    units = np.zeros((len(bits_as_signs), columns.shape[1]), np.int32)
    lowest = np.zeros(columns.shape[1], np.int32)
    for j in range(len(columns)):
        for k in range(columns.shape[1]):
            lowest[k] -= columns[j, k]
    for n in range(len(units)):
        row, sums = bits_as_signs[n], units[n]
        if not row.any():
            continue  # absent
        sums[:] = lowest
        for j in range(len(columns)):
            if row[j] >= 0:
                times = np.int32(1 + row[j])
                for k in range(columns.shape[1]):
                    sums[k] += times * np.int32(columns[j, k])
    return units


@compiled()
def advance(k, ones, units, columns, table, probabilities):
    """Adds the bits (0 or 1) of position k - 1 to the logits, and looks up the probabilities for position k."""
    largest = np.int32(len(table) // 2)
    for n in range(len(units)):
        if ones[n]:
            for later in range(k, units.shape[1]):
                units[n, later] += 2 * np.int32(columns[k - 1, later])
        probabilities[n] = table[min(max(units[n, k], -largest), largest) + largest]
