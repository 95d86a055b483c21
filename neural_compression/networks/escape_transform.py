"""Escape blocks between pixels and levels: an orthonormal change of colors, and cosines over squares of pixels.

Both are orthonormal, so squared errors of levels are those of samples, before these are rounded.
"""

import numpy as np

from ..bitstream import escape
from ..bitstream.container import BLOCK
from ..bitstream.escape import PALETTE, Blocks
from .inference import one_thread

# Rows: luminance, red against blue, green against both; near the principal components of photographs' colors.
_COLORS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
_TOWARDS_ZERO = 0.06  # of a step: where between two borders the coefficients of levels mostly are


def step_of(number: int) -> float:
    """The size of steps, in levels of 8-bit samples."""
    return 2.0 ** (number / 16)


def coefficients(blocks: np.ndarray, size: int) -> np.ndarray:
    """(N, 32, 32, 3) uint8 -> (N, 3, 32, 32) float32; the transforms of 8 << size lie side by side."""
    with one_thread():
        planes = np.moveaxis((blocks.astype(np.float32) - 128) @ _COLORS.T.astype(np.float32), -1, 1)
        return _transformed(planes, _cosines(8 << size))


def pixels(blocks: Blocks, step: int) -> np.ndarray:
    """(N, 32, 32, 3) uint8 that blocks with the step of this number decode to."""
    result = np.empty((len(blocks.kinds), BLOCK, BLOCK, 3), np.uint8)
    for kind in np.unique(blocks.kinds):
        own = blocks.kinds == kind
        if kind == PALETTE:
            colors = np.take_along_axis(blocks.palettes[own], blocks.indices[own].reshape(own.sum(), -1).astype(int), 1)
            shifted = colors[..., None] >> np.array([16, 8, 0]) & 255
            result[own] = shifted.reshape(-1, BLOCK, BLOCK, 3)
            continue
        levels = blocks.levels[own].astype(np.float32)
        values = (levels - np.float32(_TOWARDS_ZERO) * np.sign(levels)) * np.float32(step_of(step))
        with one_thread():
            planes = _transformed(values, _cosines(8 << kind).T)
            colors = np.moveaxis(planes, 1, -1) @ _COLORS.astype(np.float32) + 128
        result[own] = np.rint(np.clip(colors, 0, 255))
    return result


def decode(data: bytes, escaped: np.ndarray, step: int) -> np.ndarray:
    """The pixels (n, 32, 32, 3) uint8 of the blocks where (R, C) is true; errors as for `escape.decode`."""
    if step >= escape.STEPS:
        raise ValueError(
            f"Steps of escape blocks are numbered to {escape.STEPS - 1}, got {step}; fetch the file again."
        )
    parts = [np.zeros((0, BLOCK, BLOCK, 3), np.uint8)]
    if escaped.any():
        parts += [pixels(blocks, step) for _, blocks in escape.decode(data, escaped)]
    elif data:
        raise ValueError(
            f"No block of the map is an escape block, got {len(data)} bytes of them; fetch the file again."
        )
    return np.concatenate(parts)


def _transformed(planes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Squares (S, S) of (N, 3, 32, 32), each multiplied by the matrix (S, S) on both sides."""
    side = len(matrix)
    squares = planes.reshape(-1, BLOCK // side, side, BLOCK // side, side).swapaxes(2, 3)
    squares = matrix @ squares @ matrix.T
    return np.ascontiguousarray(squares.swapaxes(2, 3)).reshape(planes.shape)


def _cosines(side: int) -> np.ndarray:
    """(S, S) float32: orthonormal rows, of rising frequency (DCT-II)."""
    rows = np.cos(np.pi / side * np.arange(side)[:, None] * (np.arange(side) + 0.5))
    rows[0] *= np.sqrt(0.5)
    return (rows * np.sqrt(2 / side)).astype(np.float32)
