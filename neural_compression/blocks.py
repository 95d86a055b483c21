"""Photographs, and the blocks of 32×32 pixels that they are cut into."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_sample_images

from common.datasets.images import read_image

from .container import BLOCK

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def read_photographs(folder: Path | None, scale: float = 1.0) -> list[np.ndarray]:
    """The images (H, W, 3) uint8, RGB, of a folder and the folders in it, by name.

    Args:
        folder: None reads the two photographs that scikit-learn ships.
        scale: factor below one on height and width, against the artefacts of images that were JPEG files.

    Raises:
        ValueError: there is no such folder, no image in it, or one that cannot be read.
    """
    if folder is None:
        found = [np.ascontiguousarray(image) for image in load_sample_images().images]
    else:
        if not Path(folder).is_dir():
            raise ValueError(f"The data folder {folder} does not exist. Check --data-dir.")
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise ValueError(f"{folder} has no images ({', '.join(SUFFIXES)}). Check --data-dir.")
        found = [read_image(path) for path in paths]
    if scale == 1:
        return found
    return [cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for image in found]


def to_blocks(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) as (R, C, 32, 32, 3) blocks by raster scan; what lacks right and below repeats the edge."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    return np.ascontiguousarray(padded.reshape(rows, BLOCK, columns, BLOCK, 3).swapaxes(1, 2))


def to_image(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """The inverse of `to_blocks`: (R, C, 32, 32, 3) to (H, W, 3)."""
    rows, columns = blocks.shape[:2]
    image = blocks.swapaxes(1, 2).reshape(rows * BLOCK, columns * BLOCK, 3)
    return np.ascontiguousarray(image[:height, :width])


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
