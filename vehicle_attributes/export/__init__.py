"""Exports a trained recognizer: images (B, H, W, 3) uint8, RGB -> `embedding` (B, D) and scores `ATTRIBUTE_logits`.

python -m PROJECT.export [RUN] [--trial cross_entropy-seed0] [--format onnx] [--out FOLDER]
"""

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
