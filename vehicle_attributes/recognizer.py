"""A trained network as its users have it: image files in, embeddings and class scores out, without training data."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from common.backbones.ibn_resnet import InstanceBatchNormalization
from common.backbones.resnest import SplitAttention
from common.datasets import pipeline
from common.files import replacing, write_json
from common.random_state import seeded

from .arcface import CosineDense

NETWORK, CLASSES, INPUT = "recognizer.keras", "classes.json", "input.json"
# Layers of ours that a network may have; Keras must know them to load it, also where no network was built before.
_LAYERS = {layer.__name__: layer for layer in (CosineDense, InstanceBatchNormalization, SplitAttention)}


@dataclass(frozen=True)
class Recognizer:
    """What a training leaves behind.

    Its network computes in the precision that it was trained in, as the file says, so that a file has one embedding of
    an image; its outputs are float32.

    Attributes:
        network: images (B, H, W, 3) uint8, RGB -> dictionary of `embedding` (B, D) and, where the loss has a
            classifier, of each attribute's `ATTRIBUTE_logits` (B, C).
        classes: attribute -> the names of the C classes that it was trained with, in the order of the logits.
        takes_boxes: whether it was trained on boxes cut out of images, and not on whole ones.
    """

    network: keras.Model
    classes: Mapping[str, Sequence[str]]
    takes_boxes: bool = False

    @property
    def fingerprint(self) -> str:
        """A number of the embedding, as hexadecimal text: equal weights on equal image sizes give equal ones."""
        digest = hashlib.sha256(repr(self.network.input_shape).encode())
        for variable in self.network.weights:
            values = keras.ops.convert_to_numpy(variable)
            digest.update(f"{values.shape} {values.dtype}".encode() + np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def embed(self, paths: Sequence[str | Path], boxes: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The outputs of the network for N images, (N, ...) float32 each.

        Args:
            paths: of the images.
            boxes: (N, 4) pixels left, top, right, bottom of the vehicle in each; None takes whole images.

        Raises:
            ValueError: an image cannot be read, or a box lies outside of it; the sentence names the image.
        """
        return pipeline.predict(self.network, paths, boxes=boxes, image_size=self.network.input_shape[1:3])


def save(recognizer: Recognizer, folder: Path) -> None:
    """Writes the network and its classes into the folder of a training."""
    write_json(folder / CLASSES, {attribute: list(names) for attribute, names in recognizer.classes.items()})
    write_json(folder / INPUT, {"takes_boxes": recognizer.takes_boxes})
    with replacing(folder / NETWORK) as temporary:
        recognizer.network.save(temporary)


def load(folder: Path) -> Recognizer:
    """The recognizer that a training wrote into its folder.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    folder = Path(folder)
    if not all((folder / name).is_file() for name in (NETWORK, CLASSES, INPUT)):
        raise ValueError(
            f"{folder} has no trained recognizer: expected {NETWORK}, {CLASSES} and {INPUT} in it. Pass the folder of "
            "a finished training."
        )
    try:
        with zipfile.ZipFile(folder / NETWORK) as archive:
            if (part := archive.testzip()) is not None:  # Keras reads no checksums
                raise ValueError(f"{part} has another checksum")
        with seeded(0):  # a layer draws initial weights before it is given its own
            network = keras.saving.load_model(folder / NETWORK, custom_objects=_LAYERS, compile=False, safe_mode=True)
        classes, given = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (CLASSES, INPUT))
        takes_boxes = bool(given["takes_boxes"])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"The recognizer in {folder} is damaged ({error}). Train it again.") from error
    return Recognizer(network, classes, takes_boxes)
