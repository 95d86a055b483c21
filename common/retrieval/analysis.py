"""Scores per camera pair and per attribute, and how far chance moves them."""

from dataclasses import replace

import numpy as np
import pandas as pd

from common.retrieval.embeddings import Embeddings, is_identity
from common.retrieval.metrics import Scores, rank, summarize
from common.retrieval.protocol import DEFAULT, Protocol
from common.retrieval.ranking import MATCHES
from common.statistics import bootstrap


def score_by_camera_pair(query: Embeddings, gallery: Embeddings, *, protocol: Protocol = DEFAULT) -> pd.DataFrame:
    """Scores of the queries of one camera against the gallery of another, for each ordered pair of cameras.

    Returns:
        One row per pair: query_camera, gallery_camera, mAP, rank-1 and valid_queries; mAP and rank-1 are NaN where
        no query of the pair has a match.

    Raises:
        ValueError: widths or ids do not fit, or there are no cameras.
    """
    if query.cameras is None or gallery.cameras is None:
        raise ValueError("Scores per pair of cameras need camera ids of query and gallery; give both their cameras.")
    rows = []
    protocol = replace(protocol, leave_one_out=False)  # a query's own image is of its own camera
    for gallery_camera in np.unique(gallery.cameras):
        seen = gallery.take(gallery.cameras == gallery_camera)
        if is_identity(seen.identities, protocol.junk).all():
            continue
        for query_camera in np.unique(query.cameras[query.cameras != gallery_camera]):
            results = rank(query.take(query.cameras == query_camera), seen, protocol)
            values = (np.nan, np.nan, 0)
            if results[:, MATCHES].any():
                scores = summarize(results, (1,), protocol)
                values = (scores.mean_average_precision, scores.cmc[1], scores.num_valid_queries)
            rows.append((query_camera, gallery_camera, *values))
    names = ["query_camera", "gallery_camera", "mAP", "rank-1", "valid_queries"]
    return pd.DataFrame(rows, columns=names).sort_values(names[:2], ignore_index=True)


def score_by(scores: Scores, labels: np.ndarray) -> pd.DataFrame:
    """Scores of the queries that share a label, such as an attribute's value.

    Args:
        scores: of `score`.
        labels: (Q,) one for each query, valid or not.

    Returns:
        Indexed by label: mAP, rank-1 and valid_queries. Labels of no valid query are absent.

    Raises:
        ValueError: the number of labels is not that of the queries.
    """
    groups = _per_query(scores, labels).groupby("label")
    return groups[["mAP", "rank-1"]].mean().assign(valid_queries=groups.size())


def confidence_interval(
    scores: Scores, query_identities: np.ndarray, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Percentile bootstrap over identities (`common.statistics.bootstrap`).

    Args:
        scores: of `score`.
        query_identities: (Q,) of all queries, valid or not.
        level: share of the resampled scores inside the interval, in (0, 1).
        resamples: number of draws.
        seed: of the draws.

    Returns:
        Indexed by mAP, rank-k for each of `scores.ranks`, mINP, R-precision and MAP@R: score, low and high.

    Raises:
        ValueError: the number of identities is not that of the queries, or an option is out of its range.
    """
    queries = _per_query(scores, query_identities)
    intervals = {
        name: vars(bootstrap(queries[name], queries.label, level=level, resamples=resamples, seed=seed))
        for name in queries.columns.drop("label")
    }
    return pd.DataFrame(intervals).T.rename(columns={"value": "score"})


def _per_query(scores: Scores, labels: np.ndarray) -> pd.DataFrame:
    """One row per valid query."""
    labels, number = np.asarray(labels), scores.num_valid_queries + scores.num_skipped_queries
    if labels.shape != (number,):
        raise ValueError(f"Expected one label for each of the {number} queries, got shape {labels.shape}.")
    columns = {"label": labels[scores.valid_queries], "mAP": scores.average_precision}
    columns |= {f"rank-{k}": (scores.first_match_rank <= k).astype(float) for k in sorted({1, *scores.ranks})}
    columns |= {"mINP": scores.inverse_negative_penalty, "R-precision": scores.r_precision}
    return pd.DataFrame(columns | {"MAP@R": scores.average_precision_at_r})
