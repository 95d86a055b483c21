"""Exports a trained encoder: images (B, H, W, 1) uint8, 0 to 255 -> `embedding` (B, D), normalized as in training.

python -m PROJECT.export [RUN] [--trial l2-seed0] [--format onnx] [--out FOLDER]
"""

from common.experiments import command
from common.experiments.config import ExportArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, ExportArguments)

from collections.abc import Mapping
from pathlib import Path

import keras
from keras import layers

from common.experiments.checkpoint import is_finished
from common.experiments.export import Export

from .config import Config, Trial, trials
from .data import scaled
from .model import Autoencoder, restore

_SIZES = {"digits": 8, "usps": 16}  # of the images' sides; those of MNIST have 28


def graphs(config: Config, trial: Trial, folder: Path) -> Mapping[str, keras.Model]:
    """`embed`: the encoder, with the scaling of pixels inside."""
    size = _SIZES.get(config.dataset, 28)
    return {"embed": of_bytes(config, restore(config, trial, (size, size, 1), folder))}


def of_bytes(config: Config, autoencoder: Autoencoder) -> keras.Model:
    """The encoder of images (B, H, W, C) uint8, with 255 for white."""
    image = keras.Input(autoencoder.encoder.input_shape[1:], dtype="uint8", name="image")
    pixels = layers.Rescaling(1 / 255, dtype="float32")(image)
    return keras.Model(image, {"embedding": autoencoder.encoder(scaled(pixels, config))}, name="embed")


export = Export(__package__, Config, trials, is_finished, graphs)
main = export.main
