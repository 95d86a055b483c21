"""Exports a trained network as a SavedModel that runs without this repository.

python -m PROJECT.export [RUN] [--method flipping_loss] [--seed 0] [--out FOLDER]
"""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import tyro

from common.distribution import need_tensorflow
from common.experiments.config import run_command
from common.experiments.identity import class_count
from common.experiments.run_folder import finished_trials, load_config, newest_run

from .config import Config, Trial, trials
from .data import is_finished
from .model import FlipModel, restore

SIGNATURES = ("single", "double")


def export(model: FlipModel, folder: Path) -> None:
    """Writes a SavedModel with the signatures `single` and `double`: images (B, H, W, 3) uint8 -> (B, D) float32.

    Raises:
        ValueError: the folder exists, or the backend is not TensorFlow.
    """
    need_tensorflow("A SavedModel")
    if folder.exists():
        raise ValueError(f"{folder} exists; choose another --out, or remove it.")
    archive = keras.export.ExportArchive()
    images = [keras.InputSpec(shape=model.single.input_shape, dtype="uint8")]
    for name in SIGNATURES:
        graph = getattr(model, name)
        archive.track(graph)
        archive.add_endpoint(name, functools.partial(graph.call, training=False), images)
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    archive.write_out(temporary, verbose=False)
    temporary.rename(folder)


@dataclass(frozen=True)
class Arguments:
    """Exports a trained network as a SavedModel with the signatures single and double."""

    run: tyro.conf.Positional[Path | None] = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    method: str = "flipping_loss"  # which of its trainings
    seed: int = 0  # and which seed
    out: Path | None = None  # folder to write; default: savedmodel in the training's folder


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    run = arguments.run or newest_run(arguments.runs_dir, __package__)
    config, trial = load_config(run, Config), Trial(arguments.method, arguments.seed)
    finished = finished_trials(run, list(trials(config)), lambda t: is_finished(config, t, None, run / t.name))
    if trial not in finished:
        names = [t.name for t in finished]
        raise ValueError(f"{run} has no finished training {trial.name}; finished are {names}.")
    folder = arguments.out or run / trial.name / "savedmodel"
    trained = run / trial.name
    export(restore(config, trial, class_count(trained, "train", "identity"), trained), folder)
    print(f"SavedModel with signatures {', '.join(SIGNATURES)}: {folder}")


if __name__ == "__main__":
    run_command(main)
