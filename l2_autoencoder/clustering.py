"""k-means on embeddings, the normality of Eq. 5.6, and the protocol of anomaly detection."""

import numpy as np
from sklearn.cluster import KMeans


def kmeans_starts(embeddings: np.ndarray, num_clusters: int, *, restarts: int, seed: int) -> list[KMeans]:
    """k-means from several starts, by rising inertia: the first is what `n_init=restarts` would return.

    All of them are returned because on these embeddings the best and the second-best solution often
    differ by half a percent of inertia and by fifteen points of accuracy.

    Args:
        embeddings: (N, D).
        num_clusters: k.
        restarts: number of k-means++ starts.
        seed: start i is seeded with seed · restarts + i.

    Raises:
        ValueError: NaN, fewer samples than clusters, or fewer distinct embeddings than clusters.
    """
    if not np.isfinite(embeddings).all():
        raise ValueError("The embeddings have NaN or infinite values; was the training finite?")
    if len(embeddings) < num_clusters:
        raise ValueError(f"{num_clusters} clusters need at least as many samples, got {len(embeddings)}.")
    distinct = distinct_rows(embeddings, num_clusters)
    if distinct < num_clusters:
        raise ValueError(
            f"{num_clusters} clusters need as many distinct embeddings, got {distinct}. "
            "Are the images constant or copies of each other? Choose fewer clusters."
        )
    starts = [KMeans(num_clusters, n_init=1, random_state=seed * restarts + i).fit(embeddings) for i in range(restarts)]
    return sorted(starts, key=lambda start: start.inertia_)


def distinct_rows(vectors: np.ndarray, limit: int) -> int:
    """How many of the rows differ, at most `limit`."""
    # Sorting all rows is slow, and the first ones are nearly always enough to tell.
    for rows in (vectors[: 100 * limit], vectors):
        distinct = len(np.unique(rows, axis=0))
        if distinct >= limit:
            return limit
    return distinct


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """(N, D) vectors divided by their lengths; zero vectors stay zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def normality(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """v = max_p E_c(I) · C_p / ‖C_p‖₂ (Eq. 5.6): similarity to the closest cluster.

    Args:
        embeddings: (N, D); of unit length if the network has the L2 constraint.
        centroids: (k, D).

    Returns:
        (N,), in [-1, 1] for embeddings of unit length; the higher, the more normal.
    """
    return np.max(embeddings @ unit_length(centroids).T, axis=1)  # (N, D) @ (D, k) -> (N, k) -> (N,)


def keep_a_tenth(labels: np.ndarray, abnormal: int, partition: int) -> np.ndarray:
    """Indices of the training samples of the protocol (section 5.2.3.2).

    They are all samples of the other classes, and one of ten random partitions of the abnormal class. The split into
    partitions depends on the class alone.

    Args:
        labels: (N,).
        abnormal: the class to treat as abnormal.
        partition: which tenth to keep, modulo 10.

    Raises:
        ValueError: fewer than ten samples of the abnormal class.
    """
    members = np.flatnonzero(labels == abnormal)
    if len(members) < 10:
        raise ValueError(f"Class {abnormal} has {len(members)} samples; ten partitions need ten.")
    tenths = np.array_split(np.random.default_rng(abnormal).permutation(members), 10)
    return np.sort(np.concatenate([np.flatnonzero(labels != abnormal), tenths[partition % 10]]))
