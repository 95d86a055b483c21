"""Scores precomputed features of any model: `python -m common.retrieval features.npz`."""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import tyro
from numba.core import event

from common.experiments.config import run_command
from common.files import write_text
from common.report.tables import table
from common.retrieval import Embeddings, Protocol, confidence_interval, load_embeddings, rerank, verification_rates
from common.retrieval.distances import Metric
from common.retrieval.metrics import rank, summarize
from common.retrieval.ranking import AT_R, FIRST_RANK, LAST_RANK, MATCHES, R_PRECISION, STANDARD, TRAPEZOID
from common.retrieval.report import write_report
from common.statistics import bootstrap

FALSE_POSITIVE_RATES = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class Options:
    """Prints mAP by both rules, CMC, mINP, R-precision, MAP@R and verification rates of features in a file.

    The file or folder is npz, npy, csv, Parquet, pt or mat. It holds query_features (Q, D), query_identities (Q,),
    query_cameras (Q,) and the same for gallery_, or names like qf, q_pids and q_camids; optionally paths of images. Of
    one set of images, each one is a query for the others.
    """

    features: tyro.conf.Positional[Path]  # the file, or a folder of npy, csv or Parquet files
    metric: Metric = "cosine"  # distance
    cameras: Literal["use", "none"] = "use"  # none: images of a query's own camera count like others
    drop_junk: bool = True  # leave images of identity -1 out of rankings, neighbors and pairs
    leave_one_out: bool = False  # the gallery has the queries too; always so for a file of one set
    distractors: tuple[str, ...] = ()  # identities that show nobody: wrong answers, and no queries
    rerank: bool = False  # re-rank with k-reciprocal encoding before scoring
    k1: int = 20  # re-ranking: neighbors of the reciprocal sets
    k2: int = 6  # re-ranking: neighbors that encodings are averaged over
    lambda_value: float = 0.3  # re-ranking: weight of the original distance
    ranks: tuple[int, ...] = (1, 5, 10)  # of the CMC
    json: bool = False  # print JSON in place of a table; shares are from 0 to 1
    per_query: Path | None = None  # write a csv file with a row per query
    report: Path | None = None  # write an html file with curves, ranked lists and failures


def main() -> None:
    """Command line."""
    options = tyro.cli(Options, prog="python -m common.retrieval")
    event.register("numba:compile", _Compiling())
    query, gallery = load_embeddings(options.features)
    protocol = Protocol(
        options.metric,
        junk=-1 if options.drop_junk else None,
        same_camera=options.cameras == "none",
        leave_one_out=options.leave_one_out or query is gallery,
        distractors=options.distractors,
    )
    distances = None
    if options.rerank:
        distances = rerank(
            query, gallery, protocol=protocol, k1=options.k1, k2=options.k2, lambda_value=options.lambda_value
        )
    results = rank(query, gallery, protocol, distances)
    numbers = _numbers(query, gallery, protocol, results, options)
    if options.per_query is not None:
        write_text(options.per_query, _per_query(query, results).to_csv(index=False))
    if options.report is not None:
        write_report(options.report, query, gallery, protocol, results, _rows(numbers), distances)
    print(json.dumps(numbers, indent=2) if options.json else _text(numbers))


class _Compiling(event.Listener):
    """Says once that machine code is made: the first call on a machine takes seconds for it, later ones do not."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said:
            print("Compiling, a few seconds, for the first call on this machine only.", file=sys.stderr)
        self.said = True

    def on_end(self, event: Any) -> None:
        pass


def _numbers(
    query: Embeddings, gallery: Embeddings, protocol: Protocol, results: np.ndarray, options: Options
) -> dict[str, Any]:
    """Everything that is printed; shares in [0, 1], None for what the data cannot tell."""
    scores = summarize(results, options.ranks, protocol)
    trapezoid = summarize(results, options.ranks, replace(protocol, ap="trapezoid"))
    values: dict[str, dict[str, float | None]] = {
        name: {"value": value, "low": None, "high": None}
        for name, value in {
            "mAP": scores.mean_average_precision,
            "mAP, trapezoid rule": trapezoid.mean_average_precision,
            **{f"rank-{k}": share for k, share in scores.cmc.items()},
            "mINP": scores.mean_inverse_negative_penalty,
            "R-precision": scores.mean_r_precision,
            "MAP@R": scores.mean_average_precision_at_r,
        }.items()
    }
    if len(np.unique(query.identities[scores.valid_queries])) > 1:  # else there is nobody to resample
        intervals = confidence_interval(scores, query.identities)
        identities = query.identities[trapezoid.valid_queries]
        interval = bootstrap(trapezoid.average_precision, identities, resamples=1000)
        intervals.loc["mAP, trapezoid rule"] = [interval.value, interval.low, interval.high]
        for name, value in values.items():
            value |= {end: float(intervals.loc[name, end]) for end in ("low", "high")}
    try:  # re-ranked distances are relative to each query
        pairs = verification_rates(query, gallery, protocol=protocol)
        rates = {
            f"TPR at FPR {rate:g}": pairs.true_positive_rate_at(rate) if pairs.supports(rate) else None
            for rate in FALSE_POSITIVE_RATES
        }
    except ValueError:  # pairs are all of the same identity, or none is
        rates = {f"TPR at FPR {rate:g}": None for rate in FALSE_POSITIVE_RATES}
    return {
        "protocol": asdict(protocol),
        "reranked": options.rerank,
        "valid_queries": scores.num_valid_queries,
        "skipped_queries": scores.num_skipped_queries,
        "gallery_images": len(gallery),
        "scores": values,
        "verification": rates,
    }


def _rows(numbers: dict[str, Any]) -> list[list[str | None]]:
    """Name, value and interval in %."""
    shares = {name: list(values.values()) for name, values in numbers["scores"].items()}
    shares |= {name: [value, None, None] for name, value in numbers["verification"].items()}
    return [
        [name, *(None if value is None else f"{100 * value:.2f}" for value in values)]
        for name, values in shares.items()
    ]


def _text(numbers: dict[str, Any]) -> str:
    text = table(["score (%)", "value", "95 % from", "to"], _rows(numbers))
    text += (
        f"\n\n{numbers['valid_queries']} valid queries, {numbers['skipped_queries']} skipped for lack of a match; "
        f"{numbers['gallery_images']} gallery images. Intervals by bootstrap over identities."
    )
    text += " TPR without re-ranking." if numbers["reranked"] else ""
    few = None in [*numbers["verification"].values(), numbers["scores"]["mAP"]["low"]]
    return text + (" A dash: too few pairs or identities for this number." if few else "")


def _per_query(query: Embeddings, results: np.ndarray) -> pd.DataFrame:
    """A row per query; scores are empty for one without a match."""
    valid = results[:, MATCHES] > 0
    columns: dict[str, Any] = {"query": np.arange(len(query)), "identity": query.identities}
    columns |= {name: array for name in ("camera", "path") if (array := getattr(query, f"{name}s")) is not None}
    columns["matches"] = results[:, MATCHES].astype(int)
    scores = {"first_match_rank": results[:, FIRST_RANK], "AP": results[:, STANDARD]}
    scores |= {"AP_trapezoid": results[:, TRAPEZOID], "INP": results[:, MATCHES] / np.maximum(results[:, LAST_RANK], 1)}
    scores |= {"R-precision": results[:, R_PRECISION], "AP@R": results[:, AT_R]}
    return pd.DataFrame(columns | {name: np.where(valid, values, np.nan) for name, values in scores.items()})


if __name__ == "__main__":
    run_command(main)
