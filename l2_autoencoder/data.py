"""The images of a run: which of them a training sees, and how their pixels are scaled."""

import numpy as np

from common.datasets import digits

from .clustering import keep_a_tenth
from .config import Config, Trial


def read(config: Config) -> digits.Digits:
    """The data set of a run."""
    return digits.read(config.dataset, config.data_dir)


def describe(config: Config, data: digits.Digits) -> str:
    """What and how much is trained on."""
    return (
        f"{config.dataset}, {len(data.train_images):,} + {len(data.test_images):,} images of "
        f"{data.train_images.shape[1:]}, {config.epochs} epochs"
    )


def training_images(config: Config, trial: Trial, data: digits.Digits) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, H, W, 1) that a trial trains on and clusters, and their labels (N,)."""
    if trial.abnormal_digit is not None:
        rows = keep_a_tenth(data.train_labels, trial.abnormal_digit, trial.seed)
        return scaled(data.train_images[rows], config), data.train_labels[rows]
    if config.split == "train":
        return scaled(data.train_images, config), data.train_labels
    return scaled(data.images, config), data.labels


def scaled(images: np.ndarray, config: Config) -> np.ndarray:
    """Pixels in [0, 1], in the config's `pixel_range`."""
    return images if config.pixel_range == "0..1" else images * 2 - 1
