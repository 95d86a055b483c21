"""Escape blocks: blocks of an image that no network codes well, such as text, drawings and saturated colors.

NOTE(paper): the publication codes every block with a network. Colors and contrasts that the networks have not learned
come back wrong at any length of code, and all rates have an end; one more choice for each block has neither.

A block is a palette of up to 16 colors and the color of each pixel, or transforms of 8×8, 16×16 or 32×32 whose levels
are multiples of one step for the whole file. Neighbors of the same kind say what is likely; contexts count along.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .container import BLOCK

STEPS = 192  # steps of levels, each 2^(1/16) times the one before, from 1 on
PALETTE, COLORS = 3, 16  # as in `escape_kernels`, which compiles
_AT_ONCE = 64  # blocks
_SHARE = 64  # blocks that take a byte at least, so that nobody need allocate what a forged size claims
_DAMAGED = "The escape blocks are damaged; fetch the file again."


@dataclass(frozen=True)
class Blocks:
    """What is coded of N blocks.

    Attributes:
        kinds: (N,) uint8; 0 to 2 for transforms of 8, 16 and 32, or PALETTE.
        levels: (N, 3, 32, 32) int32, transforms side by side.
        palettes: (N, 16) int32, 65536 R + 256 G + B.
        numbers: (N,) of colors.
        indices: (N, 32, 32) uint8, of the color of each pixel.
    """

    kinds: np.ndarray
    levels: np.ndarray
    palettes: np.ndarray
    numbers: np.ndarray
    indices: np.ndarray

    @classmethod
    def empty(cls, number: int) -> "Blocks":
        """All zeros, to be filled."""
        return cls(
            np.zeros(number, np.uint8),
            np.zeros((number, 3, BLOCK, BLOCK), np.int32),
            np.zeros((number, COLORS), np.int32),
            np.zeros(number, np.int64),
            np.zeros((number, BLOCK, BLOCK), np.uint8),
        )


class Coding:
    """A stream that is written, read or only estimated, block after block in raster order.

    Args:
        shape: (R, C) blocks of the image.
        data: to read; None: to write.
    """

    def __init__(self, shape: tuple[int, int], data: bytes | None = None) -> None:
        from . import escape_kernels as kernels  # compiles, so it is loaded where there are such blocks

        self._kernels = kernels
        rows, columns = shape
        self._coder = np.array([kernels.ENCODE if data is None else kernels.DECODE, 0, 2**32 - 1, 0, 0], np.int64)
        self._buffer = np.zeros(0 if data is None else len(data), np.uint8)
        if data is not None:
            self._buffer[:] = np.frombuffer(data, np.uint8)
            self._coder[kernels.CODE] = int.from_bytes(data[:4].ljust(4, b"\0"), "big")
            self._coder[kernels.PLACE] = 4
        self._model = np.zeros((kernels.CONTEXTS, 2), np.int32)
        self._model[:, 0] = 32768
        self._tally = np.zeros(1)
        self._state = (
            np.full(shape, -1, np.int8),  # kinds of blocks
            np.zeros((3, 4 * rows, 4 * columns), np.int32),  # means of transforms, in levels of 32×32
            np.zeros((4 * rows, 4 * columns), np.uint8),  # whether there is one
            np.zeros((3, 4 * rows, 4 * columns), np.uint8),  # whether it has levels
            np.full((32 * rows, 32 * columns), -1, np.int32),  # colors of pixels, of palettes alone
            np.concatenate([np.arange(COLORS, dtype=np.int32) * -1 - 1, np.zeros(1, np.int32)]),  # remembered colors
            np.zeros(3, np.int32),  # the last means
        )
        scans = [sorted(np.ndindex(s, s), key=lambda place: (sum(place), place)) for s in (8, 16, 32)]
        self._work = np.array([place for scan in scans for place in scan], np.int32), np.zeros((35, 35), np.int32)

    def write(self, blocks: Blocks, place: int, row: int, column: int) -> None:
        """Appends a block to the stream."""
        spare = len(self._buffer) - int(self._coder[self._kernels.PLACE])
        if spare < 2**17:  # more than a block can take
            self._buffer = np.concatenate([self._buffer, np.zeros(len(self._buffer) + 2**18, np.uint8)])
        self._code(self._kernels.ENCODE, blocks, place, row, column)

    def estimate(self, blocks: Blocks, place: int, row: int, column: int, learn: bool) -> float:
        """Bits that a block would take next; `learn` goes on as if it had been written."""
        before = self._tally[0]
        self._code(self._kernels.ADAPT if learn else self._kernels.ESTIMATE, blocks, place, row, column)
        return float(self._tally[0] - before)

    def read(self, blocks: Blocks, place: int, row: int, column: int) -> None:
        """Fills a block from the stream.

        Raises:
            ValueError: the stream is at its end.
        """
        self._code(self._kernels.DECODE, blocks, place, row, column)
        if self._coder[self._kernels.PLACE] > len(self._buffer) + 8:
            raise ValueError(_DAMAGED)

    def written(self) -> bytes:
        """The stream, without zeros at its end: a reader takes what is missing for zeros."""
        kernels, coder = self._kernels, self._coder
        low, place = int(coder[kernels.LOW]), int(coder[kernels.PLACE])
        for zeros in (24, 16, 8, 0):  # the number within the last range that has the most of them
            end = -(-low >> zeros) << zeros
            if end < low + int(coder[kernels.RANGE]):
                break
        head = int.from_bytes(self._buffer[:place].tobytes(), "big") + (end >> 32)
        return (head.to_bytes(place, "big") + (end & 0xFFFFFFFF).to_bytes(4, "big")).rstrip(b"\0")

    def finish(self) -> None:
        """To be called after the last block.

        Raises:
            ValueError: the stream goes on.
        """
        if self._buffer[int(self._coder[self._kernels.PLACE]) :].any():
            raise ValueError(_DAMAGED)

    def _code(self, kind: int, blocks: Blocks, place: int, row: int, column: int) -> None:
        self._coder[self._kernels.KIND] = kind
        blocks.kinds[place], blocks.numbers[place] = self._kernels.code_block(
            self._coder,
            self._buffer,
            self._model,
            self._tally,
            int(blocks.kinds[place]),
            blocks.levels[place],
            blocks.palettes[place],
            int(blocks.numbers[place]),
            blocks.indices[place],
            row,
            column,
            self._state,
            self._work,
        )


def parts(escaped: np.ndarray) -> Iterator[np.ndarray]:
    """Rows and columns (n, 2) of the blocks where (R, C) is true, in raster order, some at once."""
    places = np.argwhere(escaped)
    yield from (places[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE))


def padded(stream: bytes, escaped: np.ndarray) -> bytes:
    """The stream of the blocks where (R, C) is true, as long as `decode` wants it."""
    return stream.ljust(_least(escaped), b"\0")


def decode(data: bytes, escaped: np.ndarray) -> Iterator[tuple[np.ndarray, Blocks]]:
    """Rows and columns of blocks, and the blocks, from what `Coding.written` and `padded` gave.

    Args:
        data: the stream.
        escaped: (R, C) bool, which blocks it holds.

    Raises:
        ValueError: no such blocks give such data, as far as that shows.
    """
    if len(data) < _least(escaped):
        raise ValueError(f"{len(data)} bytes cannot hold {escaped.sum()} escape blocks; fetch the file whole.")
    coding = Coding((escaped.shape[0], escaped.shape[1]), data)
    for places in parts(escaped):
        blocks = Blocks.empty(len(places))
        for i, (row, column) in enumerate(places.tolist()):
            coding.read(blocks, i, row, column)
        yield places, blocks
    coding.finish()


def _least(escaped: np.ndarray) -> int:
    return -(-int(escaped.sum()) // _SHARE)
