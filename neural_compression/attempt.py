"""An image on its way to a file of a wanted rate or quality."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from . import coding, container, entropy, streams
from .rate_distortion import dataset_psnr, squared_error
from .reconstruction import reconstruct

if TYPE_CHECKING:
    from .trained import TrainedCodec

Selection = Literal["lagrangian", "publication"]
Optimise = Literal["off", "code", "encoder"]

RATE_TOLERANCE = 0.01  # of the target
PSNR_TOLERANCE = 0.02  # dB
LOG_WEIGHTS = 25.0, -5.0  # of the Lagrangian: from bits alone to errors alone
_BLOCK_PSNRS = 0.0, 100.0  # dB, likewise
STEPS = 12  # of a dial; 1 / 4096 of its range


class Attempt:
    """An image on its way to a file: networks can be chosen in several ways, and each choice be measured."""

    def __init__(self, codec: "TrainedCodec", image: np.ndarray, mode: coding.Mode) -> None:
        self.grey = image.ndim == 2
        self.image = np.repeat(image[..., None], 3, 2) if self.grey else image
        self._codec, self._mode, self._fingerprint = codec, mode, codec.fingerprint
        self._pixels = self.image[..., 0].size
        self._pack(b"", b"")  # a size that no file can have is told before the networks run
        self.candidates = coding.Candidates.of(codec, self.image)
        self._costs = self.candidates.costs(codec.bit_models, mode)

    def written(self, mode: coding.Mode) -> "Attempt":
        """The same with codes written in another way, for which no network runs again."""
        other = copy.copy(self)
        other._mode, other._costs = mode, self.candidates.costs(self._codec.bit_models, mode)
        return other

    def optimise(self, weight: float, how: Optimise, only: int | None) -> None:
        """Arguments as for `coding.Candidates.optimised`."""
        size = self.image.shape[:2]
        self.candidates = self.candidates.optimised(self._codec, *size, weight=weight, how=how, only=only)
        self._costs = self.candidates.costs(self._codec.bit_models, self._mode)

    def choose(self, selection: Selection, dial: float) -> np.ndarray:
        """(R, C) uint8 networks; the dial is log λ, or the PSNR of blocks in dB."""
        if selection == "publication":
            return coding.by_quality(self.candidates.errors, self.candidates.samples, dial)
        return coding.by_lagrangian(self.candidates.errors, self._costs, float(np.exp(dial)))

    def file(self, networks: np.ndarray) -> bytes:
        codes, models = self.candidates.chosen(networks), self._codec.bit_models
        if self._mode == "context":
            image_code = entropy.encode_codes(models, networks, codes)
        else:
            image_code = entropy.encode_difference(streams.concatenated(codes, networks, self._codec.code_lengths))
        return self._pack(entropy.encode_networks(networks, len(models)), image_code)

    def expected(self, networks: np.ndarray) -> float:
        """Bits per pixel that a file takes, up to a few bytes, with no code written."""
        indicators = entropy.encode_networks(networks, len(self._codec.bit_models))
        return self.bits_per_pixel(self._pack(indicators, b"")) + coding.bits(networks, self._costs) / self._pixels

    def decoded(self, networks: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8, three equal channels of a grey image."""
        image = reconstruct(self._codec, networks, self.candidates.chosen(networks), *self.image.shape[:2])
        return np.repeat(mean_channel(image)[..., None], 3, 2) if self.grey else image

    def bits_per_pixel(self, data: bytes) -> float:
        return 8 * len(data) / self._pixels

    def psnr(self, decoded: np.ndarray) -> float:
        return dataset_psnr([squared_error(self.image, decoded)], [self.image.size])

    def _pack(self, indicators: bytes, image_code: bytes) -> bytes:
        sides = self.image.shape[:2]
        held = container.Container(self._fingerprint, self._mode, *sides, self.grey, indicators, image_code)
        return container.pack(held)


def dial_for(
    attempt: Attempt, selection: Selection, psnr: float | None, bpp: float | None, may_miss: bool = False
) -> float:
    """Where the dial of `choose` gives the target; arguments as for `encode` and `dialled`."""
    if psnr is None:
        target = Target(bpp, RATE_TOLERANCE * bpp, "{:.4f} bits per pixel", at_most=True)
    else:
        target = Target(psnr, PSNR_TOLERANCE, "a PSNR of {:.2f} dB", at_most=False)

    def choose(dial: float) -> np.ndarray:
        return attempt.choose(selection, dial)

    def measure(networks: np.ndarray) -> float:
        return (
            attempt.bits_per_pixel(attempt.file(networks)) if psnr is None else attempt.psnr(attempt.decoded(networks))
        )

    ends = LOG_WEIGHTS if selection == "lagrangian" else _BLOCK_PSNRS
    if psnr is None:  # most files are within the tolerance of what is expected, and one of them is written
        near = replace(target, tolerance=target.tolerance / 2)  # as a file takes a little more
        dial = dialled(choose, attempt.expected, ends, near, may_miss=True)
        if abs(measure(choose(dial)) - target.value) <= target.tolerance:
            return dial
    return dialled(choose, measure, ends, target, may_miss)


@dataclass(frozen=True)
class Target:
    """A rate or a quality that a choice of networks is to have.

    Attributes:
        value: bits per pixel, or dB.
        tolerance: as near is near enough.
        form: how a value is told.
        at_most: a rate; between two choices the lower is taken, of qualities the higher.
    """

    value: float
    tolerance: float
    form: str
    at_most: bool


def dialled(
    choose: Callable[[float], Sequence[np.ndarray]],
    measure: Callable[[Sequence[np.ndarray]], float],
    ends: tuple[float, float],
    target: Target,
    may_miss: bool = False,
) -> float:
    """Where a dial gives the target, by bisection.

    Args:
        choose: dial -> (R, C) networks, or a list of such.
        measure: networks -> rate or quality; not called twice for the same choice.
        ends: of the dial, from the lowest rate and quality to the highest.
        target: what is wanted.
        may_miss: give the nearer end for a target out of reach.

    Raises:
        ValueError: the target is out of reach; the sentence tells the nearest value.
    """
    known: dict[bytes, float] = {}

    def at(dial: float) -> float:
        networks = choose(dial)
        key = b"".join(part.tobytes() for part in networks)
        if key not in known:
            known[key] = measure(networks)
        return known[key]

    low, high = ends
    for end, beyond in ((low, at(low) - target.value), (high, target.value - at(high))):
        if beyond > target.tolerance and not may_miss:
            nearest, wanted = (target.form.format(value) for value in (at(end), target.value))
            raise ValueError(
                f"The nearest that this image can have is {nearest}, got the target {wanted}; pass that one."
            )
        if beyond > -target.tolerance:
            return end
    for _ in range(STEPS):
        middle = (low + high) / 2
        if abs(at(middle) - target.value) <= target.tolerance:
            return middle
        low, high = (middle, high) if at(middle) < target.value else (low, middle)
    return low if target.at_most else high


def mean_channel(image: np.ndarray) -> np.ndarray:
    """The mean of three channels, rounded; in integers."""
    return ((image.astype(np.uint16).sum(2) + 1) // 3).astype(np.uint8)
