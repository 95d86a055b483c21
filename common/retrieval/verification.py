"""Are two images of the same identity? ROC, thresholds and calibrated probabilities from all pairs."""

from dataclasses import dataclass, replace

import numpy as np
from numba import get_num_threads

from common.jit import compiled, in_threads
from common.retrieval.embeddings import Embeddings, joint_numbers
from common.retrieval.protocol import DEFAULT, Comparisons, Protocol

# A bin holds the float32 numbers that are equal but for their last 8 of 23 bits; there are 32 powers of two of bins.
_SHIFT, _BINS = 8, 2**20
_INFINITY = 0x7F800000


@dataclass(frozen=True, eq=False)
class Verification:
    """The decision "same if distance ≤ threshold" over all pairs of a query and a gallery image."""

    thresholds: np.ndarray  # (T,) ascending distances, as `Distances` defines them
    same: np.ndarray  # (T,) pairs of the same identity within the threshold
    different: np.ndarray  # (T,) pairs of different identities within it
    protocol: Protocol = DEFAULT

    @property
    def true_positive_rate(self) -> np.ndarray:
        """(T,) share of the pairs of the same identity that are accepted."""
        return self.same / self.same[-1]

    @property
    def false_positive_rate(self) -> np.ndarray:
        """(T,) share of the pairs of different identities that are accepted."""
        return self.different / self.different[-1]

    @property
    def area(self) -> float:
        """Area under the ROC curve: the probability that a pair of the same identity is the nearer one."""
        x, y = (np.concatenate([[0.0], rate]) for rate in (self.false_positive_rate, self.true_positive_rate))
        return float(np.trapezoid(y, x))

    def threshold(self, false_positive_rate: float) -> float:
        """The largest threshold whose false positive rate is at most the given one, in (0, 1]; -1 accepts no pair."""
        place = self._place(false_positive_rate)
        return float(self.thresholds[place]) if place >= 0 else -1.0

    def true_positive_rate_at(self, false_positive_rate: float) -> float:
        """The true positive rate of `threshold(false_positive_rate)`, in [0, 1]."""
        place = self._place(false_positive_rate)
        return float(self.true_positive_rate[place]) if place >= 0 else 0.0

    def supports(self, false_positive_rate: float) -> bool:
        """Whether there are so many pairs of different identities that the rate is one of them or more."""
        return bool(false_positive_rate * self.different[-1] >= 1)

    def _place(self, false_positive_rate: float) -> int:
        if not 0 < false_positive_rate <= 1:
            raise ValueError(f"A false positive rate must be in (0, 1], got {false_positive_rate}.")
        return int(np.searchsorted(self.false_positive_rate, false_positive_rate, "right")) - 1


def verification_rates(query: Embeddings, gallery: Embeddings, *, protocol: Protocol = DEFAULT) -> Verification:
    """Counts all pairs that `score` would rank for queries that are somebody.

    The distances are streamed into a histogram whose bins have the width of 2^-15 of the distances in them, down to
    2^-32 of the largest possible one. Thresholds are upper edges of bins, the largest float32 in them, and the rates at
    them are exact.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        protocol: which pairs count, and the metric.

    Raises:
        ValueError: widths or ids do not fit, or there are no pairs of the same or none of different identities.
    """
    comparisons = Comparisons(query, gallery, protocol)
    distances = comparisons.distances
    last = int(np.float32(distances.bound() * (1 + 1e-5)).view(np.int32)) >> _SHIFT
    first = max(0, last + 1 - _BINS)
    threads = min(get_num_threads(), 8)  # each has a histogram of its own
    counts = np.zeros((threads, 2, _BINS), np.int64)
    for rows, block in comparisons.blocks(distances):
        block[~comparisons.is_somebody[rows]] = np.nan
        labels = comparisons.identities[rows], comparisons.gallery_identities
        in_threads(_count, threads, block.view(np.int32), *labels, first, threads, counts)
    different, same = counts.sum(axis=0)
    if not (different.any() and same.any()):
        where = "" if protocol.same_camera else " under different cameras"
        raise ValueError(
            f"Verification needs pairs of the same and of different identities{where}, got {same.sum()} and "
            f"{different.sum()}; check identities{' and camera ids' if where else ''}."
        )
    used = np.flatnonzero(different + same)
    edges = (((used + first + 1) << _SHIFT) - 1).astype(np.int32).view(np.float32).astype(np.float64)
    return Verification(edges, np.cumsum(same)[used], np.cumsum(different)[used], protocol)


