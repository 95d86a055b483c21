"""The photographs of a run, and the blocks of 32×32 pixels that networks learn from."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from sklearn.datasets import load_sample_images

from common import distribution
from common.datasets.images import SUFFIXES as COMMON_SUFFIXES
from common.datasets.images import existing_folder, list_images, read_image, warn_left_out

from .bitstream.container import BLOCK
from .config import Config

SUFFIXES = (*COMMON_SUFFIXES, ".tif", ".tiff")


class Photographs(NamedTuple):
    """Images (H, W, 3) uint8, RGB, to train on and to judge by."""

    training: list[np.ndarray]
    test: list[np.ndarray]


def check(config: Config, strategy: distribution.Strategy) -> None:
    """Raises ValueError for several processes: the first one fits the bit models."""
    distribution.need_one_process(strategy, __package__)


def read(config: Config) -> Photographs:
    """The photographs of a run.

    Without a folder to judge by, the last tenth is for that, or of fewer than ten the right quarter of each.
    """
    images = read_photographs(config.data_dir)
    if config.test_dir is not None:
        training, test = images, read_photographs(config.test_dir)
    elif count := len(images) // 10:
        training, test = images[:-count], scaled(images[-count:], config.scales[0])
    else:
        edges = [image.shape[1] * 3 // 4 for image in images]
        training = [image[:, :edge] for image, edge in zip(images, edges)]
        test = scaled([image[:, edge:] for image, edge in zip(images, edges)], config.scales[0])
    return Photographs([image for scale in config.scales for image in scaled(training, scale)], test)


def describe(config: Config, data: Photographs) -> str:
    """What and how much is trained on."""
    return (
        f"{len(data.training) // len(config.scales)} photographs to train on, {len(data.test)} to judge by, "
        f"{config.code_lengths} bits, {config.epochs} epochs"
    )


def read_photographs(folder: Path | None) -> list[np.ndarray]:
    """The images (H, W, 3) uint8, RGB, of a folder and the folders in it, by name.

    Args:
        folder: None reads the two photographs that scikit-learn ships.

    Raises:
        ValueError: there is no such folder, no image in it, or one that cannot be read.
    """
    if folder is None:
        return [np.ascontiguousarray(image) for image in load_sample_images().images]
    paths, others = list_images(existing_folder(folder), nested=True, suffixes=SUFFIXES)
    warn_left_out(folder, others, 2)
    if not paths:
        raise ValueError(f"{folder} has no images ({', '.join(SUFFIXES)}). Check --data-dir.")
    return [read_image(path) for path in paths]


def scaled(images: Sequence[np.ndarray], scale: float) -> list[np.ndarray]:
    """The images with height and width times a factor of at most 1, against artifacts of those that were JPEG files."""
    if scale == 1:
        return list(images)
    return [cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for image in images]


def training_blocks(images: Sequence[np.ndarray], half_overlapping: bool = True) -> np.ndarray:
    """(N, 32, 32, 3) uint8: all whole blocks of images, every 16 pixels if they may overlap by half, else every 32."""
    step = BLOCK // 2 if half_overlapping else BLOCK
    windows = [
        np.lib.stride_tricks.sliding_window_view(image, (BLOCK, BLOCK), axis=(0, 1))[
            ::step, ::step
        ]  # (R, C, 3, 32, 32)
        for image in images
        if min(image.shape[:2]) >= BLOCK
    ]
    if not windows:
        raise ValueError(f"No image has {BLOCK} × {BLOCK} pixels, so there is no block to train on.")
    return np.concatenate([w.reshape(-1, 3, BLOCK, BLOCK).transpose(0, 2, 3, 1) for w in windows])
