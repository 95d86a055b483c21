"""What is done with an embedding: k-means, Eq. 5.6, and the anomaly detection protocol."""

import numpy as np
from sklearn.cluster import KMeans

# Images through a network at a time when nothing is trained.
INFERENCE_BATCH = 1024


def fit_kmeans(embeddings: np.ndarray, num_clusters: int, *, restarts: int, seed: int) -> KMeans:
    """k-means with several starts; the solution of lowest inertia is kept.

    Args:
        embeddings: (N, D).
        num_clusters: k.
        restarts: number of k-means++ starts.
        seed: of the starts.

    Raises:
        ValueError: NaN, fewer samples than clusters, or fewer distinct embeddings than clusters.
    """
    if not np.isfinite(embeddings).all():
        raise ValueError("The embeddings have NaN or infinite values; was the training finite?")
    if len(embeddings) < num_clusters:
        raise ValueError(f"{num_clusters} clusters need at least as many samples, got {len(embeddings)}.")
    # Counting distinct rows of all samples is slow, and the first ones nearly always suffice.
    distinct = len(np.unique(embeddings[: 100 * num_clusters], axis=0))
    if distinct < num_clusters:
        distinct = len(np.unique(embeddings, axis=0))
    if distinct < num_clusters:
        raise ValueError(
            f"{num_clusters} clusters need as many distinct embeddings, got {distinct}. "
            "Are the images duplicates of each other? Ask for fewer clusters."
        )
    return KMeans(num_clusters, n_init=restarts, random_state=seed).fit(embeddings)


def normality(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """v = max_p E_c(I) · C_p / ‖C_p‖₂ (Eq. 5.6): similarity to the closest cluster.

    Args:
        embeddings: (N, D). Those of a network without the L2 constraint are divided by their length
            here, so that the score is the cosine for them too.
        centroids: (k, D).

    Returns:
        (N,) in [-1, 1]; the higher, the more normal.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
    directions = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    return np.max(unit @ directions.T, axis=1)  # (N, D) @ (D, k) -> (N,)


def keep_a_tenth(labels: np.ndarray, abnormal: int, partition: int) -> np.ndarray:
    """Indices of the training samples that the protocol keeps (section 5.2.3.2).

    The samples of the abnormal class are split at random into ten partitions, of which one is kept;
    all other classes are kept whole. The split depends on the class alone.

    Args:
        labels: (N,).
        abnormal: the class to treat as abnormal.
        partition: which tenth to keep; taken modulo 10.

    Raises:
        ValueError: fewer than ten samples of the abnormal class.
    """
    members = np.flatnonzero(labels == abnormal)
    if len(members) < 10:
        raise ValueError(f"Class {abnormal} has {len(members)} samples; ten partitions need ten.")
    tenths = np.array_split(np.random.default_rng(abnormal).permutation(members), 10)
    return np.sort(np.concatenate([np.flatnonzero(labels != abnormal), tenths[partition % 10]]))
