"""Reconstructed images, in the folder of their training, and the features that the victim model has of them.

Where the model is not here, its owner embeds the images of the folder `reconstructions/SETTING` into the file
`reconstructions/SETTING.npz`, which has the form that `collect.read_features` reads.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..service.client import Client
from .collect import read_features
from .encryption_settings import FILE_NAMES, PLAIN

FOLDER = "reconstructions"


def image_file(folder: Path, setting: str, path: str) -> str:
    """Where the folder of a training has the reconstruction of an image from features in an encryption setting."""
    return str(folder / FOLDER / FILE_NAMES[setting] / Path(path).parent.name / f"{Path(path).stem}.png")


def features_file(folder: Path, setting: str) -> Path:
    """The file in which the owner of a model puts the features of a setting's reconstructions."""
    return folder / FOLDER / f"{FILE_NAMES[setting]}.npz"


def features_files(folder: Path) -> list[Path]:
    """Those that are there."""
    return [path for path in (features_file(folder, setting) for setting in FILE_NAMES) if path.exists()]


def embed(
    client: Client | None, images: np.ndarray, folder: Path, setting: str, paths: Sequence[str], dimensions: int
) -> np.ndarray | None:
    """The victim model's features (M, D) of reconstructions; None where its owner has yet to make them.

    Writes the images of plain features, for the figure, and those of all settings where the model is not here.

    Args:
        client: of the server with the model; None where it is not here.
        images: (M, H, W, 3) uint8, RGB.
        folder: of the training.
        setting: how the features were encrypted that the images are made of.
        paths: of the M original images.
        dimensions: D.

    Raises:
        ValueError: the file of features lacks something, or is of another model; the sentence says what.
    """
    files, made = [image_file(folder, setting, path) for path in paths], features_file(folder, setting)
    if setting == PLAIN or client is None and not made.exists():
        write_images(files, images)
    if client is not None:
        return client.embed(list(images))
    return read_features(made, files, dimensions) if made.exists() else None


def write_images(files: Sequence[str], images: np.ndarray) -> None:
    """Writes images (N, H, W, 3) uint8, RGB. They wait for no disk: an evaluation that was killed writes them anew."""
    for folder in {Path(file).parent for file in files}:
        folder.mkdir(parents=True, exist_ok=True)
    for file, image in zip(files, images):
        Path(file).write_bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
