"""Exports a trained network as a SavedModel that runs without this repository.

python -m PROJECT.export [RUN] [--training flipping_loss] [--seed 0] [--out FOLDER]
"""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import tyro

from common import config as run_config
from common.training import epochs_done

from .config import Config, Trial, trials
from .evaluate import INFERENCES, restore
from .model import FlipModel
from .train import read


def export(model: FlipModel, folder: Path) -> None:
    """Writes a SavedModel with the signatures `single` and `double`: images (B, H, W, 3) uint8 -> (B, D) float32.

    Raises:
        ValueError: the folder exists.
    """
    if folder.exists():
        raise ValueError(f"{folder} exists; choose another --out, or remove it.")
    archive = keras.export.ExportArchive()
    signature = [keras.InputSpec(shape=model.single.input_shape, dtype="uint8")]
    for name in INFERENCES:
        graph = getattr(model, name)
        archive.track(graph)
        archive.add_endpoint(name, functools.partial(graph.call, training=False), signature)
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    archive.write_out(temporary, verbose=False)
    temporary.rename(folder)


@dataclass(frozen=True)
class Arguments:
    """Exports a trained network as a SavedModel with the signatures single and double."""

    run: tyro.conf.Positional[Path | None] = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    training: str = "flipping_loss"  # which of its trainings
    seed: int = 0  # and which seed
    out: Path | None = None  # folder to write; default: savedmodel in the training's folder


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    run = arguments.run or run_config.newest_run(arguments.runs_dir, __package__)
    config, trial = run_config.load_config(run, Config), Trial(arguments.training, arguments.seed)
    finished = [known for known in trials(config) if epochs_done(run / known.name) >= config.epochs]
    if trial not in finished:
        names = [known.name for known in finished]
        raise ValueError(f"{run} has no finished training {trial.name}; finished are {names}.")
    folder = arguments.out or run / trial.name / "savedmodel"
    export(restore(run, config, trial, read(config).train.identity.nunique()), folder)
    print(f"SavedModel with signatures {', '.join(INFERENCES)}: {folder}")


if __name__ == "__main__":
    run_config.run_command(main)
