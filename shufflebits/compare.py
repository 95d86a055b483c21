"""Merges the runs of several victim models and local sets: Fig. 2.6's grouped bars, Fig. 2.7's grid and its cells.

python -m PROJECT.compare [RUN ...] [--out FOLDER]
"""

from common.experiments import command

from .config import CompareArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, CompareArguments)

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.experiments.run_folder import load_config
from common.report import plots, tables

from .attacks.encryption_settings import PLAIN
from .attacks.reconstructions import image_file
from .config import RECONSTRUCTIONS, Config, Trial
from .data import read
from .evaluate import draw_images, shown_images
from .tables import ATTACKS, MODELS, attack_table, attributes_by_model, attributes_table, comparison_table


@dataclass(frozen=True)
class Run:
    """An evaluated run.

    Attributes:
        folder: of the run.
        config: of the run.
        records: the numbers of each of its trainings.
    """

    folder: Path
    config: Config
    records: list[dict[str, Any]]


def read_runs(folders: Sequence[Path]) -> dict[tuple[str, str], Run]:
    """Local set and victim model -> their run, in the publication's order.

    Raises:
        ValueError: there is none, one is not evaluated, or two are of one model and one set; the sentence names them.
    """
    runs: dict[tuple[str, str], Run] = {}
    for folder in folders:
        config = load_config(folder, Config)
        if not (folder / "report.json").is_file():
            raise ValueError(f"{folder} is not evaluated; do that first: make eval-{__package__} RUN={folder}")
        key = config.dataset, config.victim
        if key in runs:
            raise ValueError(
                f"{runs[key].folder} and {folder} both attack the model {config.victim!r} on {config.dataset}; "
                "pass one of them."
            )
        runs[key] = Run(folder, config, json.loads((folder / "report.json").read_text(encoding="utf-8"))["trials"])
    if not runs:
        raise ValueError(f"There is no evaluated run to compare; train a preset first: make train-{__package__}")
    places = {model: place for place, model in enumerate(MODELS)}
    return dict(sorted(runs.items(), key=lambda item: (item[0][0] != "market1501", item[0][0], places[item[0][1]])))


def compare(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Writes report and figures of several runs into `out`, prints the tables, and returns the numbers.

    Raises:
        ValueError: as of `read_runs`, or the runs do not have the same images.
    """
    runs = read_runs(folders)
    numbers = {key: run.records for key, run in runs.items()}
    sections = {"Mean cosine distance (Fig. 2.7)": comparison_table(numbers)}
    figures, accuracies = {}, {}
    for dataset in dict.fromkeys(dataset for dataset, _ in runs):
        groups = attributes_by_model(numbers, dataset)
        if groups:
            sections[f"Attributes of {dataset}, not encrypted (Fig. 2.6)"] = attributes_table(groups)
            accuracies[dataset] = groups
            draw_attributes(out / f"figures/attributes_{dataset}.png", groups)
            figures[f"figures/attributes_{dataset}.png"] = (
                f"Balanced accuracy (%) of each attribute on {dataset}, and chance (Fig. 2.6)."
            )
        grid = draw_grid(
            out / f"figures/reconstructions_{dataset}.png", [run for key, run in runs.items() if key[0] == dataset]
        )
        if grid:
            figures[f"figures/reconstructions_{dataset}.png"] = (
                f"Images of {dataset}, what is made of their plain features, and mean cosine distances (Fig. 2.7)."
            )
    for (dataset, model), records in numbers.items():
        sections[f"What encryption buys: {MODELS[model]}, {dataset} (section 2.4.3.4)"] = attack_table(records)
    values = {
        "balanced_accuracy": accuracies,
        "trials": [{"dataset": key[0], "victim": key[1], **record} for key, run in numbers.items() for record in run],
    }
    out.mkdir(parents=True, exist_ok=True)
    tables.write_report(out, tables.Report("Victim models and local sets", sections, figures), values)
    return values


def draw_attributes(path: Path, groups: dict[str, dict[str, float]]) -> None:
    """Fig. 2.6: a group of bars for each attribute, a bar in it for chance and for each victim model."""
    names = list(groups["chance"])
    heights = {group: [round(values[name]) for name in names] for group, values in groups.items()}
    plots.bars(path, heights, [name.replace("_", " ") for name in names], "attribute", "balanced accuracy (%)")


def draw_grid(path: Path, runs: Sequence[Run]) -> list[str]:
    """Fig. 2.7 of one local set: original images, and below them a row for each loss and victim model.

    Returns:
        The names of the rows; none where no run has reconstructed images, and then there is no figure.

    Raises:
        ValueError: a run has no reconstruction of an image that another one has.
    """
    trials = [
        (attack, run, record)
        for attack in RECONSTRUCTIONS
        for run in runs
        for record in [record for record in run.records if record["attack"] == attack][:1]
    ]
    if not trials:
        return []
    shown, rows = shown_images(read(runs[0].config)), {}
    for attack, run, record in trials:
        folder = run.folder / Trial(attack, record["seed"]).name
        files = [image_file(folder, PLAIN, image) for image in shown]
        absent = [file for file in files if not Path(file).is_file()]
        if absent:
            raise ValueError(
                f"{run.folder} has no {absent[0]}; runs on one local set must have the same users, and the images that "
                "their evaluation writes."
            )
        distance = record["cosine_distance"].get(PLAIN)
        name = f"{ATTACKS[attack]}, {MODELS[run.config.victim]}".replace(" + ", "\n+ ")
        rows[name + ("" if distance is None else f"\n{distance:.4f}")] = files
    draw_images(path, shown, rows)
    return list(rows)


def main(arguments: CompareArguments) -> None:
    """Command line."""
    project = arguments.runs_dir / __package__
    evaluated = sorted(path.parent for path in project.glob("*/report.json") if (path.parent / "config.json").exists())
    compare(arguments.runs or evaluated, arguments.out or project / "comparison")
