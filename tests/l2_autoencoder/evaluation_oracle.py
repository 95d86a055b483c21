"""What `evaluate` must give for a network that is a known function: the numbers by other programs than its own.

An image of four pixels a, b, c, d becomes the embedding (a, b); its reconstruction differs in c alone, by c.
"""

from itertools import permutations

import numpy as np
from sklearn.cluster import KMeans

from common.datasets.digits import Digits

DIGITS, TRAIN, TEST = 4, 48, 16
_RANDOM = np.random.default_rng(7)
_CENTERS = np.array([[0.62, 0.6], [0.95, 0.55], [0.55, 0.95], [0.9, 0.9]])
LABELS = np.arange(TRAIN + TEST) % DIGITS
# Blobs that overlap, so that the starts of k-means differ in accuracy. Digit 1 has the largest errors, 2 the smallest.
_PLACES = np.clip(_CENTERS[LABELS] + 0.09 * _RANDOM.normal(size=(len(LABELS), 2)), 0, 1)
_GRAY = np.clip(np.array([0.6, 0.8, 0.55, 0.65])[LABELS] + 0.1 * _RANDOM.normal(size=len(LABELS)), 0, 1)
IMAGES = np.stack([*_PLACES.T, _GRAY, np.full(len(LABELS), 0.25)], axis=1).reshape(-1, 2, 2, 1).astype("float32")
DATA = Digits(IMAGES[:TRAIN], LABELS[:TRAIN], IMAGES[TRAIN:], LABELS[TRAIN:])


class KnownNetwork:
    """In place of an `Autoencoder`; `seen` are the images that it was applied to."""

    def __init__(self, normalization):
        self.normalization, self.seen = normalization, []

    def apply(self, images):
        self.seen.append(images)
        return embed(images, self.normalization), images * np.float32([[1, 1], [0, 1]]).reshape(2, 2, 1)


def embed(images, normalization):
    places = images.reshape(-1, 4)[:, :2].astype("float64")
    return places if normalization == "none" else places / np.sqrt((places**2).sum(axis=1))[:, np.newaxis]


def error(images):
    """(N,) of four pixels one is wrong, by its own value."""
    return images.reshape(-1, 4)[:, 2].astype("float64") ** 2 / 4


def accuracy(labels, clusters):
    """Eq. 5.1 by trying every mapping."""
    names = np.unique(labels)
    return max(np.mean(np.array(mapping)[clusters] == labels) for mapping in permutations(names))


def entropy(*sides):
    _, counts = np.unique(np.stack(sides, axis=1), axis=0, return_counts=True)
    return -sum(count / counts.sum() * np.log(count / counts.sum()) for count in counts)


def mutual_information(labels, clusters):
    """Normalized by the mean of the entropies: I = H(P) + H(Q) - H(P, Q)."""
    alone = entropy(labels) + entropy(clusters)
    return (alone - entropy(labels, clusters)) / (alone / 2)


def rand_index(labels, clusters):
    """Adjusted for chance (Hubert and Arabie, 1985), by counting all pairs of samples."""
    first, second = np.triu_indices(len(labels), 1)
    same, together = labels[first] == labels[second], clusters[first] == clusters[second]
    expected = same.sum() * together.sum() / len(first)
    return ((same & together).sum() - expected) / ((same.sum() + together.sum()) / 2 - expected)


def starts_of(embeddings, clusters, restarts, seed):
    """k-means from each start, the one of lowest inertia first."""
    seeds = range(seed * restarts, (seed + 1) * restarts)
    return sorted(
        (KMeans(clusters, n_init=1, random_state=each).fit(embeddings) for each in seeds), key=lambda s: s.inertia_
    )


def clustering(images, labels, normalization, restarts, seed):
    """The numbers of one training of a clustering run."""
    starts = starts_of(embed(images, normalization), DIGITS, restarts, seed)
    after = starts_of(embed(images, "l2"), DIGITS, restarts, seed)[0]
    accuracies = [accuracy(labels, start.labels_) for start in starts]
    return {
        "reconstruction_error": error(images).mean(),
        "accuracy": accuracies[0],
        "nmi": mutual_information(labels, starts[0].labels_),
        "ari": rand_index(labels, starts[0].labels_),
        "accuracy_normalized_after_training": accuracy(labels, after.labels_),
        "accuracy_median_start": np.median(accuracies),
        "accuracy_most_accurate_start": max(accuracies),
        "inertia_excess_of_most_accurate_start": min(
            start.inertia_ / starts[0].inertia_ - 1
            for start, value in zip(starts, accuracies)
            if value == max(accuracies)
        ),
    }


def area(normal, score):
    """Under the ROC curve: the share of pairs in which the normal image has the higher score; ties count half."""
    pairs = score[normal][:, np.newaxis] - score[~normal]
    return np.mean((pairs > 0) + (pairs == 0) / 2)


def anomaly(train, test, normal, normalization, restarts, seed):
    """The numbers of one training of an anomaly detection run; Eq. 5.6 one image and one centroid after the other."""
    centroids = starts_of(embed(train, normalization), DIGITS - 1, restarts, seed)[0].cluster_centers_

    def normality(embeddings):
        return np.array([max(np.dot(e, c) / np.sqrt(np.dot(c, c)) for c in centroids) for e in embeddings])

    return {
        "reconstruction_error": error(train).mean(),
        "auc_reconstruction": area(normal, -error(test)),
        "auc_cluster": area(normal, normality(embed(test, normalization))),
        "auc_cluster_cosine": area(normal, normality(embed(test, "l2"))),
    }
