"""Forward passes of the networks in NumPy alone: what runs when an image is coded or decoded loads no framework.

A convolution gathers the windows of some rows and multiplies them by its kernel, one product of BLAS for each part.
Parts depend on the shape of the input alone, so the same input gives the same output in one process; between machines
the last bits of sums differ. Products are small, so threads of BLAS would mostly wait for each other: there is one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

Layer = Callable[[np.ndarray], np.ndarray]

_AT_ONCE = 2**19  # numbers of all windows of a part, which then stay in the processor's cache
_NORMALIZED = 1e-3  # epsilon of Keras' batch normalization
_SHORTEST = 1e-12  # squared length of a vector, as for common.layers.L2Normalize
# Which row of a 3×3 kernel, or which two of them, adds the input's row above, the same one, and the one below to even
# rows of an output twice as large, and to odd ones; columns likewise.
_TRANSPOSED = (({-1: (2,), 0: (0,)}), ({0: (1,)}))
_UP_SAMPLED = (({-1: (0,), 0: (1, 2)}), ({0: (0, 1), 1: (2,)}))


@dataclass(frozen=True, eq=False)
class Network:
    """Layers one after the other, with the parts of a Keras model that the codec uses.

    Attributes:
        layers: float32 arrays to float32 arrays.
        output_shape: of a batch, None where any size will do.
    """

    layers: tuple[Layer, ...]
    output_shape: tuple[Any, ...]

    def predict_on_batch(self, batch: np.ndarray) -> np.ndarray:
        """A batch -> (B, …) float32 of `output_shape`."""
        values = np.asarray(batch, np.float32)
        with one_thread():
            for layer in self.layers:
                values = layer(values)
        return values

    __call__ = predict_on_batch


class Dense:
    """(…, C) -> (…, D); also a 1×1 convolution, whose kernel is (1, 1, C, D)."""

    def __init__(self, kernel: np.ndarray, bias: np.ndarray) -> None:
        self.kernel, self.bias = kernel.reshape(kernel.shape[-2:]), bias

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        outputs = inputs.reshape(-1, inputs.shape[-1]) @ self.kernel
        outputs += self.bias
        return outputs.reshape(*inputs.shape[:-1], -1)


class Convolution:
    """3×3 with zeros around, then PReLU: (B, H, W, C) -> (B, H, W, D), or half of H and W, which then must be even.

    Args:
        kernel: (3, 3, C, D).
        bias: (D,).
        slope: (D,) of PReLU for negative numbers; None: no activation.
        stride: 1 or 2.
    """

    def __init__(self, kernel: np.ndarray, bias: np.ndarray, slope: np.ndarray | None = None, stride: int = 1) -> None:
        self.kernel = np.ascontiguousarray(kernel.reshape(-1, kernel.shape[-1]))  # (9C, D)
        self.bias, self.slope, self.stride = bias, _flat(slope), stride

    def __call__(self, inputs: np.ndarray, onto: np.ndarray | None = None) -> np.ndarray:
        """`onto` (B, H, W, D) is added before the activation, and overwritten."""
        number, height, width, channels = inputs.shape
        height, width, step = height // self.stride, width // self.stride, self.stride
        outputs = np.empty((number, height, width, len(self.bias)), np.float32) if onto is None else onto
        border = 1 if step == 1 else 0  # "same" with a stride of 2 pads below and on the right alone
        for items, first, last in _parts(number, height, width * 9 * channels):
            rows = _bordered(inputs[items], step * first - border, step * (last - 1) - border + 3)[:, :, 1 - border :]
            strides = rows.strides[0], step * rows.strides[1], step * rows.strides[2], *rows.strides[1::2]
            shape = len(rows), last - first, width, 3, 3 * channels
            windows = np.lib.stride_tricks.as_strided(rows, shape, strides).reshape(-1, 9 * channels)
            part = windows @ self.kernel
            part += self.bias
            part = part.reshape(*shape[:3], -1)
            if onto is not None:
                part += onto[items, first:last]
            outputs[items, first:last] = _prelu(part, self.slope)
        return outputs


class Growing:
    """(B, H, W, C) -> (B, 2H, 2W, D) by four small convolutions, one for each place of an output in a square of four.

    Args:
        kernel: (3, 3, C, D).
        bias: (D,).
        slope: as for `Convolution`.
        transposed: a transposed convolution with a stride of 2, "same" (Keras has its kernel as (3, 3, D, C)); else the
            input is repeated to twice its size, and a 3×3 convolution follows.
    """

    def __init__(
        self, kernel: np.ndarray, bias: np.ndarray, slope: np.ndarray | None = None, *, transposed: bool = False
    ) -> None:
        self.bias, self.slope, self.phases = bias, _flat(slope), []
        taps = _TRANSPOSED if transposed else _UP_SAMPLED
        for y, x in np.ndindex(2, 2):
            places = [(dy, dx) for dy in taps[y] for dx in taps[x]]
            parts = [sum(kernel[r, c] for r in taps[y][dy] for c in taps[x][dx]) for dy, dx in places]
            self.phases.append((y, x, places, np.concatenate(parts)))  # (number of places · C, D)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        number, height, width, channels = inputs.shape
        outputs = np.empty((number, 2 * height, 2 * width, len(self.bias)), np.float32)
        for items, first, last in _parts(number, height, width * 4 * channels):
            rows = _bordered(inputs[items], first - 1, last + 1)
            for y, x, places, kernel in self.phases:
                near = [rows[:, 1 + dy : 1 + dy + last - first, 1 + dx : 1 + dx + width] for dy, dx in places]
                part = np.concatenate(near, axis=-1).reshape(-1, len(kernel)) @ kernel
                part += self.bias
                part = _prelu(part, self.slope).reshape(len(rows), last - first, width, -1)
                outputs[items, 2 * first + y : 2 * last : 2, x::2] = part
        return outputs


class Deblocking:
    """The U-Net of `model.build_deblocking`: images (B, H, W, 3) -> (B, H, W, 3).

    Args:
        weights: in Keras' order: kernel, bias and slope of each convolution, then kernel and bias of the last one.
    """

    def __init__(self, weights: Sequence[np.ndarray]) -> None:
        convolutions: list[Any] = [weights[i : i + 3] for i in range(0, len(weights) - 2, 3)]
        self.levels = (len(convolutions) // 2 - 1) // 2
        self.down = [Convolution(*part) for part in convolutions[: 2 * self.levels + 2]]
        self.up = []
        for first, second in zip(convolutions[len(self.down) :: 2], convolutions[len(self.down) + 1 :: 2]):
            kernel, bias, slope = first
            below = kernel.shape[2] - second[0].shape[2]  # channels that come from below; the others were skipped
            grown = Growing(kernel[:, :, :below], np.zeros_like(bias))
            self.up.append((grown, Convolution(kernel[:, :, below:], bias, slope), Convolution(*second)))
        self.change = Dense(*weights[-2:])

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """H and W must be multiples of 2^levels; numbers in [0, 1] give such as are about there."""
        with one_thread():
            return self._filtered(np.asarray(images, np.float32))

    def _filtered(self, images: np.ndarray) -> np.ndarray:
        values, skipped = images, []
        for level in range(self.levels + 1):
            for convolution in self.down[2 * level : 2 * level + 2]:
                values = convolution(values)
            if level < self.levels:
                skipped.append(values)
                values = _pooled(values)
        for grown, joined, convolution in self.up:
            values = convolution(joined(skipped.pop(), onto=grown(values)))
        change = self.change(values)
        change += images
        return change

    __call__ = predict_on_batch


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager:
    """Inside, BLAS has a single thread."""
    return _libraries().limit(limits=1, user_api="blas")


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), of any finite numbers."""
    small = np.exp(-np.abs(values))
    return np.where(values >= 0, 1, small) / (1 + small)


