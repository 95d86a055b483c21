"""Metrics that scikit-learn does not have."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix


def match_clusters(labels: np.ndarray, clusters: np.ndarray) -> dict[int, int]:
    """The one-to-one mapping from clusters to labels that agrees with most samples.

    Args:
        labels: (N,) ground truth p_i, any integers.
        clusters: (N,) predicted q_i, any integers; their number may differ from that of the labels.

    Returns:
        m of Eq. 5.1: cluster -> label. With more clusters than labels the surplus ones are absent.

    Raises:
        ValueError: the arrays are empty, not one-dimensional, or of different length.
    """
    labels, clusters = np.asarray(labels), np.asarray(clusters)
    if labels.ndim != 1 or labels.shape != clusters.shape or len(labels) == 0:
        raise ValueError(
            "labels and clusters must be one-dimensional, of equal length and not empty, "
            f"got shapes {labels.shape} and {clusters.shape}."
        )
    counts = contingency_matrix(labels, clusters)  # (labels, clusters)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    label_names, cluster_names = np.unique(labels), np.unique(clusters)
    return {int(cluster_names[c]): int(label_names[r]) for r, c in zip(rows, columns)}


def clustering_accuracy(labels: np.ndarray, clusters: np.ndarray) -> float:
    """Share of samples whose cluster maps to their label under the best mapping (Eq. 5.1).

    Args:
        labels: (N,) ground truth.
        clusters: (N,) predicted clusters; no name or number of clusters is assumed.

    Returns:
        Accuracy in [0, 1]. Samples of clusters that no label is left for count as wrong.

    Raises:
        ValueError: as `match_clusters`.
    """
    mapping = match_clusters(labels, clusters)
    labels, clusters = np.asarray(labels), np.asarray(clusters)
    agreeing = sum(np.sum((clusters == c) & (labels == p)) for c, p in mapping.items())
    return float(agreeing / len(labels))


def cosine_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) one minus the cosine between the rows of (N, D) and (N, D); one where a row is zero."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return 1 - np.einsum("nd,nd->n", a, b) / np.maximum(lengths, 1e-12)
