"""Rate control: the choice of networks with which a file comes up to a rate or a quality."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np

from ..config import Selection
from .session import LOG_WEIGHTS, EncodeSession

Networks = TypeVar("Networks", np.ndarray, Sequence[np.ndarray])
Measure = Callable[[np.ndarray], float]  # of a choice of networks: its rate or PSNR

RATE_TOLERANCE = 0.01  # of the target
PSNR_TOLERANCE = 0.02  # dB
BLOCK_PSNRS = 0.0, 100.0  # dB of a block, from the lowest to the highest that the publication's selection tries
_EARLIER_ENDS = 6.0, 2.0  # of log λ, tried first: what is beyond takes long where escape blocks take many bits
STEPS = 12  # of a bisection; 1 / 4096 of the range
_AIMS = 3  # at what a file is expected to take or to lose, before it is written or decoded whole in each step


@dataclass(frozen=True)
class Target:
    """A rate or a PSNR that a choice of networks is to have.

    Attributes:
        value: bits per pixel, or dB.
        tolerance: as near is near enough, on the right side.
        at_most: a rate, which is not to be more; a PSNR is not to be less.
    """

    value: float
    tolerance: float
    at_most: bool

    def admits(self, value: float) -> bool:
        """Whether a rate is no more, a PSNR no less."""
        return value <= self.value if self.at_most else value >= self.value

    def holds(self, value: float) -> bool:
        """Whether a rate is this one or a little less, a PSNR this one or a little more."""
        beyond = value - self.value if self.at_most else self.value - value
        return -self.tolerance <= beyond <= 0


def quality_for(session: EncodeSession, selection: Selection, psnr: float | None, bpp: float | None) -> float:
    """The quality with which `choose` comes up to the target, or as near as it can; arguments as for `encode`."""
    choose, ends = partial(session.choose, selection), LOG_WEIGHTS if selection == "lagrangian" else BLOCK_PSNRS
    expect: Measure
    if psnr is not None:
        target, expect = Target(psnr, PSNR_TOLERANCE, at_most=False), session.expected_psnr
    elif bpp is not None:
        target, expect = Target(bpp, RATE_TOLERANCE * bpp, at_most=True), session.expected
    else:
        raise ValueError("A target is needed: pass psnr or bpp.")

    def measure(networks: np.ndarray) -> float:
        return session.rate(networks) if psnr is None else session.psnr(session.decoded(networks))

    for end in _EARLIER_ENDS if selection == "lagrangian" else ():
        if (expect if psnr is None else measure)(choose(end)) > target.value:
            ends = ends[0], end
            break
    return _aimed(choose, expect, measure, ends, target)


def _aimed(
    choose: Callable[[float], np.ndarray],
    expect: Measure,
    measure: Measure,
    ends: tuple[float, float],
    target: Target,
) -> float:
    """As `bisect`, by what is expected: most images come up to it, so that few are written or decoded whole."""
    worse = 1 if target.at_most else -1
    neighbor, margin = worse * (ends[1] - ends[0]) / 2**STEPS, -worse * target.tolerance / 4
    near = replace(target, tolerance=target.tolerance / 2)  # as a file takes a little more
    for _ in range(_AIMS):
        quality = bisect(choose, expect, ends, near)
        networks = choose(quality)
        value = measure(networks)
        if target.holds(value) or quality == ends[int(value < target.value)]:  # nothing smaller, or nothing larger
            return quality
        if target.admits(value) and not target.admits(measure(choose(quality + neighbor))):
            return quality
        near = replace(near, value=target.value + margin - (value - expect(networks)))
        if not 0 < near.value < np.inf:
            break
    return bisect(choose, measure, ends, target)


def networks_for(session: EncodeSession, selection: Selection, psnr: float | None, bpp: float | None) -> np.ndarray:
    """The choice for `quality_for`; where a rate is not used up, some blocks have what a little more quality has."""
    quality = quality_for(session, selection, psnr, bpp)
    networks = session.choose(selection, quality)
    if bpp is None or selection != "lagrangian" or quality == LOG_WEIGHTS[1]:
        return networks
    if session.rate(networks) >= bpp * (1 - RATE_TOLERANCE):
        return networks
    finer = session.choose(selection, quality - (LOG_WEIGHTS[0] - LOG_WEIGHTS[1]) / 2**STEPS)
    finer = session.with_step_of(networks, finer)
    changed = np.argwhere(networks != finer)
    few, many = 0, len(changed) + 1

    def mixed(count: int) -> np.ndarray:
        mixture, places = networks.copy(), tuple(changed[:count].T)
        mixture[places] = finer[places]
        return mixture

    while many - few > 1:
        middle = (few + many) // 2
        fits = session.rate(mixed(middle)) <= bpp
        few, many = (middle, many) if fits else (few, middle)
    return mixed(few)


def bisect(
    choose: Callable[[float], Networks],
    measure: Callable[[Networks], float],
    ends: tuple[float, float],
    target: Target,
) -> float:
    """The quality whose choice of networks comes up to the target; the nearer end for one out of reach.

    Args:
        choose: quality -> (R, C) networks, or a list of such.
        measure: networks -> rate or PSNR; not called twice for the same choice.
        ends: of the quality, from the lowest rate and PSNR to the highest.
        target: what is wanted.
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
        if beyond >= 0:
            return end
    for _ in range(STEPS):
        middle = (low + high) / 2
        if target.holds(at(middle)):
            return middle
        low, high = (middle, high) if at(middle) < target.value else (low, middle)
    return low if target.at_most else high
