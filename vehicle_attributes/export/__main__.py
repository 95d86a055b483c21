"""Exports a trained recognizer: images (B, H, W, 3) uint8, RGB -> `embedding` (B, D) and scores `ATTRIBUTE_logits`.

python -m PROJECT.export [RUN] [--trial cross_entropy-seed0] [--format onnx] [--out FOLDER]
"""

from common.experiments import command
from common.experiments.config import ExportArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, ExportArguments)

from collections.abc import Mapping
from pathlib import Path

import keras

from common.experiments.export import Export

from .. import recognizer
from ..config import Config, Trial, trials
from ..data import is_finished


def graphs(config: Config, trial: Trial, folder: Path) -> Mapping[str, keras.Model]:
    """`recognize`; the names of the classes are in `classes.json`, in the order of the scores."""
    return {"recognize": recognizer.load(folder).network}


export = Export(__package__.partition(".")[0], Config, trials, is_finished, graphs, files=(recognizer.CLASSES,))
main = export.main
