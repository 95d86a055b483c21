"""An image on its way to a file of a wanted rate or quality."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from ..bitstream import container, entropy, range_coder
from ..networks.codec_file import TrainedCodec
from ..networks.decode import reconstruct
from . import mode_decision
from .block_versions import BlockVersions, Mode

Selection = Literal["lagrangian", "publication"]
Optimize = Literal["off", "code", "encoder"]
Networks = TypeVar("Networks", np.ndarray, Sequence[np.ndarray])

RATE_TOLERANCE = 0.01  # of the target
PSNR_TOLERANCE = 0.02  # dB
LOG_WEIGHTS = 25.0, -5.0  # of the Lagrangian: from bits alone to errors alone
_BLOCK_PSNRS = 0.0, 100.0  # dB, likewise
STEPS = 12  # of a bisection; 1 / 4096 of the range
_AIMS = 3  # at what a file is expected to take, before whole files are written in each step


class EncodeSession:
    """An image on its way to a file: networks can be chosen in several ways, and each choice be measured."""

    def __init__(self, codec: TrainedCodec, image: np.ndarray, mode: Mode) -> None:
        self.gray = image.ndim == 2
        self.image = np.repeat(image[..., None], 3, 2) if self.gray else image
        self._codec, self._mode, self._fingerprint = codec, mode, codec.fingerprint
        self._pixels = self.image[..., 0].size
        self._pack(b"", b"")  # refuses a size that no file can have before the networks run
        self.versions = BlockVersions.of(codec, self.image)
        self._costs = self.versions.costs(codec.bit_models, mode)

    def with_mode(self, mode: Mode) -> "EncodeSession":
        """The same with codes written in another way, for which no network runs again."""
        other = copy.copy(self)
        other._mode, other._costs = mode, self.versions.costs(self._codec.bit_models, mode)
        return other

    def optimize(self, weight: float, how: Optimize, only: int | None) -> None:
        """Changes the codes; arguments as for `BlockVersions.optimized`."""
        size = self.image.shape[:2]
        self.versions = self.versions.optimized(self._codec, *size, weight=weight, how=how, only=only)
        self._costs = self.versions.costs(self._codec.bit_models, self._mode)

    def choose(self, selection: Selection, quality: float) -> np.ndarray:
        """(R, C) uint8 networks; the quality is log λ, or the PSNR of blocks in dB."""
        if selection == "publication":
            return mode_decision.by_quality(self.versions.errors, self.versions.samples, quality)
        return mode_decision.by_lagrangian(self.versions.errors, self._costs, float(np.exp(quality)))

    def file(self, networks: np.ndarray) -> bytes:
        """The whole file for a choice (R, C) of networks, as in the methods below."""
        codes, models = self.versions.chosen(networks), self._codec.bit_models
        if self._mode == "context":
            image_code = entropy.encode_codes(models, networks, codes)
        else:
            image_code = entropy.encode_difference(range_coder.concatenated(codes, networks, self._codec.code_lengths))
        return self._pack(entropy.encode_networks(networks, len(models)), image_code)

    def expected(self, networks: np.ndarray) -> float:
        """Bits per pixel that a file takes, up to a few bytes, with no code written."""
        indicators = entropy.encode_networks(networks, len(self._codec.bit_models))
        bits = mode_decision.bits(networks, self._costs)
        return self.bits_per_pixel(self._pack(indicators, b"")) + bits / self._pixels

    def decoded(self, networks: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8, three equal channels of a gray image."""
        image = reconstruct(self._codec, networks, self.versions.chosen(networks), *self.image.shape[:2])
        return np.repeat(mean_channel(image)[..., None], 3, 2) if self.gray else image

    def bits_per_pixel(self, data: bytes) -> float:
        """Of a whole file."""
        return 8 * len(data) / self._pixels

    def psnr(self, decoded: np.ndarray) -> float:
        """dB of a decoded image (H, W, 3) uint8."""
        difference = self.image.astype(np.int64) - decoded
        with np.errstate(divide="ignore"):  # no error: infinite
            return float(20 * np.log10(255.0) - 10 * np.log10(np.vdot(difference, difference) / self.image.size))

    def _pack(self, indicators: bytes, image_code: bytes) -> bytes:
        height, width = self.image.shape[:2]
        parts = container.Container(self._fingerprint, self._mode, height, width, self.gray, indicators, image_code)
        return container.pack(parts)


