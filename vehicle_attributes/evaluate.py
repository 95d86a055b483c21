"""Evaluates a run: recognition by the nearest exemplars, report and figures.

python -m PROJECT.evaluate [RUN] [--publish]
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tyro
from sklearn.metrics import confusion_matrix
from tqdm import tqdm

from common import config as run_config
from common import distribution, figures, report
from common.datasets.images import boxes_of, read_image
from common.datasets.vehicles import VehicleData
from common.files import replacing

from . import dynamic, recognizer, results
from .config import Config, Trial, trials
from .recognition import choose_gallery, nearest_exemplars, scores
from .recognizer import CLASSES, NETWORK
from .train import read

METRICS, NEIGHBORS = "metrics.json", "neighbors.npz"
_CODE = [Path(__file__).with_name(f"{name}.py") for name in ("evaluate", "recognition", "dynamic")]
_SHOWN = 30  # classes in a figure or a table; with more of them the least accurate ones are shown


def evaluate_trial(run: Path, config: Config, trial: Trial, data: VehicleData) -> dict[str, Any]:
    """The numbers of one trained network; kept in its folder until its weights or this code change.

    Its folder also gets `neighbors.npz`: for each attribute the rows of the training table that are nearest to each
    test image.
    """
    folder = run / trial.name

    def make() -> dict[str, Any]:
        trained = recognizer.load(folder)
        if config.held_out:
            return asdict(trial) | dynamic.evaluate_trial(config, trial, trained, data)
        galleries = {
            a: choose_gallery(data.train[a].to_numpy(), config.exemplars, trial.seed) for a in config.attributes
        }
        rows = np.unique(np.concatenate(list(galleries.values())))
        exemplars = trained.embed(data.train["path"].iloc[rows], boxes_of(data.train.iloc[rows]))["embedding"]
        outputs = trained.embed(data.test["path"], boxes_of(data.test))
        record, neighbors = asdict(trial), {}
        for attribute, gallery in galleries.items():
            indices, _ = nearest_exemplars(outputs["embedding"], exemplars[np.isin(rows, gallery)])
            neighbors[attribute] = gallery[indices]  # (Q, k)
            record[attribute] = scores(
                data.test[attribute].to_numpy(),
                data.train[attribute].to_numpy()[neighbors[attribute]],
                outputs.get(f"{attribute}_logits"),
                trained.classes[attribute],
            ) | {"exemplars": len(gallery)}
        with replacing(folder / NEIGHBORS) as temporary:
            np.savez_compressed(temporary, **neighbors)
        return record

    return report.made_once(folder / METRICS, [folder / NETWORK, folder / CLASSES, *_CODE], make)


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
    planned = list(trials(config))
    finished = run_config.finished(run, planned, lambda trial: (run / trial.name / NETWORK).exists())
    with distribution.evaluation_strategy(config.strategy).scope():
        records = [evaluate_trial(run, config, trial, data) for trial in tqdm(finished, "evaluate")]
    pictures = _draw_losses(run, finished)
    heading = f"Paper and this run ({len(finished)} of {len(planned)} trainings)"
    if config.held_out:
        sections = {heading: results.dynamic_table(config, records), "Unknown classes": results.unknown_table(records)}
        results.draw_growth(run / "figures/growth.png", config, records)
        pictures["figures/growth.png"] = results.FIGURES["growth.png"]
    else:
        sections = {heading: results.run_table(config, records)}
        for attribute in config.attributes:
            sections[f"Accuracy (%) by {attribute}"] = class_table(attribute, config, data, records)
            pictures |= _draw_attribute(run, attribute, finished, data)
    report.write_report(
        run,
        f"{config.name}: {config.backbone} on {config.dataset}, {config.epochs} epochs",
        sections,
        pictures,
        {"config": run_config.to_json(config), "trials": records},
    )
    if publish:
        results.publish(config, records, run)
    return records


def class_table(attribute: str, config: Config, data: VehicleData, records: list[dict[str, Any]]) -> str:
    """Images of each class and its accuracy with each loss, mean over the seeds; the least accurate classes first."""
    by_loss = {
        loss: pd.DataFrame([r[attribute]["class_accuracies"] for r in records if r["loss"] == loss]).mean()
        for loss in config.losses
        if any(r["loss"] == loss for r in records)
    }
    table = pd.DataFrame(by_loss)
    train, test = (part[attribute].value_counts() for part in (data.train, data.test))
    rows = []
    for name in table.mean(axis=1).sort_values(kind="stable").index[:_SHOWN]:
        images = int(train.get(name, 0))
        cells = [f"{100 * value:.1f}" for value in table.loc[name]]
        rows.append([name, images, min(images, config.exemplars), int(test[name]), *cells])
    return report.table([attribute, "training images", "exemplars", "test images", *by_loss], rows)


def _draw_losses(run: Path, finished: list[Trial]) -> dict[str, str]:
    logs = {trial.name: pd.read_csv(run / trial.name / "log.csv")["loss"] for trial in finished}
    figures.curves(run / "figures/loss.png", logs, "epoch", "loss")
    return {"figures/loss.png": "Training loss with its L2 penalty."}


def _draw_attribute(run: Path, attribute: str, finished: list[Trial], data: VehicleData) -> dict[str, str]:
    """Confusion of the first seed with each loss, and the nearest exemplars of test images with the best of them."""
    first = [trial for trial in finished if trial.seed == finished[0].seed]
    neighbors = {}
    for trial in first:
        with np.load(run / trial.name / NEIGHBORS) as file:
            neighbors[trial.name] = file[attribute]
    labels, true = data.train[attribute].to_numpy(), data.test[attribute].to_numpy()
    names = list(pd.Series(true).value_counts().index[:_SHOWN].sort_values())
    matrices = {name: confusion_matrix(true, labels[found[:, 0]], labels=names) for name, found in neighbors.items()}
    figures.confusion(run / f"figures/confusion_{attribute}.png", matrices, "found", attribute, names)
    name, found = max(neighbors.items(), key=lambda item: np.mean(labels[item[1][:, 0]] == true))
    chosen = _spread(true, labels[found[:, 0]] == true)
    rows = [[_vehicle(data.test, i), *(_vehicle(data.train, j) for j in found[i])] for i in chosen]
    figures.ranked_lists(run / f"figures/nearest_{attribute}.png", rows, [labels[found[i]] == true[i] for i in chosen])
    return {
        f"figures/confusion_{attribute}.png": f"Test images by their {attribute} and that of the nearest exemplar.",
        f"figures/nearest_{attribute}.png": (
            f"Test images (orange) and the nearest exemplars, of the same {attribute} (green) or another (red), {name}."
        ),
    }


def _spread(true: np.ndarray, right: np.ndarray, count: int = 6) -> list[int]:
    """Some test images of different classes, half of them recognized and half not, as far as there are such."""
    chosen: list[int] = []
    for wanted, number in ((True, count // 2), (False, count)):
        firsts = pd.Series(np.flatnonzero(right == wanted)).groupby(true[right == wanted]).first()
        chosen += list(firsts.iloc[np.linspace(0, len(firsts) - 1, min(number, len(firsts))).astype(int)])
    return [int(i) for i in chosen[:count]]


def _vehicle(table: pd.DataFrame, row: int) -> np.ndarray:
    box = boxes_of(table.iloc[[row]])
    return read_image(table["path"].iloc[row], (96, 96), None if box is None else tuple(box[0]))


def main() -> None:
    """Command line."""
    arguments = tyro.cli(run_config.EvaluationArguments)
    evaluate(arguments.folder(__package__), arguments.publish)


if __name__ == "__main__":
    run_config.run_command(main)
