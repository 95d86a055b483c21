"""How an encoder codes escape blocks: for each the transform or the palette with the least squared error + λ · bits."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..bitstream import escape
from ..bitstream.escape import PALETTE, Blocks, Coding
from ..networks.escape_transform import coefficients, pixels, step_of

_PER_BIT = 8.0  # squared steps that a bit is worth: λ = step² / 8
_ROUNDED = 0.33  # of a step, above which a coefficient is rounded up; less than a half, as zeros are cheap
_FLAT = 0.3  # of a block's pixels equal the one on their left, in text and drawings
_MOST_COLORS = 320  # of a block that may have a palette
_SIZES = 2, 4, 8, 16  # of palettes
Palette = tuple[np.ndarray, np.ndarray]  # (n,) int32 colors, (32, 32) uint8 places of pixels among them


@dataclass(frozen=True)
class EscapePlan:
    """How each block of an image would be coded, R × C of them.

    Attributes:
        kinds: (R, C) uint8; beyond PALETTE by n: a palette of `_SIZES[n]` or fewer colors.
        bits: (R, C) float64.
        errors: (R, C) int64, as of `BlockVersions`.
    """

    kinds: np.ndarray
    bits: np.ndarray
    errors: np.ndarray


def step_for(weight: float) -> int:
    """The number of the step that goes with a λ."""
    number = round(8 * np.log2(_PER_BIT * max(weight, 1e-12)))
    return int(min(max(number, 0), escape.STEPS - 1))


class EscapeSearch:
    """The search for an image.

    Args:
        blocks: (R, C, 32, 32, 3) uint8.
        inside: (R, C, 32, 32) bool, the pixels that count.
    """

    def __init__(self, blocks: np.ndarray, inside: np.ndarray) -> None:
        self._blocks, self._inside = blocks, inside
        self._palettes: dict[tuple[int, int], list[Palette]] = {}  # of blocks that may have some
        self._plans: dict[int, EscapePlan] = {}

    def plan(self, step: int) -> EscapePlan:
        """Tries all kinds for all blocks, as if all were coded so; `step` is a number."""
        if step not in self._plans:
            self._plans[step] = self._planned(step)
        return self._plans[step]

    def write(self, escaped: np.ndarray, step: int) -> tuple[bytes, np.ndarray]:
        """The stream of the blocks where (R, C) is true, and what they decode to, (n, 32, 32, 3) uint8."""
        kinds = self.plan(step).kinds
        coding, decoded = Coding(kinds.shape), [np.zeros((0, *self._blocks.shape[2:]), np.uint8)]
        for places in escape.parts(escaped):
            own, best = tuple(places.T), Blocks.empty(len(places))
            versions = dict(self._versions(places, step, set(kinds[own].tolist())))
            for i, (row, column) in enumerate(places.tolist()):
                _copy(versions[kinds[row, column]], best, i)
                coding.write(best, i, row, column)
            decoded.append(pixels(best, step))
        return escape.padded(coding.written(), escaped), np.concatenate(decoded)

    def _planned(self, step: int) -> EscapePlan:
        shape = self._blocks.shape[:2]
        kinds, bits, errors = np.zeros(shape, np.uint8), np.zeros(shape), np.zeros(shape, np.int64)
        weight, coding = step_of(step) ** 2 / _PER_BIT, Coding((shape[0], shape[1]))
        for places in escape.parts(np.ones(shape, bool)):
            own, best = tuple(places.T), Blocks.empty(len(places))
            versions = dict(self._versions(places, step))
            distortions = {kind: self._errors(places, version, step) for kind, version in versions.items()}
            for i, (row, column) in enumerate(places.tolist()):
                least = np.inf
                for kind, version in versions.items():
                    if kind >= PALETTE and not version.numbers[i]:
                        continue
                    total = distortions[kind][i] + weight * coding.estimate(version, i, row, column, learn=False)
                    if total < least:
                        least, kinds[row, column] = total, kind
                _copy(versions[kinds[row, column]], best, i)
                bits[row, column] = coding.estimate(best, i, row, column, learn=True)
            errors[own] = self._errors(places, best, step)
        return EscapePlan(kinds, bits, errors)

    def _errors(self, places: np.ndarray, version: Blocks, step: int) -> np.ndarray:
        """(n,) int64 of pixels that count."""
        own = tuple(places.T)
        difference = pixels(version, step).astype(np.int32) - self._blocks[own]
        return (np.square(difference) * self._inside[own][..., None]).sum((1, 2, 3))

    def _versions(self, places: np.ndarray, step: int, wanted: set[int] | None = None) -> Iterator[tuple[int, Blocks]]:
        """By kind as of `EscapePlan`, all or some; palettes without colors where they make no sense."""
        blocks = self._blocks[tuple(places.T)]
        for size in range(PALETTE):
            if wanted is None or size in wanted:
                scaled = coefficients(blocks, size) / np.float32(step_of(step))
                version = Blocks.empty(len(blocks))
                version.kinds[:] = size
                version.levels[:] = np.trunc(scaled + np.copysign(np.float32(_ROUNDED), scaled))
                yield size, version
        palettes = [self._palettes_of(row, column) for row, column in places.tolist()]
        for n in range(len(_SIZES)):
            if PALETTE + n in wanted if wanted is not None else any(n < len(own) for own in palettes):
                version = Blocks.empty(len(blocks))
                version.kinds[:] = PALETTE
                for i, own in enumerate(palettes):
                    if n < len(own):
                        colors, version.indices[i] = own[n]
                        version.palettes[i, : len(colors)], version.numbers[i] = colors, len(colors)
                yield PALETTE + n, version

    def _palettes_of(self, row: int, column: int) -> list[Palette]:
        block = self._blocks[row, column].astype(np.int32) @ np.array([65536, 256, 1], np.int32)
        if np.mean(block[:, 1:] == block[:, :-1]) < _FLAT:
            return []
        if (row, column) not in self._palettes:
            self._palettes[row, column] = list(block_palettes(block))
        return self._palettes[row, column]


def block_palettes(block: np.ndarray) -> Iterator[Palette]:
    """Of a block (32, 32) of packed colors: of `_SIZES` colors, up to all that it has."""
    colors, inverse, counts = np.unique(block, return_inverse=True, return_counts=True)
    if len(colors) > _MOST_COLORS:
        return
    samples, inverse = (colors[:, None] >> np.array([16, 8, 0]) & 255).astype(np.float32), inverse.ravel()
    for number in _SIZES:
        exact = len(colors) <= number
        palette, nearest = (colors, np.arange(len(colors))) if exact else _clustered(samples, counts, number)
        order = np.argsort(-np.bincount(nearest[inverse], minlength=len(palette)), kind="stable")
        ranks = np.empty(len(order), np.uint8)
        ranks[order] = np.arange(len(order))
        yield palette[order].astype(np.int32), ranks[nearest[inverse]].reshape(block.shape)
        if exact:
            return


def _clustered(samples: np.ndarray, counts: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Colors (n,) of about the least squared error, packed, and the place of each sample (m, 3) among them."""
    centers = samples[[counts.argmax()]]
    distances = np.square(samples - centers).sum(1)
    for _ in range(number - 1):  # what is worst goes next
        new = samples[[(distances * counts).argmax()]]
        centers, distances = np.concatenate([centers, new]), np.minimum(distances, np.square(samples - new).sum(1))
    for _ in range(3):  # Lloyd's algorithm
        nearest = np.square(samples[:, None] - centers).sum(2).argmin(1)
        weights = np.bincount(nearest, counts, number)
        sums = np.stack([np.bincount(nearest, counts * channel, number) for channel in samples.T], 1)
        centers = np.where(weights[:, None] > 0, np.rint(sums / np.maximum(weights, 1)[:, None]), centers)
    packed = np.unique(centers.astype(np.int32) @ np.array([65536, 256, 1], np.int32))
    unpacked = packed[:, None] >> np.array([16, 8, 0]) & 255
    return packed, np.square(samples[:, None] - unpacked).sum(2).argmin(1)


def _copy(source: Blocks, target: Blocks, i: int) -> None:
    for name in ("kinds", "levels", "palettes", "numbers", "indices"):
        getattr(target, name)[i] = getattr(source, name)[i]
