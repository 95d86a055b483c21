"""Coefficients cut into bits by thresholds, a step apart on either side of zero, and what each bit stands for."""

from dataclasses import dataclass

import numpy as np

_INNERMOST = 0.7  # steps from zero to the nearest thresholds; more than a half, as zeros are cheap
_RARE = 0.002  # of training blocks are beyond the outermost thresholds of a coefficient, on either side


@dataclass(frozen=True)
class Thresholds:
    """Where K bits cut C coefficients: a bit is 1 where its coefficient is beyond its threshold, seen from zero.

    Attributes:
        which: (K,) coefficients, rising.
        values: (K,) float32 thresholds of either sign, in each coefficient from zero outwards.
        step: between two of them.
    """

    which: np.ndarray
    values: np.ndarray
    step: float

    def inner(self) -> np.ndarray:
        """(K,) the bit of the same coefficient and sign one step nearer to zero; -1 if there is none."""
        return self._earlier(lambda k, j: self.values[j] * self.values[k] > 0)

    def opposite(self) -> np.ndarray:
        """(K,) the first bit of the same coefficient and the other sign, if it comes earlier; else -1."""
        return self._earlier(lambda k, j: self.values[j] * self.values[k] < 0, nearest=False)

    def _earlier(self, fits, nearest: bool = True) -> np.ndarray:
        places = np.full(len(self.which), -1)
        for k in range(len(places)):
            start = np.searchsorted(self.which, self.which[k])
            known = [j for j in range(start, k) if fits(k, j)]
            if known:
                places[k] = known[-1] if nearest else known[0]
        return places


def thresholds_of(coefficients: np.ndarray, length: int) -> Thresholds:
    """Thresholds for K bits, with the largest step with which there are so many; the same step for all coefficients.

    Args:
        coefficients: (N, C), zero mean, by falling variance.
        length: K.

    Raises:
        ValueError: the coefficients are too much alike for so many bits.
    """
    ends = np.quantile(coefficients, [1 - _RARE, _RARE], axis=0) * [[1], [-1]]  # (2, C): how far to either side

    def counts(step: float) -> np.ndarray:
        return np.maximum(0, np.ceil(ends / step - _INNERMOST)).astype(int)  # (2, C)

    large = ends.max() or 1.0
    small = 1e-5 * large
    if counts(small).sum() < length:
        raise ValueError(f"The blocks are too much alike for codes of {length} bits. Lower --code-lengths.")
    for _ in range(60):
        step = np.sqrt(small * large)
        small, large = (step, large) if counts(step).sum() >= length else (small, step)
    places = [
        (which, order, sign)
        for sign, row in zip((1, -1), counts(small))
        for which, number in enumerate(row)
        for order in range(number)
    ]
    places.sort()  # as the last coefficient may have some too many, those are left out
    which, order, sign = np.array(places[:length]).T
    return Thresholds(which, (sign * (order + _INNERMOST) * small).astype(np.float32), float(small))


def levels_of(coefficients: np.ndarray, thresholds: Thresholds) -> tuple[np.ndarray, np.ndarray]:
    """(K,) what each bit adds to its coefficient, and (C,) what a coefficient is without any.

    Between two thresholds a coefficient is the mean of the training coefficients there, which has the least squared
    error for these bits.
    """
    which, values = thresholds.which, thresholds.values
    added, zero = np.zeros(len(which), np.float32), coefficients.mean(axis=0)
    for component in np.unique(which):
        bits = np.flatnonzero(which == component)
        cuts, own = np.sort(values[bits]), coefficients[:, component]
        cells, first = np.searchsorted(cuts, own), int((cuts < 0).sum())
        number = np.bincount(cells, minlength=len(cuts) + 1)
        # A cell that no block is in, as few are far out, has its inner end.
        inner = np.concatenate([cuts[:first], [0], cuts[first:]])
        means = np.where(number, np.bincount(cells, own, len(cuts) + 1) / np.maximum(number, 1), inner)
        zero[component] = means[first]
        outwards = np.diff(means) * np.where(np.arange(len(cuts)) < first, -1, 1)
        added[bits] = outwards[np.searchsorted(cuts, values[bits])]
    return added, zero.astype(np.float32)
