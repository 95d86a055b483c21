"""Classes that did not exist when the network was trained (section 3.2): what the text argues, measured.

Some classes are left out of the training. The gallery then gets a few exemplars of each, and the network stays as it
is. Classifiers that are trained anew with those exemplars are what it is compared with.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from common.datasets.image_folder import LabeledImages
from common.datasets.images import boxes_of

from .config import Config, Trial
from .gallery.search import class_means, distances_within, nearest, threshold
from .gallery.validation import unit
from .recognition import accuracy, choose_gallery
from .recognizer import Recognizer

ACCEPT = 0.95  # share of vehicles of known classes that the threshold is to accept


def held_out_classes(config: Config, seed: int, classes: np.ndarray) -> list[str]:
    """The classes that a training with this seed lacks; as the seeds go on, each class has its turn."""
    names = np.unique(classes)
    if config.held_out > len(names) - 2:
        raise ValueError(
            f"Of {len(names)} classes at most {len(names) - 2} can be held out, got {config.held_out}: two must remain."
        )
    return [str(names[(seed * config.held_out + i) % len(names)]) for i in range(config.held_out)]


def gallery_rows(config: Config, seed: int, labels: np.ndarray, added: int) -> np.ndarray:
    """Training images in the gallery: `config.exemplars` of each old class, `added` ones of each held-out class."""
    counts = dict.fromkeys(np.unique(labels), config.exemplars)
    return choose_gallery(labels, counts | dict.fromkeys(held_out_classes(config, seed, labels), added), seed)


def training_rows(config: Config, trial: Trial, train: pd.DataFrame) -> pd.DataFrame:
    """What a training sees: all images of the old classes, and for a retrained classifier the added exemplars."""
    if not config.held_out:
        return train
    labels = train[config.attributes[-1]].to_numpy()
    new = np.isin(labels, held_out_classes(config, trial.seed, labels))
    added = np.zeros(len(train), bool)
    if trial.retrained_with:
        added[gallery_rows(config, trial.seed, labels, trial.retrained_with)] = True
    return train[~new | added].reset_index(drop=True)


def open_set_record(config: Config, trial: Trial, recognizer: Recognizer, data: LabeledImages) -> dict[str, Any]:
    """The numbers of one training: accuracies on test images of old and of new classes as the gallery grows."""
    name = config.attributes[-1]
    labels, true = data.train[name].to_numpy(), data.test[name].to_numpy()
    new_classes = held_out_classes(config, trial.seed, labels)
    new = np.isin(true, new_classes)
    outputs = recognizer.embed(data.test["path"], boxes_of(data.test))
    record: dict[str, Any] = {
        "new_classes": new_classes,
        "old_images": int(np.sum(~new)),
        "new_images": int(np.sum(new)),
    }
    if trial.retrained_with:
        predicted = np.array(recognizer.classes[name])[np.argmax(outputs[f"{name}_logits"], axis=1)]
        return record | {"retrained": {str(trial.retrained_with): _accuracies(true, predicted, new)}}
    queries = unit(outputs["embedding"])
    rows = gallery_rows(config, trial.seed, labels, max(config.added))
    exemplars = unit(recognizer.embed(data.train["path"].iloc[rows], boxes_of(data.train.iloc[rows]))["embedding"])
    for added in (0, *config.added):
        in_gallery = np.isin(rows, gallery_rows(config, trial.seed, labels, added))
        gallery, names = exemplars[in_gallery], labels[rows[in_gallery]]
        indices, distances = nearest(queries, gallery, 1)
        if added == 0:
            record["unknown"] = _rejection(gallery, names, distances[:, 0], new)
        record.setdefault("gallery", {})[str(added)] = _accuracies(true, names[indices[:, 0]], new)
        means, classes = class_means(gallery, names)
        nearest_means = nearest(queries, means, 1)[0][:, 0]
        record.setdefault("class_means", {})[str(added)] = _accuracies(true, classes[nearest_means], new)
        record.setdefault("last_layer", {})[str(added)] = _accuracies(true, _last_layer(gallery, names, queries), new)
    return record


def _accuracies(true: np.ndarray, predicted: np.ndarray, new: np.ndarray) -> dict[str, float | None]:
    parts = {"old": ~new, "new": new, "all": np.ones(len(new), bool)}
    return {part: accuracy(true[chosen], predicted[chosen]) for part, chosen in parts.items()}


def _last_layer(gallery: np.ndarray, names: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The predictions of a last layer that is trained anew on the exemplars' embeddings; the network is frozen."""
    classifier = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
    return classifier.fit(gallery, names).predict(queries)


def _rejection(gallery: np.ndarray, names: np.ndarray, distances: np.ndarray, new: np.ndarray) -> dict[str, float]:
    """How well the distance to the nearest exemplar separates unknown classes, before any is added."""
    limit = threshold(distances_within(gallery, names), ACCEPT)
    return {
        "auc": float(roc_auc_score(new, distances)),
        "threshold": float(limit),
        "accepted_old": float(np.mean(distances[~new] <= limit)),
        "rejected_new": float(np.mean(distances[new] > limit)),
    }
