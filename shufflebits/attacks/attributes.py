"""Auxiliary attributes: labels from a set's annotation, class weights, balanced accuracy (section 4.2 (pub))."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

UNKNOWN = -1  # label of an image whose attribute is not annotated
_IMAGE_COLUMNS = ("path", "identity", "camera", "file")
_COLORED = {"up": "upper_color", "down": "lower_color"}  # prefix of the columns that become one label -> its name


@dataclass(frozen=True)
class Labels:
    """Attributes of two tables of images.

    Attributes:
        classes: attribute -> names of its classes.
        local: attribute -> (N,) class of each local image, or UNKNOWN.
        users: attribute -> (M,) the same of the users' images.
    """

    classes: dict[str, list[str]]
    local: dict[str, np.ndarray]
    users: dict[str, np.ndarray]

    @property
    def chance(self) -> dict[str, float]:
        """Balanced accuracy of a guess: one over the number of classes among the users' images."""
        return {name: 1 / len(np.unique(labels[labels != UNKNOWN])) for name, labels in self.users.items()}


def read_labels(local: pd.DataFrame, users: pd.DataFrame) -> Labels:
    """The labels of two tables with a column per annotated attribute, as `common.datasets.person_reid` reads them.

    The columns of upper colors become one label, and those of lower colors another, for images with exactly one
    color. An attribute that does not vary among the local images, or among the users', is left out.

    Raises:
        ValueError: no attribute is left.
    """
    tables = {"local": _merged(local), "users": _merged(users)}
    classes: dict[str, list[str]] = {}
    labels: dict[str, dict[str, np.ndarray]] = {"local": {}, "users": {}}
    for name in tables["local"]:
        values = {side: table[name].to_numpy() for side, table in tables.items()}
        known = {side: [value for value in pd.unique(column) if value != ""] for side, column in values.items()}
        if min(map(len, known.values())) < 2:
            continue
        classes[name] = sorted({*known["local"], *known["users"]})
        number = {value: i for i, value in enumerate(classes[name])} | {"": UNKNOWN}
        for side, column in values.items():
            labels[side][name] = np.array([number[value] for value in column])
    if not classes:
        raise ValueError("No attribute varies in both the local set and the users' images; use more identities.")
    return Labels(classes, labels["local"], labels["users"])


def _merged(table: pd.DataFrame) -> pd.DataFrame:
    """A column of class names for each label, "" where it is unknown."""
    columns = [name for name in table.columns if name not in _IMAGE_COLUMNS]
    merged = {}
    colors = {prefix: [c for c in columns if c.startswith(prefix) and c != prefix] for prefix in _COLORED}
    for name in columns:
        if not any(name in grouped for grouped in colors.values()):
            merged[name] = table[name].map(lambda value: "" if value == UNKNOWN else str(value))
    for prefix, grouped in colors.items():
        if grouped:
            worn = table[grouped].to_numpy() == 2  # 1 is "no"
            first = np.array([color.removeprefix(prefix) for color in grouped])[worn.argmax(axis=1)]
            merged[_COLORED[prefix]] = np.where(worn.sum(axis=1) == 1, first, "")
    return pd.DataFrame(merged, index=table.index)


def sample_weights(labels: np.ndarray) -> np.ndarray:
    """(N,) weights that are inverse to the number of images of the class, one on average, zero where it is unknown."""
    known = labels != UNKNOWN
    counts = np.bincount(labels[known])
    weights = known.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(known, weights[np.where(known, labels, 0)], 0.0).astype("float32")


def balanced_accuracies(labels: Mapping[str, np.ndarray], logits: Mapping[str, Any]) -> dict[str, float]:
    """Mean over the classes that occur of the share of their images that are recognized, for each attribute.

    Args:
        labels: attribute -> (N,) classes, or UNKNOWN.
        logits: attribute -> (N, C).
    """
    accuracies = {}
    for name, truth in labels.items():
        known = truth != UNKNOWN
        if known.any():
            predicted = np.argmax(logits[name], axis=1)[known]
            recall = recall_score(truth[known], predicted, labels=np.unique(truth[known]), average="macro")
            accuracies[name] = float(recall)
    return accuracies


def from_zeros(labels: Labels, local: np.ndarray, users: np.ndarray) -> dict[str, float]:
    """Balanced accuracies of a logistic regression that sees which features are exactly zero, and nothing else.

    No key of ShuffleBits hides a zero, whether there is one key, one per request, or one per element and request.

    Args:
        labels: of both.
        local: (N, D) plain features, on which it is trained.
        users: (M, D) plain features, or their words.
    """
    logits = {}
    for name, truth in labels.local.items():
        known = truth != UNKNOWN
        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        model.fit((local[known] == 0).astype(float), truth[known])
        logits[name] = np.eye(len(labels.classes[name]))[model.predict((users == 0).astype(float))]
    return balanced_accuracies(labels.users, logits)


class BalancedAccuracy(keras.callbacks.Callback):
    """Logs `validation_error`, one minus the mean balanced accuracy over the attributes, at each epoch's end.

    Args:
        features: (N, D).
        labels: attribute -> (N,).
    """

    def __init__(self, features: np.ndarray, labels: Mapping[str, np.ndarray]):
        super().__init__()
        self._features, self._labels = features, labels

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logits = self.model.predict(self._features, batch_size=4096, verbose=0)
        logs["validation_error"] = 1 - np.mean(list(balanced_accuracies(self._labels, logits).values()))
