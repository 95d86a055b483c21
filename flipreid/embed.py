"""Embeds pictures by a trained network into Parquet files.

python -m PROJECT.embed [PICTURES] [--out FOLDER] [--shard I/N] [--trial flipping_loss-seed0] [--inference double]
"""

from common.experiments import command

from .config import EmbedArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, EmbedArguments)

import numpy as np
import pandas as pd

from common.datasets import pipeline
from common.datasets.images import boxes_of
from common.datasets.own_pictures import read_table
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.identity import class_count, json_digest
from common.experiments.run_folder import chosen_trial, load_config, newest_run
from common.files import file_digest
from common.tools import embedding

from .config import Config, trials
from .data import is_finished, read
from .model import restore


def run_set(config: Config) -> pd.DataFrame:
    """The test images of a run's own data set."""
    data = read(config)
    tables = [data.query.assign(split="query"), data.gallery.assign(split="gallery")]
    table = pd.concat(tables, ignore_index=True)
    return table if "label" in table else table.rename(columns={"identity": "label"})


def main(arguments: EmbedArguments) -> None:
    """Command line."""
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
