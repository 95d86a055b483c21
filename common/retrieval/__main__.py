"""Scores precomputed features of any model: `python -m common.retrieval features.npz`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from common.experiments.config import run_command
from common.report.tables import table
from common.retrieval import confidence_interval, load_embeddings, rerank, verification_rates
from common.retrieval.distances import Metric
from common.retrieval.metrics import rank, summarize


@dataclass(frozen=True)
class Options:
    """Prints mAP by both rules, CMC, mINP and verification rates of the features in an npz file.

    The file holds query_features (Q, D), query_identities (Q,), query_cameras (Q,) and the same for gallery_.
    """

    features: tyro.conf.Positional[Path]  # the npz file
    metric: Metric = "cosine"  # distance
    rerank: bool = False  # re-rank with k-reciprocal encoding before scoring
    k1: int = 20  # re-ranking: neighbors of the reciprocal sets
    k2: int = 6  # re-ranking: neighbors that encodings are averaged over
    lambda_value: float = 0.3  # re-ranking: weight of the original distance
    ranks: tuple[int, ...] = (1, 5, 10)  # of the CMC


def main() -> None:
    """Command line."""
    options = tyro.cli(Options, prog="python -m common.retrieval")
    query, gallery = load_embeddings(options.features)
    distances = None
    if options.rerank:
        distances = rerank(
            query, gallery, metric=options.metric, k1=options.k1, k2=options.k2, lambda_value=options.lambda_value
        )
    results = rank(query, gallery, metric=options.metric, distances=distances)
    scores = summarize(results, options.ranks, "standard")
    trapezoid = summarize(results, options.ranks, "trapezoid")
    intervals = confidence_interval(scores, query.identities)
    intervals.loc["mAP, trapezoid rule"] = confidence_interval(trapezoid, query.identities).loc["mAP"]
    rows: list[list[str | None]] = [
        [name, *(f"{100 * value:.2f}" for value in intervals.loc[name, ["score", "low", "high"]])]
        for name in ["mAP", "mAP, trapezoid rule", *(f"rank-{k}" for k in scores.ranks), "mINP"]
    ]
    pairs = verification_rates(query, gallery, metric=options.metric)  # re-ranked distances are relative to each query
    rows += [
        [f"TPR at FPR {rate:g}", f"{100 * pairs.true_positive_rate_at(rate):.2f}", None, None]
        for rate in (1e-2, 1e-3, 1e-4)
    ]
    print(table(["score (%)", "value", "95 % from", "to"], rows))
    print(
        f"\n{scores.num_valid_queries} valid queries, {scores.num_skipped_queries} skipped for lack of a match; "
        f"{len(gallery)} gallery images. Intervals by bootstrap over identities."
        + (" TPR without re-ranking." if options.rerank else "")
    )


if __name__ == "__main__":
    run_command(main)
