"""Query expansion and database-side augmentation."""

import numpy as np
from scipy.sparse import csr_array

from common.retrieval.distances import Distances
from common.retrieval.embeddings import Embeddings, check_widths
from common.retrieval.knn import Neighbors, nearest, nearest_to_each_other


def expand(
    query: Embeddings, gallery: Embeddings, *, k: int = 5, alpha: float = 3.0, database_side: bool = False
) -> tuple[Embeddings, Embeddings]:
    """Replaces features by weighted means of their neighbors'; scores with them need no other distance.

    Alpha query expansion (Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019):
    q becomes the unit vector along q + Σ max(0, q·g)^alpha g over its k nearest gallery images g by cosine,
    all of unit length. Database-side augmentation (Arandjelović & Zisserman, CVPR 2012) first does the same to each
    gallery image with its k nearest others, and queries are expanded with the augmented gallery. Identities
    and cameras play no part; junk (identity -1) does: drop it before if it shall not.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        k: neighbors.
        alpha: exponent of the similarity, from 0 on; 0 gives all neighbors with a positive one equal weights.
        database_side: augment the gallery as well.

    Returns:
        Query with features of length 1; gallery, unchanged or with features of length 1. Zero vectors stay zero.

    Raises:
        ValueError: widths do not fit, or a parameter is out of its range.
    """
    check_widths(query, gallery)
    largest = len(gallery) - int(database_side)
    if not 1 <= k <= largest or alpha < 0:
        raise ValueError(
            f"Expansion with {len(gallery)} gallery images takes k in [1, {largest}] and alpha from 0 on, "
            f"got {k} and {alpha}."
        )
    if database_side:
        within = Distances(gallery.features, gallery.features, "cosine")
        # Each sample's first neighbor is itself with weight 1, which `_weighted` adds on its own.
        nearest_ones = nearest_to_each_other(within, k + 1)
        others = Neighbors(nearest_ones.indices[:, 1:], nearest_ones.distances[:, 1:], nearest_ones.farthest)
        gallery = _weighted(gallery, gallery, others, alpha)
    between = Distances(query.features, gallery.features, "cosine")
    return _weighted(query, gallery, nearest(between, k), alpha), gallery


def _weighted(samples: Embeddings, pool: Embeddings, neighbors: Neighbors, alpha: float) -> Embeddings:
    """Unit vectors along x + Σ w g, neighbors g from `pool`."""
    similarities = np.maximum(0, 1 - neighbors.distances)
    weights = np.where(similarities > 0, similarities**alpha, 0) * _inverse_lengths(pool.features)[neighbors.indices]
    count, k = weights.shape
    starts = np.arange(0, count * k + 1, k)
    matrix = csr_array((weights.ravel(), neighbors.indices.ravel(), starts), shape=(count, len(pool)))
    features = matrix @ pool.features  # (M, N) sparse x (N, D)
    features += samples.features * _inverse_lengths(samples.features)[:, None]
    features *= _inverse_lengths(features)[:, None]
    return Embeddings(features, samples.identities, samples.cameras)


def _inverse_lengths(features: np.ndarray) -> np.ndarray:
    """(N,) float32; 0 for the zero vector."""
    lengths = np.linalg.norm(features, axis=1)
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
