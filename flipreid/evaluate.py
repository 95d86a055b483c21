"""Evaluates a run: retrieval with single and double images, re-ranking, report and figures.

python -m PROJECT.evaluate [RUN] [--publish] [--dataset duke --data-dir DIR]
"""

from common.experiments import command
from common.experiments.reid.config import ReIDArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, ReIDArguments)

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

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
from common.metrics import cosine_distances
from common.report import plots, tables
from common.retrieval import rerank, save_embeddings, score

from .config import Config, Trial, trials
from .data import is_finished, read
from .model import restore
from .tables import METHODS, publish, run_differences, run_table

METRICS = "metrics.json"
K1 = 20  # neighbors of re-ranking
FEATURES = {"single": "features_single.npz", "double": "features_double.npz"}


def evaluate_trial(
    config: Config, trial: Trial, data: person_reid.ReIDData, folder: Path, arguments: ReIDArguments
) -> dict[str, Any]:
    """The numbers of one trained network; cached in its folder.

    Its folder also gets files of features, which `python -m common.retrieval` reads.
    """

    def make() -> dict[str, Any]:
        model = restore(config, trial, class_count(folder, "train", "identity"), folder).single_and_double
        queries, galleries = (embed(model, table, config.image_size) for table in (data.query, data.gallery))
        record: dict[str, Any] = {
            **asdict(trial),
            "gap": gap(galleries["single"].features, galleries["double"].features),
            **learning_record(folder, TEST_MAP),
        }
        for inference, file in FEATURES.items():
            query, gallery = queries[inference], galleries[inference]
            protocol = protocol_of(query)
            save_embeddings(folder / file, query, gallery)
            record |= score_record(score(query, gallery, protocol=protocol), query, f"{inference}_")
            # Row 3.3: training with the flipping loss, inference with double images.
            enough = len(query) + len(gallery) > K1  # or re-ranking has not the neighbors that it looks at
            if enough and inference == "double" and trial.method in ("flipping_loss", "aggregator"):
                distances = rerank(query, gallery, k1=K1, protocol=protocol)
                scores = score(query, gallery, protocol=protocol, distances=distances)
                record |= score_record(scores, query, "reranked_")
        return record

    features = [folder / file for file in FEATURES.values()]
    return cached_json(folder / METRICS, [folder / BEST_WEIGHTS], __name__, make, features)


def gap(single: np.ndarray, double: np.ndarray) -> float:
    """Mean cosine distance between the features (N, D) of single and of double images."""
    return float(np.mean(cosine_distances(single, double)))


def report(results: entry.Results) -> tables.Report:
    """Tables and figures of a run."""
    draw_scores(results, results.run / "figures/inference.png")
    captions = {
        "figures/inference.png": "mAP of each training with each inference (Table 2.3), mean over seeds.",
    }
    table = run_table(results.config, results.records, untrained(results))
    last = results.trials[-1]
    folder = results.run / last.name
    model = restore(results.config, last, class_count(folder, "train", "identity"), folder).single
    return reid_report(results, table, run_differences(results.records), FEATURES["double"], captions, model)


def draw_scores(results: entry.Results, path: Path) -> None:
    """Bars of the mAP of each method with each inference."""
    methods = list(dict.fromkeys(trial.method for trial in results.trials))
    heights = {
        label: [
            round(100 * np.mean([r[f"{inference}_mAP"] for r in results.records if r["method"] == method]), 1)
            for method in methods
        ]
        for inference, label in (("single", "single image"), ("double", "double images"))
    }
    names = [textwrap.fill(METHODS[method], 16) for method in methods]
    plots.bars(path, heights, names, "training", "mAP (%)")


evaluate = entry.Evaluation(
    __package__,
    Config,
    trials,
    read,
    is_finished,
    evaluate_trial,
    report,
    publish,
    ReIDArguments,
    person_reid.ReIDData.without_junk,
    on_another_set,
)
main = evaluate.main
