"""Embeds pictures by a trained network into Parquet files.

python -m PROJECT.embed [PICTURES] [--out FOLDER] [--shard I/N] [--trial flipping_loss-seed0] [--inference double]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import tyro

from common.datasets import pipeline
from common.datasets.images import boxes_of
from common.datasets.own_pictures import read_table
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.config import run_command
from common.experiments.identity import class_count, json_digest
from common.experiments.run_folder import chosen_trial, load_config, newest_run
from common.files import file_digest
from common.tools import embedding

from .config import Config, trials
from .data import is_finished, read
from .model import restore


@dataclass(frozen=True)
class Arguments(embedding.Arguments):
    __doc__ = embedding.Arguments.__doc__

    run: Path | None = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    trial: str | None = None  # the training, by the name of its folder in the run; default: the last finished one
    inference: Literal["single", "double"] = "double"  # of the image alone, or of it and its mirror


def run_set(config: Config) -> pd.DataFrame:
    """The test images of a run's own data set."""
    data = read(config)
    tables = [data.query.assign(split="query"), data.gallery.assign(split="gallery")]
    table = pd.concat(tables, ignore_index=True)
    return table if "label" in table else table.rename(columns={"identity": "label"})


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    run = arguments.run or newest_run(arguments.runs_dir, __package__)
    config = load_config(run, Config)
    table = run_set(config) if arguments.pictures is None else read_table(arguments.pictures)
    planned = list(trials(config))
    trial = chosen_trial(run, planned, lambda t: is_finished(config, t, None, run / t.name), arguments.trial)
    folder = run / trial.name
    model = getattr(restore(config, trial, class_count(folder, "train", "identity"), folder), arguments.inference)

    def embed(rows: pd.DataFrame) -> np.ndarray:
        return pipeline.predict(model, rows["path"], boxes=boxes_of(rows), image_size=config.image_size)

    fingerprint = json_digest([file_digest(folder / BEST_WEIGHTS), arguments.inference, config.image_size])
    count = embedding.embed_pictures(table, embed, arguments, attribute="identity", fingerprint=fingerprint)
    print(f"{trial.name}, {arguments.inference} images: embedded {count:,} pictures.")


if __name__ == "__main__":
    run_command(main)
