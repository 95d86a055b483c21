"""How far a balanced accuracy can be trusted: other people's images, and an adversary who knows nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from common.statistics import permutation_null

from .attributes import UNKNOWN

RESAMPLES = 1000


def certainty(
    truth: Mapping[str, np.ndarray], logits: Mapping[str, Any], people: np.ndarray, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """What the mean balanced accuracy over attributes is worth.

    A person's images are alike, so people are resampled for the interval, and people exchange their attributes for the
    null: that is what predictions reach that have nothing to do with who is seen. One over the number of classes is not
    what they reach where predictions follow the frequencies of classes.

    Args:
        truth: attribute -> (M,) classes of images, UNKNOWN where not known.
        logits: attribute -> (M, C).
        people: (M,) who is seen.
        resamples: number of draws of each kind.

    Returns:
        `interval`, 95 % from low to high; `null`, mean, low and high of what people's exchange gives, and `p`, the
        share of it that reaches the accuracy.
    """
    names, place = np.unique(people, return_inverse=True)
    counts, labels = {}, {}
    for name, classes in truth.items():
        known = classes != UNKNOWN
        if not known.any():
            continue
        predicted = np.argmax(logits[name], axis=1)
        size = max(predicted.max(), classes.max()) + 1
        table = np.zeros((len(names), size, size))  # person, true class, predicted class -> images
        np.add.at(table, (place[known], classes[known], predicted[known]), 1)
        counts[name] = table
        labels[name] = np.where(table.any(axis=(1, 2)), np.argmax(table.sum(axis=2), axis=1), UNKNOWN)
    weights = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    means = _mean(np.stack([_balanced(table, weights) for table in counts.values()], axis=1))  # (R, A) -> (R,)
    low, high = np.nanquantile(means, [0.025, 0.975])

    def exchanged(order: np.ndarray) -> float:
        """The accuracy where each person has the attributes of another one."""
        values: list[float] = []
        for name, table in counts.items():
            own, given = labels[name] != UNKNOWN, labels[name][order]
            rows = np.flatnonzero(own & (given != UNKNOWN))
            moved = np.zeros_like(table)
            moved[rows, given[rows]] = table[rows].sum(axis=1)  # the same predictions under another true class
            values.append(_balanced(moved, np.ones((1, len(names))))[0])
        return float(_mean(np.array([values]))[0])

    null = permutation_null(exchanged, np.arange(len(names)), resamples=resamples)
    return {"interval": [float(low), float(high)], "null": asdict(null)}


def _balanced(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over classes of their recall, for R weightings of people: (P, C, C) and (R, P) -> (R,)."""
    images = weights @ table.sum(axis=2)  # (R, C)
    right = weights @ np.diagonal(table, axis1=1, axis2=2)
    with np.errstate(invalid="ignore"):
        return _mean(right / images)


def _mean(values: np.ndarray) -> np.ndarray:
    """(R, N) -> (R,) of what is not NaN; NaN where all is."""
    with np.errstate(invalid="ignore"):
        return np.nansum(values, axis=1) / np.sum(~np.isnan(values), axis=1)