@dataclass(frozen=True, eq=False)
class Verifier:
    """Decides by a distance whether two images show the same identity."""

    threshold: float  # pairs within it are called the same
    coefficient: float  # of the logistic function of the distance
    intercept: float
    # Rates of true and false positives at the threshold, area under the ROC curve, and expected calibration error (ten
    # bins), on identities that the verifier has not seen.
    held_out: dict[str, float]
    protocol: Protocol = DEFAULT  # under which it was calibrated; distances are by its metric

    def same(self, distances: np.ndarray) -> np.ndarray:
        """Decisions for distances of any shape, as `Distances` and `search` give them for the protocol's metric."""
        return np.asarray(distances) <= self.threshold

    def probability(self, distances: np.ndarray, prior: float = 0.5) -> np.ndarray:
        """Probability of "same", where a share `prior` of the pairs in question is of the same identity."""
        logits = self.intercept + self.coefficient * np.asarray(distances, np.float64) + np.log(prior / (1 - prior))
        return 1 / (1 + np.exp(-logits))


def calibrate(
    query: Embeddings,
    gallery: Embeddings,
    *,
    protocol: Protocol = DEFAULT,
    false_positive_rate: float = 1e-3,
    seed: int = 0,
) -> Verifier:
    """Fits threshold and probability on a random half of the identities and measures them on the other half.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        protocol: which pairs count, and the metric.
        false_positive_rate: wanted at the threshold.
        seed: of the halves.

    Raises:
        ValueError: as `verification_rates`, for one of the halves; `false_positive_rate` is not in (0, 1], or so low
            that the pairs cannot tell it.
    """
    from sklearn.linear_model import LogisticRegression  # its import takes longer than most scorings

    numbers = joint_numbers("identities", query.identities, gallery.identities)
    identities = np.unique(np.concatenate(numbers))
    half = np.random.default_rng(seed).permutation(identities)[: len(identities) // 2]
    sides = list(zip((query, gallery), numbers))
    fitting, held_out = (
        verification_rates(
            *(x.take(_nonempty(np.isin(ids, half, invert=invert))) for x, ids in sides), protocol=protocol
        )
        for invert in (False, True)
    )
    if not fitting.supports(false_positive_rate):
        raise ValueError(
            f"A false positive rate of {false_positive_rate:g} is less than one of the {fitting.different[-1]} pairs "
            "of different identities in a half; bring more images, or choose a higher rate."
        )
    # Distances in units of the largest, and a penalty that only bounds the slope where the classes do not overlap.
    scale, number = fitting.thresholds[-1], len(fitting.thresholds)
    logistic = LogisticRegression(C=1e8, tol=1e-8, max_iter=1000)
    # Each class weighs one half, whatever the numbers of pairs are; `probability` shifts that to a prior.
    distances, classes = np.tile(fitting.thresholds / scale, 2)[:, None], np.repeat([0, 1], number)
    logistic.fit(distances, classes, _pair_shares(fitting).ravel())
    slope, intercept = float(logistic.coef_[0, 0] / scale), float(logistic.intercept_[0])
    verifier = Verifier(fitting.threshold(false_positive_rate), slope, intercept, {}, protocol)
    return replace(verifier, held_out=_measure(verifier, held_out))


def _pair_shares(rates: Verification) -> np.ndarray:
    """(2, T) share of the different and of the same pairs between one threshold and the one before."""
    return np.stack([np.diff(rate, prepend=0) for rate in (rates.false_positive_rate, rates.true_positive_rate)])


def _measure(verifier: Verifier, rates: Verification) -> dict[str, float]:
    within = int(np.sum(rates.thresholds <= verifier.threshold))
    accepted = [np.concatenate([[0.0], rate])[within] for rate in (rates.true_positive_rate, rates.false_positive_rate)]
    different, same = _pair_shares(rates) / 2
    probabilities = verifier.probability(rates.thresholds)
    bins = np.minimum((probabilities * 10).astype(int), 9)
    gaps = np.bincount(bins, weights=same - probabilities * (same + different), minlength=10)
    return {
        "true_positive_rate": float(accepted[0]),
        "false_positive_rate": float(accepted[1]),
        "area": rates.area,
        "expected_calibration_error": float(np.abs(gaps).sum()),
    }


def _nonempty(mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        raise ValueError(
            "Calibration needs query and gallery images in both halves of the identities; bring more of both."
        )
    return mask


@compiled()
def _count(start, stop, bits, identities, gallery_identities, first, threads, counts):
    """Adds pairs to the histograms (threads, 2, bins) of the threads from `start` on: different ones, same ones.

    `bits` (B, C) are those of the distances, in whose order the bits of floats from zero on are; NaN comes last.
    """
    for thread in range(start, stop):
        for i in range(thread, len(bits), threads):
            row = bits[i]
            for j in range(len(row)):
                if row[j] <= _INFINITY:
                    place = min(max((row[j] >> _SHIFT) - first, 0), _BINS - 1)
                    counts[thread, int(gallery_identities[j] == identities[i]), place] += 1
