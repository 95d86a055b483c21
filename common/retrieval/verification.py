"""Are two images of the same identity? ROC, thresholds and calibrated probabilities from all pairs."""

from dataclasses import dataclass, replace

import numpy as np
from numba import get_num_threads, prange

from common.jit import compiled
from common.retrieval.distances import Distances, Metric
from common.retrieval.embeddings import JUNK, Embeddings, check_widths

_BINS = 2**18


@dataclass(frozen=True, eq=False)
class Verification:
    """The decision "same if distance ≤ threshold" over all pairs of a query and a gallery image."""

    thresholds: np.ndarray  # (T,) ascending distances: 1 - cosine, or Euclidean
    same: np.ndarray  # (T,) pairs of the same identity within the threshold
    different: np.ndarray  # (T,) pairs of different identities within it

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

    def _place(self, false_positive_rate: float) -> int:
        if not 0 < false_positive_rate <= 1:
            raise ValueError(f"A false positive rate must be in (0, 1], got {false_positive_rate}.")
        return int(np.searchsorted(self.false_positive_rate, false_positive_rate, "right")) - 1


def verification_rates(query: Embeddings, gallery: Embeddings, *, metric: Metric = "cosine") -> Verification:
    """Counts all pairs that `score` would rank: no junk, no pair of the same identity and camera.

    The distances are streamed into a histogram of 2^18 equal bins over [0, 2] for cosine and over [0, largest
    possible distance] for euclidean. So thresholds are upper edges of bins and rates at them are exact but for
    distances within float32 rounding of an edge.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        metric: "cosine" or "euclidean".

    Raises:
        ValueError: widths do not fit, or there are no pairs of the same or none of different identities.
    """
    check_widths(query, gallery)
    distances = Distances(query.features, gallery.features, metric)
    largest = 2.0
    if not distances.cosine:
        largest = sum(float(np.linalg.norm(x.features, axis=1).max()) for x in (query, gallery)) or 1.0
    counts, done = np.zeros((2, _BINS), np.int64), 0
    for block in distances:
        rows = slice(done, done + len(block))
        left, right = (query.identities[rows], query.cameras[rows]), (gallery.identities, gallery.cameras)
        counts += _histogram(block, left, right, distances.cosine, _BINS / largest, get_num_threads()).sum(axis=0)
        done = rows.stop
    if not counts.any(axis=1).all():
        raise ValueError(
            f"Verification needs pairs of the same and of different identities under different cameras, "
            f"got {counts[1].sum()} and {counts[0].sum()}; check identities and camera ids."
        )
    used = np.flatnonzero(counts.any(axis=0))
    edges = (used + 1) * (largest / _BINS)
    return Verification(edges, np.cumsum(counts[1])[used], np.cumsum(counts[0])[used])


@dataclass(frozen=True, eq=False)
class Verifier:
    """Decides by a distance whether two images show the same identity."""

    threshold: float  # pairs within it are called the same
    coefficient: float  # of the logistic function of the distance
    intercept: float
    # Rates of true and false positives at the threshold, area under the ROC curve, and expected calibration error (ten
    # bins), on identities that the verifier has not seen.
    held_out: dict[str, float]

    def same(self, distances: np.ndarray) -> np.ndarray:
        """Decisions for distances of any shape, by the metric of `calibrate`."""
        return np.asarray(distances) <= self.threshold

    def probability(self, distances: np.ndarray, prior: float = 0.5) -> np.ndarray:
        """Probability of "same", where a share `prior` of the pairs in question is of the same identity."""
        logits = self.intercept + self.coefficient * np.asarray(distances, np.float64) + np.log(prior / (1 - prior))
        return 1 / (1 + np.exp(-logits))


def calibrate(
    query: Embeddings,
    gallery: Embeddings,
    *,
    metric: Metric = "cosine",
    false_positive_rate: float = 1e-3,
    seed: int = 0,
) -> Verifier:
    """Fits threshold and probability on a random half of the identities and measures them on the other half.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        metric: "cosine" or "euclidean".
        false_positive_rate: wanted at the threshold.
        seed: of the halves.

    Raises:
        ValueError: as `verification_rates`, for one of the halves; `false_positive_rate` is not in (0, 1].
    """
    from sklearn.linear_model import LogisticRegression  # its import takes longer than most scorings

    identities = np.unique(np.concatenate([query.identities, gallery.identities]))
    half = np.random.default_rng(seed).permutation(identities)[: len(identities) // 2]
    fitting, held_out = (
        verification_rates(
            *(x.take(_nonempty(np.isin(x.identities, half, invert=invert))) for x in (query, gallery)), metric=metric
        )
        for invert in (False, True)
    )
    # Distances in units of the largest, and a penalty that only bounds the slope where the classes do not overlap.
    scale, number = fitting.thresholds[-1], len(fitting.thresholds)
    logistic = LogisticRegression(C=1e8, tol=1e-8, max_iter=1000)
    # Each class weighs one half, whatever the numbers of pairs are; `probability` shifts that to a prior.
    distances, classes = np.tile(fitting.thresholds / scale, 2)[:, None], np.repeat([0, 1], number)
    logistic.fit(distances, classes, _pair_shares(fitting).ravel())
    slope, intercept = float(logistic.coef_[0, 0] / scale), float(logistic.intercept_[0])
    verifier = Verifier(fitting.threshold(false_positive_rate), slope, intercept, {})
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


@compiled(parallel=True)
def _histogram(block, left, right, cosine, bins_per_unit, threads):
    """(threads, 2, bins): counts of different and of same pairs, one histogram for each thread's share of rows.

    `left` and `right` are identities and cameras of the rows and of the columns.
    """
    identities, cameras = left
    gallery_identities, gallery_cameras = right
    counts = np.zeros((threads, 2, _BINS), np.int64)
    for thread in prange(threads):
        for i in range(thread, len(block), threads):
            for j in range(block.shape[1]):
                same = gallery_identities[j] == identities[i]
                if gallery_identities[j] == JUNK or (same and gallery_cameras[j] == cameras[i]):
                    continue
                distance = block[i, j] if cosine else np.sqrt(block[i, j])
                counts[thread, int(same), min(int(distance * bins_per_unit), _BINS - 1)] += 1
    return counts
