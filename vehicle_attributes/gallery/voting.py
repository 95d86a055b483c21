"""Which class the exemplars near a query speak for: the ways besides the nearest one."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from .validation import unit

Way = Literal["nearest", "balanced", "votes", "class_means"]
WAYS: tuple[str, ...] = get_args(Way)
VOTERS = 20  # nearest exemplars with a prior-corrected vote


def choose_gallery(labels: np.ndarray, count: int | Mapping[str, int], seed: int | Sequence[int]) -> np.ndarray:
    """Random images of each class.

    Args:
        labels: (N,) class of each image.
        count: how many of each class at most, or class -> how many, where classes left out have none.
        seed: of the choice, one number or several; a larger count adds to what a smaller one chooses.

    Returns:
        (G,) increasing indices of images.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = pd.Series(np.asarray(labels)[order])
    limits = count if isinstance(count, int) else shuffled.map(dict(count)).fillna(0)
    return np.sort(order[shuffled.groupby(shuffled).cumcount() < limits])


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
    return means_of([(features, labels)])


def means_of(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """`class_means` of features and labels that come part by part."""
    sums: dict[Any, np.ndarray] = {}
    for features, labels in parts:
        for rows in groups(labels):
            total = features[rows].sum(axis=0, dtype=np.float64)  # of the mean's direction
            sums[labels[rows[0]]] = sums.get(labels[rows[0]], 0) + total
    names = np.array(sorted(sums), object)
    return unit(np.stack([sums[name] for name in names]), names=[f"the mean of {str(name)!r}" for name in names]), names


def prior_corrected_vote(indices: np.ndarray, labels: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
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
        counts: exemplars of each of the classes, in sorted order, where `labels` are not those of all.

    Returns:
        (Q,) classes; of classes with equal votes that of the nearest exemplar.
    """
    codes, own = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    counts = own if counts is None else counts
    voters = codes[indices]  # (Q, k)
    votes = np.sum(voters[:, :, np.newaxis] == voters[:, np.newaxis, :], axis=2) / counts[voters]
    return labels[indices[np.arange(len(indices)), np.argmax(votes, axis=1)]]


def groups(labels: np.ndarray) -> list[np.ndarray]:
    """Indices of each label, labels in sorted order."""
    codes, counts = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    return np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1]) if len(labels) else []
