"""Scores precomputed features of any model: `python -m common.retrieval features.npz`."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from common.config import run_command
from common.report import table
from common.retrieval import Embeddings, confidence_interval, rerank, verification
from common.retrieval.distances import Metric
from common.retrieval.scoring import rank, summarize

_PARTS = ("features", "identities", "cameras")


@dataclass(frozen=True)
class Options:
    """Prints mAP by both rules, CMC, mINP and verification rates of the features in an npz file.

    The file holds query_features (Q, D), query_identities (Q,), query_cameras (Q,) and the same for gallery_.
    """

    features: tyro.conf.Positional[Path]  # the npz file
    metric: Metric = "cosine"  # distance
    rerank: bool = False  # re-rank with k-reciprocal encoding before scoring
    k1: int = 20  # re-ranking: neighbours of the reciprocal sets
    k2: int = 6  # re-ranking: neighbours that encodings are averaged over
    lambda_value: float = 0.3  # re-ranking: weight of the original distance
    ranks: tuple[int, ...] = (1, 5, 10)  # of the CMC


def load(path: Path) -> tuple[Embeddings, Embeddings]:
    """Query and gallery from an npz file.

    Raises:
        ValueError: the file is absent, is no npz file, lacks an array, or an array does not fit.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}; write one with np.savez(path, query_features=..., ...).")
    names = [f"{side}_{part}" for side in ("query", "gallery") for part in _PARTS]
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except (zipfile.BadZipFile, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no npz file of plain arrays ({error}); write one with np.savez.") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'no arrays'}.")
    found = [arrays[name] for name in names]
    return Embeddings(*found[:3]), Embeddings(*found[3:])


def main() -> None:
    options = tyro.cli(Options, prog="python -m common.retrieval")
    query, gallery = load(options.features)
    distances = None
    if options.rerank:
        parameters = {"k1": options.k1, "k2": options.k2, "lambda_value": options.lambda_value}
        distances = rerank(query, gallery, metric=options.metric, **parameters)
    results = rank(query, gallery, metric=options.metric, distances=distances)
    scores = summarize(results, options.ranks, "standard")
    trapezoid = summarize(results, options.ranks, "trapezoid")
    found = confidence_interval(scores, query.identities)
    found.loc["mAP, trapezoid rule"] = confidence_interval(trapezoid, query.identities).loc["mAP"]
    rows = [
        [name, *(f"{100 * value:.2f}" for value in found.loc[name, ["score", "low", "high"]])]
        for name in ["mAP", "mAP, trapezoid rule", *(f"rank-{k}" for k in scores.ranks), "mINP"]
    ]
    pairs = verification(query, gallery, metric=options.metric)  # re-ranked distances are relative to each query
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
