"""Exports a trained network: images (B, H, W, 3) uint8, RGB -> embeddings (B, D), `single` and `double`.

python -m PROJECT.export [RUN] [--trial flipping_loss-seed0] [--format onnx] [--out FOLDER]
"""

from common.experiments import command
from common.experiments.config import ExportArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, ExportArguments)

from collections.abc import Mapping
from pathlib import Path

import keras

from common.experiments.export import Export
from common.experiments.identity import class_count

from .config import Config, Trial, trials
from .data import is_finished
from .model import restore


def graphs(config: Config, trial: Trial, folder: Path) -> Mapping[str, keras.Model]:
    """`single` embeds each image, `double` each image and its mirror."""
    model = restore(config, trial, class_count(folder, "train", "identity"), folder)
    return {"single": model.single, "double": model.double}


export = Export(__package__, Config, trials, is_finished, graphs)
main = export.main