def quality_for(session: EncodeSession, selection: Selection, psnr: float | None, bpp: float | None) -> float:
    """The quality with which `choose` comes up to the target, or as near as it can; arguments as for `encode`."""
    if psnr is not None:
        bpp, target = None, Target(psnr, PSNR_TOLERANCE, "a PSNR of {:.2f} dB", at_most=False)
    elif bpp is not None:
        target = Target(bpp, RATE_TOLERANCE * bpp, "{:.4f} bits per pixel", at_most=True)
    else:
        raise ValueError("A target is needed: pass psnr or bpp.")

    def choose(quality: float) -> np.ndarray:
        return session.choose(selection, quality)

    def measure(networks: np.ndarray) -> float:
        return (
            session.bits_per_pixel(session.file(networks)) if psnr is None else session.psnr(session.decoded(networks))
        )

    ends = LOG_WEIGHTS if selection == "lagrangian" else _BLOCK_PSNRS
    if bpp is not None:  # most files are within the tolerance of what is expected, and one of them is written
        near = replace(target, tolerance=target.tolerance / 2)  # as a file takes a little more
        for _ in range(_AIMS):
            quality = bisect(choose, session.expected, ends, near, may_miss=True)
            networks = choose(quality)
            rate = measure(networks)
            if target.holds(rate) or quality == ends[int(rate < bpp)]:  # nothing smaller, or nothing larger
                return quality
            near = replace(near, value=target.value - target.tolerance / 4 - (rate - session.expected(networks)))
            if near.value <= 0:
                break
    return bisect(choose, measure, ends, target, may_miss=True)


@dataclass(frozen=True)
class Target:
    """A rate or a PSNR that a choice of networks is to have.

    Attributes:
        value: bits per pixel, or dB.
        tolerance: as near is near enough, on the right side.
        format: of a value in a sentence.
        at_most: a rate, which is not to be more; a PSNR is not to be less.
    """

    value: float
    tolerance: float
    format: str
    at_most: bool

    def holds(self, value: float) -> bool:
        """Whether a rate is this one or a little less, a PSNR this one or a little more."""
        beyond = value - self.value if self.at_most else self.value - value
        return -self.tolerance <= beyond <= 0


def bisect(
    choose: Callable[[float], Networks],
    measure: Callable[[Networks], float],
    ends: tuple[float, float],
    target: Target,
    may_miss: bool = False,
) -> float:
    """The quality whose choice of networks comes up to the target.

    Args:
        choose: quality -> (R, C) networks, or a list of such.
        measure: networks -> rate or PSNR; not called twice for the same choice.
        ends: of the quality, from the lowest rate and PSNR to the highest.
        target: what is wanted.
        may_miss: give the nearer end for a target out of reach.

    Raises:
        ValueError: the target is out of reach; the sentence names the nearest value.
    """
    known: dict[bytes, float] = {}

    def at(quality: float) -> float:
        networks = choose(quality)
        key = b"".join(part.tobytes() for part in networks)
        if key not in known:
            known[key] = measure(networks)
        return known[key]

    low, high = ends
    for end, beyond in ((low, at(low) - target.value), (high, target.value - at(high))):
        if beyond > 0 and not may_miss:
            nearest, wanted = (target.format.format(value) for value in (at(end), target.value))
            raise ValueError(
                f"The nearest that this image can have is {nearest}, got the target {wanted}; pass that one."
            )
        if beyond >= 0:
            return end
    for _ in range(STEPS):
        middle = (low + high) / 2
        if target.holds(at(middle)):
            return middle
        low, high = (middle, high) if at(middle) < target.value else (low, middle)
    return low if target.at_most else high


def mean_channel(image: np.ndarray) -> np.ndarray:
    """The mean of three channels, rounded; in integers."""
    return ((image.astype(np.uint16).sum(2) + 1) // 3).astype(np.uint8)
