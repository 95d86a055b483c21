"""Evaluates a run: retrieval with single and double images, re-ranking, report and figures.

python -m PROJECT.evaluate [RUN] [--publish]
"""

import textwrap
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

from common import config as run_config
from common import distribution, figures, report
from common.datasets import reid
from common.metrics import cosine_distances
from common.reid import CODE, camera_table, draw_ranked_lists, embed, score_record
from common.retrieval import load_embeddings, rerank, save_embeddings, score
from common.training import BEST_WEIGHTS, epochs_done

from . import results
from .config import Config, Trial, trials
from .model import FlipModel
from .train import build, read

METRICS = "metrics.json"
INFERENCES = {"single": "single image", "double": "double images"}


def restore(run: Path, config: Config, trial: Trial, num_identities: int) -> FlipModel:
    """The network of a trial with its trained weights."""
    model = build(config, trial, num_identities, pretrained=False)
    model.training.load_weights(run / trial.name / BEST_WEIGHTS)
    return model


def features_file(inference: str) -> str:
    """Name of the file of features in the folder of a training; inference: "single" or "double"."""
    return f"features_{inference}.npz"


def evaluate_trial(run: Path, config: Config, trial: Trial, data: reid.ReIDData) -> dict[str, Any]:
    """The numbers of one trained network; kept in its folder until its weights or this code change.

    Its folder also gets files of features, which `python -m common.retrieval` reads.
    """
    folder = run / trial.name

    def make() -> dict[str, Any]:
        model = restore(run, config, trial, data.train.identity.nunique())
        queries, galleries = (embed(model.both, table, config.image_size) for table in (data.query, data.gallery))
        record: dict[str, Any] = {
            **asdict(trial),
            "gap": gap(galleries["single"].features, galleries["double"].features),
        }
        for inference in INFERENCES:
            query, gallery = queries[inference], galleries[inference]
            save_embeddings(folder / features_file(inference), query, gallery)
            record |= score_record(score(query, gallery), query, f"{inference}_")
            # Row 3.3: training with the flipping loss, inference with double images.
            if inference == "double" and trial.training in ("flipping_loss", "aggregator"):
                distances = rerank(query, gallery)
                record |= score_record(score(query, gallery, distances=distances), query, "reranked_")
        return record

    return report.made_once(folder / METRICS, [folder / BEST_WEIGHTS, Path(__file__), CODE], make)


def gap(single: np.ndarray, double: np.ndarray) -> float:
    """Mean cosine distance between the features (N, D) of single and of double images."""
    return float(np.mean(cosine_distances(single, double)))


def evaluate(run: Path, publish: bool = False) -> list[dict[str, Any]]:
    """Evaluates the finished trials of a run and writes its report and figures.

    Args:
        run: run folder.
        publish: also keep the numbers in the project's `results.json` and renew its README's tables.

    Raises:
        ValueError: not a run folder, or no training in it is finished.
    """
    config = run_config.load_config(run, Config)
    data = read(config)
    data = replace(data, gallery=data.gallery[data.gallery.identity != reid.JUNK])  # no neighbour in re-ranking either
    planned = list(trials(config))
    finished = run_config.finished(run, planned, lambda trial: epochs_done(run / trial.name) >= config.epochs)
    with distribution.evaluation_strategy(config.strategy).scope():
        records = [evaluate_trial(run, config, trial, data) for trial in tqdm(finished, "evaluate")]
    query, gallery = load_embeddings(run / finished[-1].name / features_file("double"))
    draw_ranked_lists(query, gallery, data, run / "figures/ranked_lists.png")
    report.write_report(
        run,
        f"{config.name}: {config.backbone} on {config.dataset}, {config.frozen_epochs} + {config.epochs} epochs",
        {
            f"Paper and this run ({len(finished)} of {len(planned)} trainings)": results.run_table(config, records),
            f"mAP (%) per camera pair, double images, {finished[-1].name}": camera_table(query, gallery),
        },
        draw(run, finished, records),
        {"config": run_config.to_json(config), "trials": records},
    )
    if publish:
        results.publish(config, records, run)
    return records


def draw(run: Path, finished: list[Trial], records: list[dict[str, Any]]) -> dict[str, str]:
    """Draws the losses and the scores; returns the captions of all figures."""
    logs = {trial.name: pd.read_csv(run / trial.name / "log.csv") for trial in finished}
    figures.curves(run / "figures/loss.png", {name: log["loss"] for name, log in logs.items()}, "epoch", "loss")
    trainings = list(dict.fromkeys(trial.training for trial in finished))
    heights = {
        label: [
            round(100 * np.mean([r[f"{inference}_mAP"] for r in records if r["training"] == training]), 1)
            for training in trainings
        ]
        for inference, label in INFERENCES.items()
    }
    names = [textwrap.fill(results.TRAININGS[training], 16) for training in trainings]
    figures.bars(run / "figures/inference.png", heights, names, "training", "mAP (%)")
    return {
        "figures/inference.png": "mAP of each training with each inference (Table 2.3), mean over seeds.",
        "figures/loss.png": "Training loss with its penalty.",
        "figures/ranked_lists.png": "Queries (orange) and the nearest images, right (green) or wrong (red), double "
        f"images, {finished[-1].name}.",
    }


def main() -> None:
    """Command line."""
    arguments = tyro.cli(run_config.EvaluationArguments)
    evaluate(arguments.folder(__package__), arguments.publish)


if __name__ == "__main__":
    run_config.run_command(main)
