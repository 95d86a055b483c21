"""Evaluates a run: retrieval scores, report and figures.

python -m PROJECT.evaluate [RUN] [--rerank] [--publish] [--dataset duke --data-dir DIR]
"""

from common.experiments import command

from .config import Arguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, Arguments)

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.datasets import person_reid
from common.experiments import entry
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.identity import cached_json, class_count
from common.experiments.learning_curve import learning_record
from common.experiments.reid.data import on_another_set
from common.experiments.reid.periodic_evaluation import TEST_MAP
from common.experiments.reid.report import reid_report
from common.experiments.reid.scores import embed, protocol_of, score_record
from common.experiments.reid.study import untrained
from common.files import write_json
from common.report import plots, tables
from common.retrieval import load_embeddings, rerank, save_embeddings, score

from .config import Config, Trial, trials
from .data import is_finished, read
from .factors import by_category
from .model import restore, with_mirror
from .tables import publish, run_differences, run_table

METRICS, FEATURES = "metrics.json", "features.npz"


def evaluate_trial(
    config: Config, trial: Trial, data: person_reid.ReIDData, folder: Path, arguments: Arguments
) -> dict[str, Any]:
    """The numbers of one trained network; cached in its folder.

    Its folder also gets `features.npz`, which `python -m common.retrieval` reads.
    """

    def make() -> dict[str, Any]:
        model = restore(config, trial, class_count(folder, "train", "identity"), folder)
        embedder = with_mirror(model.inference_model)
        query, gallery = (embed(embedder, table, config.image_size) for table in (data.query, data.gallery))
        save_embeddings(folder / FEATURES, query, gallery)
        scores = score(query, gallery, protocol=protocol_of(query))
        return {
            **asdict(trial),
            **score_record(scores, query),
            **learning_record(folder, TEST_MAP),
            "valid_queries": scores.num_valid_queries,
            "skipped_queries": scores.num_skipped_queries,
            "factors": {} if model.regularizer is None else by_category(model.regularizer),
        }

    record = cached_json(folder / METRICS, [folder / BEST_WEIGHTS], __name__, make, [folder / FEATURES])
    if arguments.rerank and "reranked_mAP" not in record:
        query, gallery = load_embeddings(folder / FEATURES)
        protocol = protocol_of(query)
        distances = rerank(query, gallery, protocol=protocol)
        record |= score_record(score(query, gallery, protocol=protocol, distances=distances), query, "reranked_")
        write_json(folder / METRICS, record)
    return record


def report(results: entry.Results) -> tables.Report:
    """Tables and figures of a run."""
    table = run_table(results.config, results.records, untrained(results))
    last = results.trials[-1]
    folder = results.run / last.name
    model = restore(results.config, last, class_count(folder, "train", "identity"), folder).inference_model
    return reid_report(results, table, run_differences(results.records), FEATURES, draw(results), model)


def draw(results: entry.Results) -> dict[str, str]:
    """Factors (Fig. 2.2) of the first adaptive training; returns the captions."""
    pairs = zip(results.trials, results.records)
    adaptive = [(trial, record) for trial, record in pairs if trial.regularization == "adaptive"]
    if not adaptive:
        return {}
    trial, record = adaptive[0]
    log = pd.read_csv(results.run / trial.name / "log.csv")
    draw_factors(results.run, results.config, log, record["factors"])
    return {
        "figures/factors.png": f"Median factor of each category, {trial.name} (Fig. 2.2a).",
        "figures/factor_histogram.png": f"Factors after the last epoch, {trial.name} (Fig. 2.2b).",
    }


def draw_factors(run: Path, config: Config, log: pd.DataFrame, factors: dict[str, list[float]]) -> None:
    """Fig. 2.2: medians per category over the iterations, and the histogram of the last epoch."""
    medians = {name: log[f"factor_{name}"] for name in factors}
    plots.curves(
        run / "figures/factors.png", medians, "iteration", "median factor", "linear", step=config.steps_per_epoch
    )
    # Training can only lower a factor, from A/2 on.
    edges = np.linspace(0, config.amplitude / 2, 6)
    counts = {name: np.histogram(np.clip(values, 0, edges[-1]), edges)[0] for name, values in factors.items()}
    bins = [f"{low:.4g} to {high:.4g}" for low, high in zip(edges[:-1], edges[1:])]
    plots.bars(run / "figures/factor_histogram.png", counts, bins, "factor", "weights")


evaluate = entry.Evaluation(
    __package__,
    Config,
    trials,
    read,
    is_finished,
    evaluate_trial,
    report,
    publish,
    Arguments,
    person_reid.ReIDData.without_junk,
    on_another_set,
)
main = evaluate.main
