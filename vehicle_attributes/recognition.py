"""Recognition as retrieval: a gallery of training images, and the classes of the nearest of them (section 3.2.3)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import recall_score

from .gallery.search import nearest
from .gallery.validation import unit
from .gallery.voting import class_means

VOTERS = 5  # neighbors that vote, in addition to the single one of the publication
TEST_ACCURACY = "test_accuracy"  # that is logged while a training goes on


def nearest_exemplars(queries: np.ndarray, gallery: np.ndarray, k: int = VOTERS) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest exemplars by cosine distance, nearest first, equal ones by index.

    Args:
        queries: (Q, D) float32.
        gallery: (G, D) float32; with fewer than k, all of them are returned.
        k: how many.

    Returns:
        Indices (Q, k) and distances (Q, k).

    Raises:
        ValueError: features that are not finite or zero throughout.
    """
    return nearest(unit(queries), unit(gallery), k)


def nearest_class_means(queries: np.ndarray, gallery: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The class whose exemplars' mean is nearest by cosine distance, as `class_means` says.

    Args:
        queries: (Q, D) float32.
        gallery: (G, D) float32.
        labels: (G,) classes of the exemplars.

    Returns:
        (Q,) classes.

    Raises:
        ValueError: as `nearest_exemplars`.
    """
    means, names = class_means(unit(gallery), labels)
    return names[nearest(unit(queries), means, 1)[0][:, 0]]


def majority(labels: np.ndarray) -> np.ndarray:
    """(Q,) the most frequent of each row's labels (Q, k), nearest first; of equally frequent ones the nearest."""
    votes = np.sum(labels[:, :, np.newaxis] == labels[:, np.newaxis, :], axis=2)  # (Q, k)
    return labels[np.arange(len(labels)), np.argmax(votes, axis=1)]


def accuracy(true: np.ndarray, predicted: np.ndarray) -> float | None:
    """Share of samples whose class is right (Eq. 3.1); None without samples."""
    return float(np.mean(true == predicted)) if len(true) else None


def class_accuracies(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Class -> share of its samples whose class is right; their mean is the macro accuracy."""
    names = np.unique(true)
    shares = recall_score(true, predicted, labels=names, average=None)
    return {str(name): float(share) for name, share in zip(names, shares)}


def scores(
    true: np.ndarray,
    neighbors: np.ndarray,
    by_means: np.ndarray,
    scores_of_classes: np.ndarray | None,
    classes: Sequence[str],
) -> dict[str, Any]:
    """The numbers of one attribute; accuracies are in [0, 1].

    Args:
        true: (Q,) classes of the queries.
        neighbors: (Q, k) classes of their nearest exemplars, nearest first.
        by_means: (Q,) as of `nearest_class_means`.
        scores_of_classes: (Q, C) of the network's classifier, or None if it has none.
        classes: C names, as the classifier orders them.
    """
    by_class = class_accuracies(true, neighbors[:, 0])
    classified = None if scores_of_classes is None else np.array(classes)[np.argmax(scores_of_classes, axis=1)]
    return {
        "accuracy": accuracy(true, neighbors[:, 0]),
        "macro_accuracy": float(np.mean(list(by_class.values()))),
        "accuracy_of_vote": accuracy(true, majority(neighbors)),
        "accuracy_of_class_means": accuracy(true, by_means),
        "accuracy_of_classifier": None if classified is None else accuracy(true, classified),
        "class_accuracies": by_class,
    }
