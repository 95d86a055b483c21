"""ShuffleBits on arrays at memory speed."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from common.bit_permutation import SHIFTS
from common.jit import compiled

from .keys import Key

PART = 2**18  # numbers; below two of these a second thread costs more than it saves
_EXCHANGES = (0, 1, 7, 8)  # the stages that move whole bytes: one instruction brings both partners
CHUNK = 2048  # elements whose masks stay in the first-level cache


def encrypt(features: np.ndarray, key: Any, threads: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """Moves the bits of each number as the key says (dissertation Eqs. 2.8 and 2.9).

    Exact for all 2^32 patterns, in a time that does not depend on key or features. A new key needs no compilation; a
    `Key` computes its masks once, an array each time, which for a key per element takes as long as a thousand vectors.
    Keep the result as words: see `common.layers.bit_shuffle` for what alters floats.

    Args:
        features: (..., D) float32.
        key: (32,) positions or a `Key`; or (D, 32), a key per element.
        threads: None: one per processor for large arrays.
        out: where to write, uint32 of the same shape and in order; fresh memory costs as much as the shuffling.

    Returns:
        uint32, of the same shape.

    Raises:
        ValueError: the features are of another type, the key is none or for another D, or `out` does not fit.
    """
    if features.dtype != np.float32:
        raise ValueError(
            f"encrypt takes float32, got {features.dtype}; cast to float32 yourself, and know what precision is lost."
        )
    return _shuffled(features, key, threads, out, inverse=False)


def decrypt(words: np.ndarray, key: Any, threads: int | None = None, out: np.ndarray | None = None) -> np.ndarray:
    """Undoes `encrypt` with the same key: uint32 -> float32 of the same shape."""
    if words.dtype != np.uint32:
        raise ValueError(f"decrypt takes uint32, got {words.dtype}; pass the words as they came.")
    return _shuffled(words, key, threads, out, inverse=True)


def _shuffled(array: np.ndarray, key: Any, threads: int | None, out: np.ndarray | None, *, inverse: bool) -> np.ndarray:
    masks = (key if isinstance(key, Key) else Key(key)).swap_masks(inverse)
    dtype = np.dtype(np.float32 if inverse else np.uint32)
    if out is None:
        out = np.empty(array.shape, dtype)
    elif out.shape != array.shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(
            f"out must be {dtype}, of shape {array.shape} and contiguous, got {out.dtype} of {out.shape}; "
            "leave it out or make one with np.empty."
        )
    source, target = np.ascontiguousarray(array).view(np.uint32).reshape(array.shape), out.view(np.uint32)
    if masks.ndim == 1:
        items, kernel, masks = (source.reshape(-1), target.reshape(-1)), _shuffle, masks.copy()
        for stage in _EXCHANGES:
            masks[stage] |= masks[stage] << np.uint32(SHIFTS[stage])
    else:
        num_elements = masks.shape[1]
        if source.ndim == 0 or source.shape[-1] != num_elements:
            raise ValueError(
                f"The key is for vectors of {num_elements} elements, got features of shape {source.shape}; "
                "make a key for this length."
            )
        items, kernel = (source.reshape(-1, num_elements), target.reshape(-1, num_elements)), _shuffle_by_element
    parts = threads or min(len(os.sched_getaffinity(0)), source.size // PART)
    if parts < 2:
        kernel(*items, masks)
        return out
    # Threads of Python's own and not of numba's: a server may call this from several threads at once.
    bounds = [len(items[0]) * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(lambda a, b: kernel(items[0][a:b], items[1][a:b], masks), bounds, bounds[1:]))
    return out


# Numba widens uint32 to uint64 in every operation, which halves the numbers per instruction; hence the casts.
@compiled(inline="always")
def _swap(x, mask, shift):
    changed = np.uint32((np.uint32(x >> shift) ^ x) & mask)
    return np.uint32(np.uint32(x ^ changed) ^ np.uint32(changed << shift))


@compiled(inline="always")
def _exchange_halves(x, mask):
    partner = np.uint32(np.uint32(x << np.uint32(16)) | np.uint32(x >> np.uint32(16)))
    return np.uint32(x ^ np.uint32(np.uint32(partner ^ x) & mask))


@compiled(inline="always")
def _exchange_bytes(x, mask):
    upper = np.uint32(np.uint32(x << np.uint32(8)) & np.uint32(0xFF00FF00))
    partner = np.uint32(upper | np.uint32(np.uint32(x >> np.uint32(8)) & np.uint32(0x00FF00FF)))
    return np.uint32(x ^ np.uint32(np.uint32(partner ^ x) & mask))


@compiled(inline="always")
def _network(x, m0, m1, m2, m3, m4, m5, m6, m7, m8):
    """The swaps of `common.bit_permutation.swap_masks`, with masks of both partners where bytes move."""
    x = _exchange_bytes(_exchange_halves(x, m0), m1)
    x = _swap(_swap(_swap(x, m2, np.uint32(4)), m3, np.uint32(2)), m4, np.uint32(1))
    x = _swap(_swap(x, m5, np.uint32(2)), m6, np.uint32(4))
    return _exchange_halves(_exchange_bytes(x, m7), m8)


@compiled(nogil=True)
def _shuffle(source, target, masks):
    m0, m1, m2, m3, m4, m5, m6, m7, m8 = masks
    for i in range(len(source)):
        target[i] = _network(source[i], m0, m1, m2, m3, m4, m5, m6, m7, m8)


@compiled(nogil=True)
def _shuffle_by_element(source, target, masks):
    # Stage after stage on a piece that stays in the cache: loops over ten arrays at once are not vectorized.
    for start in range(0, source.shape[1], CHUNK):
        stop = min(start + CHUNK, source.shape[1])
        for row in range(len(source)):
            words = target[row, start:stop]
            words[:] = source[row, start:stop]
            for stage in range(9):
                shift, mask = np.uint32(SHIFTS[stage]), masks[stage, start:stop]
                for j in range(len(words)):
                    words[j] = _swap(words[j], mask[j], shift)
