"""Exact nearest exemplars by cosine distance, and the distance beyond which a query is of no known class."""

import math

import numpy as np
from tqdm import tqdm

from .validation import unit

_SCORES = 2**25  # products at once: 128 MiB, large enough for a fast matrix product
_NUMBERS = 2**20  # float64 of a step that works on features: 8 MiB
_ROUNDING = 2.0**-24  # of float32, relative


def nearest(queries: np.ndarray, exemplars: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest exemplars of each query, nearest first, equally distant ones by index.

    The distance is 1 - cosine in float64, rounded once to float32, and equal features have exactly 0. All products are
    computed in float32 first, which reads each exemplar once. Their error has a bound, so only exemplars within twice
    the bound of the k-th best can be among the k nearest, and only these, mostly k of them, are measured in float64.
    `common.retrieval` ranks by the float32 products, and reads a gallery once more for its lengths at each call.

    Args:
        queries: (Q, D) float32 as `validation.unit` returns them.
        exemplars: (N, D) likewise, N above zero.
        k: how many, above zero; of fewer exemplars all are returned.

    Returns:
        Indices (Q, k) int64 and distances (Q, k) float32.
    """
    k = min(k, len(exemplars))
    indices, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    step = max(1, _SCORES // len(exemplars))
    with tqdm(total=len(queries), desc="nearest", unit="query", delay=2, leave=False) as bar:
        for start in range(0, len(queries), step):
            rows = slice(start, min(start + step, len(queries)))
            indices[rows], distances[rows] = _nearest(queries[rows], exemplars, k)
            bar.update(rows.stop - rows.start)
    return indices, distances


def _nearest(queries: np.ndarray, exemplars: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    number, dimensions = exemplars.shape
    # A single query as a vector: BLAS would copy the exemplars piece by piece for a product of matrices.
    products = (exemplars @ queries[0])[np.newaxis] if len(queries) == 1 else queries @ exemplars.T  # (Q, N)
    # A sum of D products in float32, in whatever order, is off by at most nu / (1 - nu) |x| |y| with n = D and u the
    # rounding (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). The rest is for lengths
    # that are one up to u, and for the rounding of the limit and of the distances that are compared in the end.
    error = dimensions * _ROUNDING / (1 - dimensions * _ROUNDING) + 16 * _ROUNDING
    # At least k exemplars have products of `reached` or more, thus cosines of reached - error or more. Whatever is
    # among the k nearest is no worse, and has a product of reached - 2 error or more.
    reached = np.partition(products, number - k, axis=1)[:, number - k]
    rows, columns = np.nonzero(products >= (reached - np.float32(2 * error))[:, np.newaxis])
    distances = _distances(queries, exemplars, rows, columns)
    order = np.lexsort((columns, distances, rows))
    first = np.searchsorted(rows, np.arange(len(queries)))  # rows are in order before and after
    chosen = order[first[:, np.newaxis] + np.arange(k)]  # (Q, k)
    return columns[chosen], distances[chosen]


def _distances(queries: np.ndarray, exemplars: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """(P,) float32 distances of pairs: 1 - cosine = |x - y|² / 2 for unit x and y, which does not cancel near zero."""
    distances = np.empty(len(rows), np.float32)
    step = max(1, _NUMBERS // queries.shape[1])
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        x, y = (_exact(part[chosen[pairs]]) for part, chosen in ((queries, rows), (exemplars, columns)))
        x -= y
        distances[pairs] = np.einsum("pd,pd->p", x, x) / 2
    return distances


def _exact(features: np.ndarray) -> np.ndarray:
    """Of length one in float64, too."""
    features = features.astype(np.float64)
    features /= np.sqrt(np.einsum("pd,pd->p", features, features))[:, np.newaxis]
    return features


def class_means(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each class's exemplars, which may stand for them where they are few.

    NOTE(paper): section 4.1 (pub) names few-shot learning as a next step, and no method. These are the prototypes of
    Snell et al. (2017), of exemplars at unit length, which thus count alike, and compared by cosine.

    Args:
        features: (N, D) float32 as `validation.unit` returns them, N above zero.
        labels: (N,) classes.

    Returns:
        Means (C, D) float32 of unit length, and their classes (C,) in sorted order.

    Raises:
        ValueError: the exemplars of a class cancel out.
    """
    groups = _groups(labels)
    names = labels[[group[0] for group in groups]]
    means = np.stack([features[group].mean(axis=0, dtype=np.float64) for group in groups])
    return unit(means, names=[f"the mean of {str(name)!r}" for name in names]), names


def prior_corrected_vote(indices: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class of each query by a vote of its nearest exemplars, each of weight 1 / exemplars of its class.

    So all exemplars of a class have a vote of one together, and a class is not preferred because it has many of them:
    where each exemplar has one vote, five of a new class are never heard among hundreds of old ones. It is the rule of
    k nearest neighbors with equal priors (Fukunaga, Introduction to Statistical Pattern Recognition, 1990, chapter
    7): among k neighbors, k_c of class c, whose density there is k_c / N_c up to a factor. That is a coarse estimate
    where N_c is small: the only exemplar of a class wins wherever it is among the k, unless all of another one are.

    NOTE(paper): section 3.2.3 lets the nearest exemplar decide.

    Args:
        indices: (Q, k) of the nearest exemplars, nearest first, as `nearest` returns them.
        labels: (N,) classes of all exemplars of the gallery.

    Returns:
        (Q,) classes; of classes with equal votes that of the nearest exemplar.
    """
    codes, counts = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    voters = codes[indices]  # (Q, k)
    votes = np.sum(voters[:, :, np.newaxis] == voters[:, np.newaxis, :], axis=2) / counts[voters]
    return labels[indices[np.arange(len(indices)), np.argmax(votes, axis=1)]]


def distances_within(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The distance of each exemplar to the nearest other one of its class; classes of one exemplar have none.

    Args:
        features: (N, D) float32 as `validation.unit` returns them.
        labels: (N,) classes.

    Returns:
        (M,) float32, M ≤ N, class by class.
    """
    parts = [np.empty(0, np.float32)]
    for group in _groups(labels):
        if len(group) > 1:
            own = features[group]
            # The first of two is the exemplar itself or one that equals it; either way the second is the nearest other.
            parts.append(nearest(own, own, 2)[1][:, 1])
    return np.concatenate(parts)


def distances_to_class(
    queries: np.ndarray, query_labels: np.ndarray, features: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """The distance of each query to the nearest exemplar of its own class, (Q,) float32.

    Args:
        queries: (Q, D) float32 as `validation.unit` returns them.
        query_labels: (Q,) their classes.
        features: (N, D) of the exemplars.
        labels: (N,) of the exemplars.

    Raises:
        ValueError: a query's class has no exemplar.
    """
    distances = np.empty(len(queries), np.float32)
    for group in _groups(query_labels):
        name = query_labels[group[0]]
        members = np.flatnonzero(labels == name)
        if not len(members):
            raise ValueError(
                f"The calibration's label {str(name)!r} has no exemplar in the gallery; leave it out, or add exemplars."
            )
        distances[group] = nearest(queries[group], features[members], 1)[1][:, 0]
    return distances


def _groups(labels: np.ndarray) -> list[np.ndarray]:
    """Indices of each label, labels in sorted order."""
    codes, counts = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1]) if len(labels) else []


def threshold(distances: np.ndarray, accept: float) -> float:
    """The distance that a further picture of a known class does not exceed with probability `accept` or more.

    So a query at exactly this distance is accepted.

    It is the ⌈(n + 1) accept⌉-th smallest of n distances, as in conformal prediction (Vovk et al., Algorithmic Learning
    in a Random World, 2005); with the plain quantile the share would be missed by up to 1 / (n + 1).

    Raises:
        ValueError: `accept` is not between 0 and 1, or there are too few distances for it.
    """
    if not 0 < accept < 1:
        raise ValueError(f"accept must be between 0 and 1, got {accept}; choose 0.95, for example.")
    rank = math.ceil(round((len(distances) + 1) * accept, 9))  # 0.95 · 60 is 57, and not the next float
    if rank > len(distances):
        least = math.ceil(round(accept / (1 - accept), 9))
        raise ValueError(
            f"Accepting {accept:g} of the pictures of known classes takes {least} or more to calibrate with, each of a "
            f"class with another exemplar, got {len(distances)}; add exemplars, or lower accept."
        )
    return float(np.partition(distances, rank - 1)[rank - 1])


def calibrated(
    features: np.ndarray, labels: np.ndarray, accept: float, given: tuple[np.ndarray, np.ndarray] | None = None
) -> float:
    """`threshold` of the exemplars' distances to each other within their classes, or of `given` ones to their classes.

    The nearest exemplar of any class is no farther than that of the own one, so queries are accepted as often or more.

    Args:
        features: (N, D) of the exemplars, as `validation.unit` returns them.
        labels: (N,) of the exemplars.
        accept: share of pictures of known classes that is to be accepted.
        given: features (Q, D) and labels (Q,) of pictures that are no exemplars.

    Raises:
        ValueError: as `distances_to_class` and `threshold`.
    """
    distances = distances_within(features, labels) if given is None else distances_to_class(*given, features, labels)
    return threshold(distances, accept)
