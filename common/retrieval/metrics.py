"""mAP, CMC, mINP, R-precision and MAP@R of a ranking under a protocol."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.jit import in_threads
from common.retrieval.distances import Metric
from common.retrieval.embeddings import Embeddings
from common.retrieval.protocol import DEFAULT, Comparisons, Protocol
from common.retrieval.ranking import (
    AT_R,
    FIRST_RANK,
    LAST_RANK,
    MATCHES,
    R_PRECISION,
    STANDARD,
    TRAPEZOID,
    rank_rows,
)
from common.retrieval.reranking import RerankedDistances


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of V valid queries; a query is valid if the gallery has a match for it. All scores are in [0, 1]."""

    valid_queries: np.ndarray  # (V,) their indices among all queries, ascending
    num_skipped_queries: int  # queries without a match, which no mean includes
    average_precision: np.ndarray  # (V,) by the protocol's rule
    first_match_rank: np.ndarray  # (V,) rank, from 1, of the nearest match
    inverse_negative_penalty: np.ndarray  # (V,) number of matches / rank of the farthest match
    r_precision: np.ndarray  # (V,) share of matches among the first R, R the query's number of matches
    average_precision_at_r: np.ndarray  # (V,) sum of the precision at each match among the first R, divided by R
    ranks: tuple[int, ...]  # at which `cmc` is given
    protocol: Protocol = DEFAULT

    @property
    def num_valid_queries(self) -> int:
        """V."""
        return len(self.valid_queries)

    @property
    def mean_average_precision(self) -> float:
        """mAP over the valid queries."""
        return float(np.mean(self.average_precision))

    @property
    def mean_inverse_negative_penalty(self) -> float:
        """mINP (Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", 2021)."""
        return float(np.mean(self.inverse_negative_penalty))

    @property
    def mean_r_precision(self) -> float:
        """R-precision over the valid queries."""
        return float(np.mean(self.r_precision))

    @property
    def mean_average_precision_at_r(self) -> float:
        """MAP@R (Musgrave et al., "A Metric Learning Reality Check", ECCV 2020)."""
        return float(np.mean(self.average_precision_at_r))

    @property
    def cmc(self) -> dict[int, float]:
        """rank k -> share of valid queries with a match among the first k; k may exceed the gallery.

        Metric learning calls it Recall@k, and at k = 1 precision.
        """
        return {rank: float(np.mean(self.first_match_rank <= rank)) for rank in self.ranks}


def score(
    query: Embeddings,
    gallery: Embeddings,
    *,
    protocol: Protocol | None = None,
    metric: Metric | None = None,
    ranks: Sequence[int] = (1, 5, 10),
    distances: np.ndarray | Iterable[np.ndarray] | None = None,
) -> Scores:
    """Ranks the gallery for every query and scores the rankings.

    Equal distances are ranked by gallery index; note that a float32 matrix product may give equal images distances
    that differ in the last digit. Never holds more than a block of the distances.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        protocol: what counts and how; by default that of `distances`, if `rerank` made them, or `Protocol()`.
        metric: in place of the protocol's.
        ranks: of the CMC, from 1 on.
        distances: computed elsewhere: a (Q, G) array, or blocks of its rows in the order of the queries, such as
            `rerank` returns. float32 and float64 are ranked as they are. Blocks may be overwritten, an
            array is left as it is.

    Raises:
        ValueError: widths or shapes do not fit, an option is unknown, no query has a match, or the distances are
            re-ranked ones of other images or under another protocol.
    """
    protocol = with_metric(protocol, metric, distances)
    return summarize(rank(query, gallery, protocol, distances), ranks, protocol)


def with_metric(
    protocol: Protocol | None, metric: Metric | None, distances: np.ndarray | Iterable[np.ndarray] | None = None
) -> Protocol:
    """The protocol of `score`'s arguments."""
    if protocol is None:
        protocol = distances.protocol if isinstance(distances, RerankedDistances) else DEFAULT
    return protocol if metric is None else replace(protocol, metric=metric)


def rank(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    distances: np.ndarray | Iterable[np.ndarray] | None = None,
) -> np.ndarray:
    """What `rank_rows` says of all queries: (Q, 7). Arguments and errors as `score`."""
    comparisons = Comparisons(query, gallery, protocol)
    results = np.zeros((len(query), 7))
    for rows, block in comparisons.blocks(distances):
        of_rows = (comparisons.starts[rows], comparisons.stops[rows], comparisons.members, results[rows])
        in_threads(rank_rows, len(block), block, *of_rows)
    return results


def summarize(results: np.ndarray, ranks: Sequence[int], protocol: Protocol) -> Scores:
    """`Scores` of what `rank` returned: (Q, 7). Errors as `score`."""
    if len(ranks) == 0 or min(ranks) < 1:
        raise ValueError(f"ranks must be one or more integers from 1 on, got {tuple(ranks)}.")
    valid = np.flatnonzero(results[:, MATCHES])
    if len(valid) == 0:
        where = "" if protocol.same_camera else " under another camera"
        ids = "identities are numbered alike in both" + ("" if where == "" else ", and that camera ids are real")
        raise ValueError(
            f"None of the {len(results)} queries has a match: no identity of theirs is in the gallery{where}; check "
            f"that {ids}."
        )
    rows = results[valid]
    return Scores(
        valid_queries=valid,
        num_skipped_queries=len(results) - len(valid),
        average_precision=rows[:, STANDARD if protocol.ap == "standard" else TRAPEZOID],
        first_match_rank=rows[:, FIRST_RANK].astype(np.int64),
        inverse_negative_penalty=rows[:, MATCHES] / rows[:, LAST_RANK],
        r_precision=rows[:, R_PRECISION],
        average_precision_at_r=rows[:, AT_R],
        ranks=tuple(int(rank) for rank in ranks),
        protocol=protocol,
    )
