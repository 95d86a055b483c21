"""The command line: python -m PROJECT.embed PICTURES --training FOLDER [--out FOLDER] [--shard I/N]."""

from common.experiments import command

from ..config import EmbedArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, EmbedArguments)

import numpy as np
import pandas as pd

from common.datasets.images import boxes_of
from common.datasets.own_pictures import read_table
from common.tools import embedding

from .. import recognizer
from ..gallery.ingest import with_boxes


def main(arguments: EmbedArguments) -> None:
    """Command line."""
    table = read_table(arguments.pictures)
    network = recognizer.load(arguments.training)
    table = with_boxes(table, network, arguments.whole_images)

    def embed(rows: pd.DataFrame) -> np.ndarray:
        return network.embed(rows["path"], boxes_of(rows))["embedding"]

    attribute = next(iter(network.classes), "label")
    count = embedding.embed_pictures(table, embed, arguments, attribute=attribute, fingerprint=network.fingerprint)
    print(f"{arguments.training}: embedded {count:,} pictures.")
