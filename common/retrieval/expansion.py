"""Query expansion and database-side augmentation."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from common.retrieval.distances import Distances
from common.retrieval.embeddings import Embeddings, check_widths
from common.retrieval.protocol import DEFAULT, Protocol
from common.retrieval.search import Neighbors, nearest_to_each_other, search


def expand(
    query: Embeddings,
    gallery: Embeddings,
    *,
    k: int = 5,
    alpha: float = 3.0,
    database_side: bool = False,
    protocol: Protocol = DEFAULT,
) -> tuple[Embeddings, Embeddings]:
    """Replaces features by weighted means of their neighbors'; scores with them need no other distance.

    Alpha query expansion (Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019):
    q becomes the unit vector along q + Σ max(0, q·g)^alpha g over its k nearest gallery images g by cosine,
    all of unit length. Database-side augmentation (Arandjelović & Zisserman, CVPR 2012) first does the same to each
    gallery image with its k nearest others, and queries are expanded with the augmented gallery. Junk and a
    query's own image are no neighbors; else identities and cameras play no part, as they are not known at that time.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        k: neighbors.
        alpha: exponent of the similarity, from 0 on; 0 gives all neighbors with a positive one equal weights.
        database_side: augment the gallery as well; junk in it is not changed but for its length.
        protocol: says what is junk, and whether the gallery contains the queries. The metric is the cosine.

    Returns:
        Query with features of length 1; gallery, unchanged or with features of length 1. Zero vectors stay zero.

    Raises:
        ValueError: widths do not fit, or a parameter is out of its range.
    """
    check_widths(query, gallery)
    columns = protocol.counted(gallery)
    columns = np.arange(len(gallery)) if columns is None else columns
    largest = len(columns) - int(database_side or protocol.leave_one_out)
    if not 1 <= k <= largest or alpha < 0:
        raise ValueError(
            f"Expansion with {len(columns)} gallery images takes k in [1, {largest}] and alpha from 0 on, "
            f"got {k} and {alpha}."
        )
    # Identities are not known yet: of the protocol, junk and the query's own image remain.
    neighbors_of = replace(protocol, metric="cosine", same_camera=True)
    if database_side:
        pool = gallery.take(columns)
        # Each sample's first neighbor is itself with weight 1, which `_weighted` adds on its own.
        nearest_ones = nearest_to_each_other(Distances(pool.features, pool.features, "cosine"), k + 1)
        others = Neighbors(nearest_ones.indices[:, 1:], nearest_ones.distances[:, 1:], nearest_ones.farthest)
        features = gallery.features * _inverse_lengths(gallery.features)[:, None]
        features[columns] = _weighted(pool, pool, others, alpha).features
        gallery = replace(gallery, features=features)
    return _weighted(query, gallery, search(query, gallery, k, protocol=neighbors_of), alpha), gallery


def _weighted(samples: Embeddings, pool: Embeddings, neighbors: Neighbors, alpha: float) -> Embeddings:
    """Unit vectors along x + Σ w g, neighbors g from `pool`."""
    similarities = np.maximum(0, 1 - neighbors.distances)
    weights = np.where(similarities > 0, similarities**alpha, 0) * _inverse_lengths(pool.features)[neighbors.indices]
    count, k = weights.shape
    starts = np.arange(0, count * k + 1, k)
    matrix = csr_array(
        (weights.ravel().astype(np.float32), neighbors.indices.ravel(), starts), shape=(count, len(pool))
    )
    features = matrix @ pool.features  # (M, N) sparse x (N, D)
    features += samples.features * _inverse_lengths(samples.features)[:, None]
    features *= _inverse_lengths(features)[:, None]
    return replace(samples, features=features)


def _inverse_lengths(features: np.ndarray) -> np.ndarray:
    """(N,) 0 for the zero vector; in float64, as float32 does not hold the squares of all its numbers."""
    lengths = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
