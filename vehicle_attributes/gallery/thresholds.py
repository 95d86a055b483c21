"""The distance beyond which a query is of no known class, by the distances of pictures whose class is known."""

import math

import numpy as np

from .search import HalfFeatures, nearest
from .voting import groups

_SAMPLE = 2**14  # exemplars that a threshold is set by at most: the cost stays that of so many queries
_SAME = 1e-9  # distance up to which two features are of one picture: batches of another size round otherwise


def distances_within(features: np.ndarray | HalfFeatures, labels: np.ndarray) -> np.ndarray:
    """The distance of each exemplar to the nearest other one of its class; classes of one exemplar have none.

    Of exemplars that equal each other in half precision one counts: the same picture twice says nothing of how far the
    next one is. Of very many, 16,384 are chosen at random, always the same, and compared with all of their classes.

    Args:
        features: (N, D) float32 as `validation.unit` returns them, or `HalfFeatures` of such.
        labels: (N,) classes.

    Returns:
        (M,) float32, M ≤ N, class by class.
    """
    pool = HalfFeatures.of(features) if isinstance(features, np.ndarray) else features
    classes = [_different(pool, group) for group in groups(labels)]
    classes = [group for group in classes if len(group) > 1]
    total = sum(map(len, classes))
    counted = np.zeros(total, bool)
    counted[np.random.default_rng(0).permutation(total)[:_SAMPLE]] = True
    parts, start = [np.empty(0, np.float32)], 0
    for group in classes:
        own = group[counted[start : start + len(group)]]
        start += len(group)
        if len(own):
            parts.append(nearest(pool.exact(own), pool.take(group), 2)[1][:, 1])  # the first is the exemplar itself
    return np.concatenate(parts)


def _different(pool: HalfFeatures, rows: np.ndarray) -> np.ndarray:
    """The first of each set of rows with equal copies."""
    copies = np.ascontiguousarray(pool.half[rows])
    firsts = np.unique(copies.view(f"V{copies.dtype.itemsize * copies.shape[1]}"), return_index=True)[1]
    return rows[np.sort(firsts)]


def distances_to_class(
    queries: np.ndarray, query_labels: np.ndarray, features: np.ndarray | HalfFeatures, labels: np.ndarray
) -> np.ndarray:
    """The distance of each query to the nearest exemplar of its own class, (Q,) float32.

    Args:
        queries: (Q, D) float32 as `validation.unit` returns them.
        query_labels: (Q,) their classes, each of which has an exemplar.
        features: (N, D) of the exemplars, or `HalfFeatures`.
        labels: (N,) of the exemplars.
    """
    pool = HalfFeatures.of(features) if isinstance(features, np.ndarray) else features
    distances = np.empty(len(queries), np.float32)
    for group in groups(query_labels):
        members = np.flatnonzero(labels == query_labels[group[0]])
        distances[group] = nearest(queries[group], pool.take(members), 1)[1][:, 0]
    return distances


def no_exemplar(label: str) -> ValueError:
    """The error to raise for a picture of a class that the gallery lacks."""
    return ValueError(
        f"The calibration's label {label!r} has no exemplar in the gallery; leave it out, or add exemplars."
    )


def check_accept(accept: float) -> None:
    """Raises ValueError for a share of pictures of known classes that is not between 0 and 1."""
    if not 0 < accept < 1:
        raise ValueError(f"accept must be between 0 and 1, got {accept}; choose 0.95, for example.")


def threshold(distances: np.ndarray, accept: float) -> float:
    """The distance that a further picture of a known class does not exceed with probability `accept` or more.

    So a query at exactly this distance is accepted.

    It is the ⌈(n + 1) accept⌉-th smallest of n distances, as in conformal prediction (Vovk et al., Algorithmic Learning
    in a Random World, 2005); with the plain quantile the share would be missed by up to 1 / (n + 1).

    Raises:
        ValueError: `accept` is not between 0 and 1, or there are too few distances for it.
    """
    check_accept(accept)
    rank = math.ceil(round((len(distances) + 1) * accept, 9))  # 0.95 · 60 is 57, and not the next float
    if rank > len(distances):
        least = math.ceil(round(accept / (1 - accept), 9))
        raise ValueError(
            f"Accepting {accept:g} of the pictures of known classes takes {least} or more to calibrate with, each of a "
            f"class with another exemplar, got {len(distances)}; add exemplars, or lower accept."
        )
    return float(np.partition(distances, rank - 1)[rank - 1])


def calibrated(
    features: np.ndarray | HalfFeatures,
    labels: np.ndarray,
    accept: float,
    given: tuple[np.ndarray, np.ndarray] | None = None,
) -> float:
    """`threshold` of the exemplars' distances to each other within their classes, or of `given` ones to their classes.

    The nearest exemplar of any class is no farther than that of the own one, so queries are accepted as often or more.
    Given pictures that are exemplars themselves do not count.

    Args:
        features: (N, D) of the exemplars, as `validation.unit` returns them, or `HalfFeatures`.
        labels: (N,) of the exemplars.
        accept: share of pictures of known classes that is to be accepted.
        given: as of `distances_to_class`, features (Q, D) and labels (Q,) of pictures that are no exemplars.

    Raises:
        ValueError: as `threshold`.
    """
    if given is None:
        return threshold(distances_within(features, labels), accept)
    return threshold_of_given(distances_to_class(*given, features, labels), accept)


def threshold_of_given(distances: np.ndarray, accept: float) -> float:
    """`threshold` of pictures' distances to their own class, without those of pictures that are exemplars themselves.

    Raises:
        ValueError: as `threshold`.
    """
    return threshold(distances[distances > _SAME], accept)
