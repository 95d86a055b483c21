"""Evaluates a run: retrieval scores, report and figures.

python -m PROJECT.evaluate [RUN] [--rerank] [--publish]
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

from common import config as run_config
from common import distribution, figures, report
from common.datasets import reid
from common.files import write_json
from common.reid import CODE, camera_table, draw_ranked_lists, embed, score_record
from common.retrieval import load_embeddings, rerank, save_embeddings, score
from common.training import BEST_WEIGHTS, epochs_done

from . import results
from .config import Config, Trial, trials
from .model import ReIDModel
from .train import build, read

METRICS, FEATURES = "metrics.json", "features.npz"


def with_mirror(inference: keras.Model) -> keras.Model:
    """Images (B, H, W, 3) -> `double`, the mean embedding (B, D) of each image and its horizontal mirror."""
    image = inference.input
    mean = keras.layers.Average()([inference(image), inference(keras.ops.flip(image, axis=2))])
    return keras.Model(image, {"double": mean})


def restore(run: Path, config: Config, trial: Trial, num_identities: int) -> ReIDModel:
    """The network of a trial with its trained weights."""
    model = build(config, trial, num_identities, pretrained=False)
    model.training.load_weights(run / trial.name / BEST_WEIGHTS)
    return model


def evaluate_trial(run: Path, config: Config, trial: Trial, data: reid.ReIDData, reranked: bool) -> dict[str, Any]:
    """The numbers of one trained network; kept in its folder until its weights or this code change.

    Its folder also gets `features.npz`, which `python -m common.retrieval` reads.
    """
    folder = run / trial.name

    def make() -> dict[str, Any]:
        model = restore(run, config, trial, data.train.identity.nunique())
        embedder = with_mirror(model.inference)
        query, gallery = (embed(embedder, table, config.image_size)["double"] for table in (data.query, data.gallery))
        save_embeddings(folder / FEATURES, query, gallery)
        scores = score(query, gallery)
        return {
            **asdict(trial),
            **score_record(scores, query),
            "valid_queries": scores.num_valid_queries,
            "skipped_queries": scores.num_skipped_queries,
            "factors": _factors(model),
        }

    record = report.made_once(folder / METRICS, [folder / BEST_WEIGHTS, Path(__file__), CODE], make)
    if reranked and "reranked_mAP" not in record:
        query, gallery = load_embeddings(folder / FEATURES)
        record |= score_record(score(query, gallery, distances=rerank(query, gallery)), query, "reranked_")
        write_json(folder / METRICS, record)
    return record


def _factors(model: ReIDModel) -> dict[str, list[float]]:
    """Category -> the factors λ_n of its arrays."""
    found: dict[str, list[float]] = {}
    if model.regularizer is not None:
        for category, factor in zip(
            model.regularizer.categories, keras.ops.convert_to_numpy(model.regularizer.factors())
        ):
            found.setdefault(category, []).append(float(factor))
    return found


def evaluate(run: Path, reranked: bool = False, publish: bool = False) -> list[dict[str, Any]]:
    """Evaluates the finished trials of a run and writes its report and figures.

    Args:
        run: run folder.
        reranked: also score the k-reciprocal re-ranking.
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
        records = [evaluate_trial(run, config, trial, data, reranked) for trial in tqdm(finished, "evaluate")]
    query, gallery = load_embeddings(run / finished[-1].name / FEATURES)
    pictures = draw(run, config, finished, records)
    draw_ranked_lists(query, gallery, data, run / "figures/ranked_lists.png")
    pictures["figures/ranked_lists.png"] = (
        f"Queries (orange) and the nearest images, right (green) or wrong (red), {finished[-1].name} (pub Fig. 5)."
    )
    report.write_report(
        run,
        f"{config.name}: {config.backbone} on {config.dataset}, {config.frozen_epochs} + {config.epochs} epochs",
        {
            f"Paper and this run ({len(finished)} of {len(planned)} trainings)": results.run_table(config, records),
            f"mAP (%) per camera pair, {finished[-1].name}": camera_table(query, gallery),
        },
        pictures,
        {"config": run_config.to_json(config), "trials": records},
    )
    if publish:
        results.publish(config, records, run)
    return records


def draw(run: Path, config: Config, finished: list[Trial], records: list[dict[str, Any]]) -> dict[str, str]:
    """Losses of all trainings, and factors (Fig. 2.2) of the first adaptive one."""
    logs = {trial.name: pd.read_csv(run / trial.name / "log.csv") for trial in finished}
    figures.curves(run / "figures/loss.png", {name: log["loss"] for name, log in logs.items()}, "epoch", "loss")
    pictures = {"figures/loss.png": "Training loss with its penalty (Eqs. 2.2, 2.7)."}
    adaptive = [(trial, record) for trial, record in zip(finished, records) if trial.regularization == "adaptive"]
    if adaptive:
        trial, record = adaptive[0]
        draw_factors(run, config, logs[trial.name], record["factors"])
        pictures["figures/factors.png"] = f"Median factor of each category, {trial.name} (Fig. 2.2a)."
        pictures["figures/factor_histogram.png"] = f"Factors after the last epoch, {trial.name} (Fig. 2.2b)."
    return pictures


def draw_factors(run: Path, config: Config, log: pd.DataFrame, factors: dict[str, list[float]]) -> None:
    """Fig. 2.2: medians per category over the iterations, and the histogram of the last epoch."""
    medians = {name: log[f"factor_{name}"] for name in factors}
    figures.curves(
        run / "figures/factors.png", medians, "iteration", "median factor", "linear", step=config.steps_per_epoch
    )
    # Training can only lower a factor, from A/2 on.
    edges = np.linspace(0, config.amplitude / 2, 6)
    counts = {name: np.histogram(np.clip(values, 0, edges[-1]), edges)[0] for name, values in factors.items()}
    bins = [f"{low:.4g} to {high:.4g}" for low, high in zip(edges[:-1], edges[1:])]
    figures.bars(run / "figures/factor_histogram.png", counts, bins, "factor", "arrays")


@dataclass(frozen=True)
class Arguments(run_config.EvaluationArguments):
    """Evaluates a run and prints the table «paper | this run»."""

    rerank: bool = False  # also score the k-reciprocal re-ranking (k1 20, k2 6, λ 0.3)


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    evaluate(arguments.folder(__package__), arguments.rerank, arguments.publish)


if __name__ == "__main__":
    run_config.run_command(main)
