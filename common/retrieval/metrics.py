"""mAP, CMC and mINP of a ranking, with the exclusion rules of person re-identification."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.retrieval.distances import Distances, Metric, row_blocks
from common.retrieval.embeddings import JUNK, Embeddings, check_widths
from common.retrieval.ranking import FIRST_RANK, LAST_RANK, MATCHES, STANDARD, TRAPEZOID, rank_rows

AveragePrecision = Literal["standard", "trapezoid"]


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of V valid queries; a query is valid if the gallery has a match for it. All scores are in [0, 1]."""

    valid_queries: np.ndarray  # (V,) their indices among all queries, ascending
    num_skipped_queries: int  # queries without a match, which no mean includes
    average_precision: np.ndarray  # (V,) by the chosen rule
    first_match_rank: np.ndarray  # (V,) rank, from 1, of the nearest match
    inverse_negative_penalty: np.ndarray  # (V,) number of matches / rank of the farthest match
    ranks: tuple[int, ...]  # at which `cmc` is given

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
    def cmc(self) -> dict[int, float]:
        """rank k -> share of valid queries with a match among the first k; k may exceed the gallery."""
        return {rank: float(np.mean(self.first_match_rank <= rank)) for rank in self.ranks}


def score(
    query: Embeddings,
    gallery: Embeddings,
    *,
    metric: Metric = "cosine",
    ranks: Sequence[int] = (1, 5, 10),
    average_precision: AveragePrecision = "standard",
    distances: np.ndarray | Iterable[np.ndarray] | None = None,
) -> Scores:
    """Ranks the gallery for every query and scores the rankings.

    Gallery images of the query's identity **and** camera are removed from its ranking, and so are junk images
    (identity -1). Distractors need no rule: they are wrong for every query of another identity. (Market-1501
    calls them identity 0, which is no query there; in MSMT17 identity 0 is a person like the others.)
    Equal distances are ranked by gallery index; note that a float32 matrix product may give equal images distances
    that differ in the last digit. Never holds more than a block of the distances.

    Average precision of M matches, the t-th of them at rank r_t:
    - "standard": mean over t of t / r_t, the precision at each match;
    - "trapezoid", of the evaluation script that came with Market-1501 (Zheng et al., ICCV 2015): mean over t of
      (t / r_t + (t - 1) / (r_t - 1)) / 2, where the second term is 1 if r_t = 1. It is the lower one
      of the two except for perfect rankings.

    Args:
        query: Q images with features of width D.
        gallery: G images with features of width D.
        metric: "cosine" or "euclidean"; not used with `distances`.
        ranks: of the CMC, from 1 on.
        average_precision: the rule.
        distances: computed elsewhere: a (Q, G) array, or blocks of its rows in the order of the queries, such as
            `rerank` returns. float32 and float64 are ranked as they are. Blocks may be overwritten, an
            array is left as it is.

    Raises:
        ValueError: widths or shapes do not fit, an option is unknown, or no query has a match.
    """
    return summarize(rank(query, gallery, metric=metric, distances=distances), ranks, average_precision)


def rank(
    query: Embeddings,
    gallery: Embeddings,
    *,
    metric: Metric = "cosine",
    distances: np.ndarray | Iterable[np.ndarray] | None = None,
) -> np.ndarray:
    """`rank_rows` of all queries: (Q, 5). Arguments and errors as `score`."""
    if distances is None:
        check_widths(query, gallery)
        blocks = iter(Distances(query.features, gallery.features, metric))
    else:
        blocks = _given_blocks(distances, len(query), len(gallery))
    order = np.argsort(gallery.identities, kind="stable")
    order = order[gallery.identities[order] != JUNK]
    sorted_identities = gallery.identities[order]
    starts = np.searchsorted(sorted_identities, query.identities, "left")
    stops = np.searchsorted(sorted_identities, query.identities, "right")
    junk = np.flatnonzero(gallery.identities == JUNK)
    results, done = [], 0
    for block in blocks:
        rows = slice(done, done + len(block))
        results.append(rank_rows(block, query.cameras[rows], starts[rows], stops[rows], order, gallery.cameras, junk))
        done = rows.stop
    return np.concatenate(results)


def summarize(results: np.ndarray, ranks: Sequence[int], average_precision: AveragePrecision) -> Scores:
    """`Scores` of what `rank` returned: (Q, 5). Errors as `score`."""
    if average_precision not in ("standard", "trapezoid"):
        raise ValueError(f"average_precision must be 'standard' or 'trapezoid', got {average_precision!r}.")
    if len(ranks) == 0 or min(ranks) < 1:
        raise ValueError(f"ranks must be one or more integers from 1 on, got {tuple(ranks)}.")
    valid = np.flatnonzero(results[:, MATCHES])
    if len(valid) == 0:
        raise ValueError(
            f"None of the {len(results)} queries has a match: no identity of theirs is in the gallery under another "
            "camera; check that identities are numbered alike in both, and that camera ids are real."
        )
    rows = results[valid]
    return Scores(
        valid_queries=valid,
        num_skipped_queries=len(results) - len(valid),
        average_precision=rows[:, STANDARD if average_precision == "standard" else TRAPEZOID],
        first_match_rank=rows[:, FIRST_RANK].astype(np.int64),
        inverse_negative_penalty=rows[:, MATCHES] / rows[:, LAST_RANK],
        ranks=tuple(int(rank) for rank in ranks),
    )


def _given_blocks(
    distances: np.ndarray | Iterable[np.ndarray], num_queries: int, num_gallery: int
) -> Iterator[np.ndarray]:
    """The given distances as blocks that may be overwritten, checked."""
    is_array = hasattr(distances, "__array__")
    if is_array:
        array = np.asarray(distances)
        _check_rows(array, array.ndim == 2 and len(array) == num_queries, num_queries, num_gallery)
        distances = (array[rows] for rows in row_blocks(num_queries, num_gallery, "ranking"))
    done = 0
    for block in distances:
        block = np.asarray(block)
        dtype = np.float32 if block.dtype in (np.float16, np.float32) else np.float64
        block = np.array(block, dtype, order="C", copy=True if is_array or not block.flags.writeable else None)
        done += len(block)
        _check_rows(block, block.ndim == 2 and done <= num_queries, num_queries, num_gallery)
        if np.isnan(block.sum()) and np.isnan(block).any():
            raise ValueError("distances must not be NaN; look for zero lengths or infinities where they were computed.")
        yield block
    if done != num_queries:
        raise ValueError(f"distances must have a row for each of the {num_queries} queries, got {done} rows.")


def _check_rows(block: np.ndarray, fits: bool, num_queries: int, num_gallery: int) -> None:
    if not fits or block.shape[1] != num_gallery:
        raise ValueError(
            f"distances must be a ({num_queries}, {num_gallery}) array, queries by gallery, or blocks of its rows, "
            f"got shape {block.shape}; are query and gallery those they were computed from?"
        )
