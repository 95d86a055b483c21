"""Auxiliary attributes: labels from a set's annotation, class weights, balanced accuracy (section 4.2 (pub))."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score

UNKNOWN = -1  # label of an image that is left out
_PIECE = 4096  # feature vectors at once
_IMAGE_COLUMNS = ("path", "identity", "camera", "file")
_COLORED = {"up": "upper_color", "down": "lower_color"}  # prefix of the columns that become one label -> its name


@dataclass(frozen=True)
class Labels:
    """Attributes of two tables of images.

    Attributes:
        classes: attribute -> names of its classes, those of the local images.
        local: attribute -> (N,) class of each local image; UNKNOWN in all attributes for those that are left out.
        users: attribute -> (M,) the same of the users' images; UNKNOWN in one attribute for a class that no local image
            shows.
    """

    classes: dict[str, list[str]]
    local: dict[str, np.ndarray]
    users: dict[str, np.ndarray]

    @property
    def chance(self) -> dict[str, float]:
        """Balanced accuracy of a guess: one over the number of classes among the users' images."""
        return {name: 1 / len(np.unique(labels[labels != UNKNOWN])) for name, labels in self.users.items()}

    @property
    def annotated(self) -> np.ndarray:
        """(N,) which local images are not left out."""
        return next(iter(self.local.values())) != UNKNOWN


def read_labels(local: pd.DataFrame, users: pd.DataFrame) -> Labels:
    """The labels of two tables with a column per annotated attribute, as `common.datasets.person_reid` reads them.

    The columns of upper colors become one label, and those of lower colors another. As in the author's program, an
    image with a missing value, or without exactly one color of each kind, is left out of all attributes. An attribute
    that does not vary among the local images, or among the users', is no label.

    Raises:
        ValueError: no image of a table is annotated, or no attribute is left; the sentence says what to do.
    """
    tables = {"local": _merged(local), "users": _merged(users)}
    for side, table in tables.items():
        if not (table != "").all(axis=1).any():
            raise ValueError(
                f"None of the {len(table)} images of the {side} set has a value of each attribute and exactly one "
                "upper and one lower color; use more identities, or check the file of attributes."
            )
    classes: dict[str, list[str]] = {}
    labels: dict[str, dict[str, np.ndarray]] = {"local": {}, "users": {}}
    for name in tables["local"]:
        known = sorted(set(tables["local"][name]) - {""})
        if len(known) < 2 or len(set(tables["users"][name]) & set(known)) < 2:
            continue
        classes[name] = known
        number = {value: i for i, value in enumerate(known)}
        for side, table in tables.items():
            labels[side][name] = table[name].map(number).fillna(UNKNOWN).astype(int).to_numpy()
    if not classes:
        raise ValueError("No attribute varies in both the local set and the users' images; use more identities.")
    return Labels(classes, labels["local"], labels["users"])


def _merged(table: pd.DataFrame) -> pd.DataFrame:
    """A column of class names for each label; "" in all columns for an image that is left out."""
    columns = [name for name in table.columns if name not in _IMAGE_COLUMNS]
    colors = {prefix: [c for c in columns if c.startswith(prefix) and c != prefix] for prefix in _COLORED}
    merged = table[[name for name in columns if not any(name in grouped for grouped in colors.values())]].astype(str)
    left_out = (table[columns] == UNKNOWN).any(axis=1)
    for prefix, grouped in colors.items():
        if grouped:
            worn = table[grouped].to_numpy() == 2  # 1 is "no"
            merged[_COLORED[prefix]] = np.array([c.removeprefix(prefix) for c in grouped])[worn.argmax(axis=1)]
            left_out |= worn.sum(axis=1) != 1
    return merged.mask(left_out, "")


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
    known = labels.annotated
    for name, truth in labels.local.items():
        model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=500)
        model.fit((local[known] == 0).astype(float), truth[known])
        logits[name] = np.eye(len(labels.classes[name]))[model.predict((users == 0).astype(float))]
    return balanced_accuracies(labels.users, logits)


class BalancedAccuracy(keras.callbacks.Callback):
    """Logs one minus the mean balanced accuracy over the attributes at each epoch's end.

    Args:
        name: of the column in the log.
        features: (N, D).
        labels: attribute -> (N,) classes, or UNKNOWN.
    """

    def __init__(self, name: str, features: np.ndarray, labels: Mapping[str, np.ndarray]):
        super().__init__()
        self._name, self._features, self._labels = name, features, labels

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        pieces = [self._features[first : first + _PIECE] for first in range(0, len(self._features), _PIECE)]
        # A plain call: `predict` prepares a data set each time, which takes longer than these layers do.
        outputs = [self.model(piece, training=False) for piece in pieces]
        logits = {
            name: np.concatenate([keras.ops.convert_to_numpy(output[name]) for output in outputs])
            for name in self._labels
        }
        logs[self._name] = 1 - np.mean(list(balanced_accuracies(self._labels, logits).values()))
