"""The command line: python -m PROJECT.embed PICTURES --training FOLDER [--out FOLDER] [--shard I/N]."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tyro

from common.datasets.images import boxes_of
from common.datasets.own_pictures import read_table
from common.experiments.config import run_command
from common.tools import embedding

from .. import recognizer
from ..gallery.ingest import with_boxes


@dataclass(frozen=True, kw_only=True)
class Arguments(embedding.Arguments):
    __doc__ = embedding.Arguments.__doc__

    pictures: tyro.conf.Positional[Path]  # folder of class folders, or a CSV file
    training: Path  # folder of a finished training
    whole_images: bool = False  # where a network was trained on boxes: the images show nothing but the vehicle


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    table = read_table(arguments.pictures)
    network = recognizer.load(arguments.training)
    table = with_boxes(table, network, arguments.whole_images)

    def embed(rows: pd.DataFrame) -> np.ndarray:
        return network.embed(rows["path"], boxes_of(rows))["embedding"]

    attribute = next(iter(network.classes), "label")
    count = embedding.embed_pictures(table, embed, arguments, attribute=attribute, fingerprint=network.fingerprint)
    print(f"{arguments.training}: embedded {count:,} pictures.")


if __name__ == "__main__":
    run_command(main)
