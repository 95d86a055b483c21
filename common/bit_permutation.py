"""Permutations of the 32 bits of a word as masked swaps, the form in which arrays are shuffled.

Bit 0 is the least significant one. For a binary32 number bits 0 to 22 are the mantissa, 23 to 30 the exponent, and bit
31 is the sign. A key f holds in f[i] the position that bit i goes to: b_{f(i)} = a_i (dissertation Eqs. 2.8 and 2.9).
The dissertation numbers the bits from 1; only the names of the positions depend on it.
"""

from typing import Any

import numpy as np

#: Distances of the swaps, in order: a Beneš network.
SHIFTS = (16, 8, 4, 2, 1, 2, 4, 8, 16)
_POSITIONS = np.arange(32)


def checked_key(key: Any) -> np.ndarray:
    """The key as (32,) or (D, 32) int64. Errors never quote it.

    Raises:
        ValueError: another shape, no whole numbers, or a position that is missing.
    """
    positions = np.asarray(key)
    if positions.ndim not in (1, 2) or positions.shape[-1] != 32 or positions.size == 0:
        raise ValueError(f"A key must be of shape (32,), or (D, 32) with a key per element, got {positions.shape}.")
    if not np.issubdtype(positions.dtype, np.integer):
        raise ValueError(f"A key must hold whole numbers, got {positions.dtype}; pass integers.")
    if positions.min() < 0 or positions.max() > 31:
        raise ValueError("A key must hold positions from 0 to 31, got one outside; pass permutations of range(32).")
    if not np.array_equal(np.sort(positions, axis=-1), np.broadcast_to(_POSITIONS, positions.shape)):
        raise ValueError("A key must hold each position once, got one twice; pass permutations of range(32).")
    return positions.astype(np.int64)


def inverse_key(key: Any) -> np.ndarray:
    """g with g(f(i)) = i (Eq. 2.11), in the key's shape."""
    return np.argsort(checked_key(key), axis=-1)


def swap_masks(key: Any) -> np.ndarray:
    """Masks of the network that moves the bits as the key says, (9,) or (9, D) uint32.

    Stage k exchanges bits p and p + SHIFTS[k] where its mask has bit p:

        t = (x >> s ^ x) & mask;  x ^= t ^ t << s

    Any permutation takes nine such stages. The two outer ones choose, of the halves that differ in address bit s, the
    one that a bit passes through, and what is left is a permutation in each half. Two bits that start s apart must pass
    through different halves, and so must two that end s apart: the halves alternate along a cycle of such neighbors.
    """
    targets = checked_key(key)
    shape, targets = targets.shape[:-1], targets.reshape(-1, 32)
    masks = np.zeros((9, len(targets)), np.uint32)
    for stage, s in enumerate(SHIFTS[:4]):
        neighbors = _POSITIONS ^ s
        # Two neighbors further along the cycle, at the bit that must go through the same half.
        step = np.take_along_axis(np.argsort(targets, 1), targets ^ s, 1) ^ s
        smallest = np.broadcast_to(_POSITIONS, targets.shape)
        for _ in range(5):  # steps of 1, 2, 4, 8, 16
            smallest = np.minimum(smallest, np.take_along_axis(smallest, step, 1))
            step = np.take_along_axis(step, step, 1)
        low = smallest < smallest[:, neighbors]  # bits that pass through the half where address bit s is 0
        below = (_POSITIONS & s) == 0
        masks[stage] = _packed(below & ~low)
        targets = np.take_along_axis(targets, np.where(low == below, _POSITIONS, neighbors), 1)
        inner = (targets & ~s) | (_POSITIONS & s)  # where the last stage of this pair finds the bit
        crossing = np.zeros_like(low)
        np.put_along_axis(crossing, inner, targets != inner, 1)
        masks[8 - stage] = _packed(below & crossing)
        targets = inner
    masks[4] = _packed((targets > _POSITIONS) & (_POSITIONS & 1 == 0))
    return masks.reshape(9, *shape)


def _packed(bits: np.ndarray) -> np.ndarray:
    """(N, 32) truth values -> (N,) uint32."""
    return (bits.astype(np.uint32) << _POSITIONS.astype(np.uint32)).sum(axis=1, dtype=np.uint32)