def flatten(values: np.ndarray) -> np.ndarray:
    """(B, …) -> (B, N)."""
    return values.reshape(len(values), -1)


def one_pixel(codes: np.ndarray) -> np.ndarray:
    """(B, K) -> (B, 1, 1, K)."""
    return codes[:, None, None]


def normalized_by_length(codes: np.ndarray) -> np.ndarray:
    """(B, K), each vector divided by its length and multiplied by √K."""
    squares = np.square(codes).sum(axis=-1, keepdims=True)
    return codes * (np.sqrt(np.float32(codes.shape[-1])) / np.sqrt(np.maximum(squares, np.float32(_SHORTEST))))


def with_batch_normalization(
    kernel: np.ndarray, bias: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (…, D) and bias (D,) of a convolution that batch normalization with these numbers follows."""
    scale = gamma / np.sqrt(variance + np.float32(_NORMALIZED))
    return kernel * scale, (bias - mean) * scale + beta


def _flat(slope: np.ndarray | None) -> np.ndarray | None:
    return None if slope is None else slope.reshape(-1)


def _parts(number: int, height: int, row: int) -> Iterator[tuple[slice, int, int]]:
    """Items and rows, from the first to before the last, that are computed together; a row has so many numbers."""
    rows = max(1, _AT_ONCE // row)
    if rows >= height:
        step = rows // height
        yield from ((slice(i, i + step), 0, height) for i in range(0, number, step))
        return
    for item in range(number):
        yield from ((slice(item, item + 1), r, min(height, r + rows)) for r in range(0, height, rows))


def _bordered(images: np.ndarray, first: int, last: int) -> np.ndarray:
    """Rows `first` to before `last` of (B, H, W, C), zeros for what is outside, and a column of them on each side."""
    number, height, width, channels = images.shape
    rows = np.zeros((number, last - first, width + 2, channels), np.float32)
    top, bottom = max(0, first), min(height, last)
    rows[:, top - first : bottom - first, 1:-1] = images[:, top:bottom]
    return rows


def _prelu(values: np.ndarray, slope: np.ndarray | None) -> np.ndarray:
    """In place: x where x > 0, else slope · x, for a slope of each channel."""
    if slope is not None:
        negative = np.minimum(values, 0)
        negative *= slope - 1
        values += negative
    return values


def _pooled(values: np.ndarray) -> np.ndarray:
    """(B, H, W, C) -> (B, H / 2, W / 2, C), the largest of four."""
    rows = np.maximum(values[:, ::2], values[:, 1::2])
    return np.maximum(rows[:, :, ::2], rows[:, :, 1::2])
