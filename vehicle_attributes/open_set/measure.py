"""How well new classes are recognized with a few exemplars each, and old ones still, in several ways.

Some classes are left out of the training. The gallery then gets a few exemplars of each, and the network stays as it
is. Classifiers that are trained anew with those exemplars are what it is compared with.
"""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from common.datasets.image_folder import LabeledImages
from common.datasets.images import boxes_of

from ..config import Config, Trial
from ..gallery.search import nearest
from ..gallery.thresholds import distances_within, threshold
from ..gallery.validation import unit
from ..gallery.voting import VOTERS, class_means, prior_corrected_vote
from ..recognition import nearest_exemplars
from ..recognizer import Recognizer
from .split import balanced_rows, gallery_rows, held_out_classes

ACCEPT = 0.95  # share of vehicles of known classes that the threshold is to accept
# NOTE(paper): the text appends exemplars to a gallery that has 100 of each old class, which is the way "gallery". Where
# the nearest exemplar decides, a class of a few competes there with classes of a hundred, so what is measured is the
# numbers as much as the embedding. The other ways let all classes compete alike.
WAYS = {
    "gallery": "nearest exemplar, of old classes all",
    "balanced": "nearest exemplar, of old classes as many",
    "votes": f"votes of {VOTERS}, each of weight 1 / exemplars of its class",
    "class_means": "nearest class mean",
    "last_layer": "last layer trained anew",
}
RETRAINED = "retrained"


def open_set_record(
    config: Config, trial: Trial, recognizer: Recognizer, data: LabeledImages
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The numbers of one training, the share of draws in which each test image is right, and its nearest exemplars.

    Returns:
        The record: for each way, and for each number of exemplars, the accuracies on test images of old and of new
        classes, and the mean over all classes, which are means over `config.draws` choices of exemplars.
        `WAY_NUMBER` -> (Q,) float64 of the test images, in [0, 1].
        And rows of the training table (Q, k) of the nearest exemplars with their distances, in the first draw of as
        many of each class as were added at most; empty for a classifier that was trained anew.

    Raises:
        ValueError: the test images are all of old classes, or all of new ones.
    """
    name = config.attributes[-1]
    labels, true = data.train[name].to_numpy(), data.test[name].to_numpy()
    new_classes = held_out_classes(config, trial.seed, labels)
    new = np.isin(true, new_classes)
    if new.all() or not new.any():
        raise ValueError(
            f"Test images must be of new classes and of others, got {np.sum(new)} of {new_classes} among {len(new)}; "
            "lower --held-out, or add images."
        )
    record: dict[str, Any] = {
        "new_classes": new_classes,
        "old_images": int(np.sum(~new)),
        "new_images": int(np.sum(new)),
    }
    outputs, neighbors = recognizer.embed(data.test["path"], boxes_of(data.test)), {}
    if trial.retrained_with:
        predicted = np.array(recognizer.classes[name])[np.argmax(outputs[f"{name}_logits"], axis=1)]
        shares = {(RETRAINED, trial.retrained_with): (predicted == true).astype(float)}
    else:
        exemplars = unit(recognizer.embed(data.train["path"], boxes_of(data.train))["embedding"])
        queries = unit(outputs["embedding"])
        with threadpool_limits(1, "blas"):  # the fits are small: threads would wait for each other ten times as long
            shares, record["unknown"] = _over_draws(config, trial.seed, queries, exemplars, labels, true, new)
        rows = balanced_rows(trial.seed, labels, max(config.added), draw=0)
        indices, distances = nearest_exemplars(queries, exemplars[rows])
        neighbors = {name: rows[indices], f"{name}_distances": distances}
    for (way, added), share in shares.items():
        record.setdefault(way, {})[str(added)] = _accuracies(true, share, new)
    return record, {f"{way}_{added}": share for (way, added), share in shares.items()}, neighbors


def _over_draws(
    config: Config,
    seed: int,
    queries: np.ndarray,
    exemplars: np.ndarray,
    labels: np.ndarray,
    true: np.ndarray,
    new: np.ndarray,
) -> tuple[dict[tuple[str, int], np.ndarray], dict[str, float]]:
    """The share of draws in which each query is right, by way and number of exemplars; and the mean `_rejection`."""
    right = {(way, added): np.zeros(len(true)) for way in WAYS for added in config.added}
    unknown = []
    for draw in range(config.draws):
        for added in config.added:
            rows = gallery_rows(config, seed, labels, added, draw)
            balanced = balanced_rows(seed, labels, added, draw)
            predicted = _predictions(exemplars[rows], labels[rows], queries)
            predicted["balanced"] = labels[balanced[nearest(queries, exemplars[balanced], 1)[0][:, 0]]]
            for way, classes in predicted.items():
                right[way, added] += classes == true
        rows = gallery_rows(config, seed, labels, 0, draw)
        distances = nearest(queries, exemplars[rows], 1)[1][:, 0]
        unknown.append(_rejection(exemplars[rows], labels[rows], distances, new))
    means = pd.DataFrame(unknown).mean()
    return {key: counts / config.draws for key, counts in right.items()}, means.to_dict()


def _predictions(gallery: np.ndarray, names: np.ndarray, queries: np.ndarray) -> dict[str, np.ndarray]:
    """The classes (Q,) of queries by the exemplars of one gallery, in each way but "balanced"."""
    indices, _ = nearest(queries, gallery, VOTERS)
    means, classes = class_means(gallery, names)
    return {
        "gallery": names[indices[:, 0]],
        "votes": prior_corrected_vote(indices, names),
        "class_means": classes[nearest(queries, means, 1)[0][:, 0]],
        "last_layer": _last_layer(gallery, names, queries),
    }


def _accuracies(true: np.ndarray, right: np.ndarray, new: np.ndarray) -> dict[str, float]:
    """Mean shares (Q,) of old and of new images, and the mean of the means of all classes."""
    macro = pd.Series(right).groupby(true).mean().mean()
    return {"old": float(right[~new].mean()), "new": float(right[new].mean()), "macro": float(macro)}


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
