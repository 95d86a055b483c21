"""How one autoencoder is trained."""

from collections.abc import Callable
from pathlib import Path

import grain
import keras
import numpy as np
import pandas as pd

from common import distribution
from common.datasets import batches, digits
from common.experiments import entry, training

from .config import Config, Trial, trials
from .data import describe, read, training_images
from .model import build


def train_trial(
    config: Config, trial: Trial, data: digits.Digits, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one autoencoder into `folder`."""
    images, _ = training_images(config, trial, data)
    with strategy.scope():
        model = build(config, trial, images.shape[1:]).training_model
    fit_autoencoder(
        model,
        images,
        folder,
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seed=trial.seed,
    )


def fit_autoencoder(
    model: keras.Model,
    images: np.ndarray,
    folder: Path,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> pd.DataFrame:
    """Trains a model to reconstruct images (N, H, W, C), and returns the log of `training.fit`."""
    compile_autoencoder(model, learning_rate)
    steps = batches.steps_per_epoch(len(images), batch_size)
    pairs = image_pairs(images, batch_size, seed)
    return training.fit(model, pairs, steps_per_epoch=steps, epochs=epochs, folder=folder)


def compile_autoencoder(model: keras.Model, learning_rate: float) -> None:
    """Makes a model ready to reconstruct images (Eq. 5.4)."""
    with distribution.strategy_of(model).scope():
        model.compile(keras.optimizers.Adam(learning_rate), "mse", jit_compile=distribution.jit())


def image_pairs(images: np.ndarray, batch_size: int, seed: int) -> Callable[[int], grain.MapDataset]:
    """First epoch -> endless batches of images (N, H, W, C), shuffled, each both what comes in and what goes out."""

    def pairs(first_epoch: int) -> grain.MapDataset:
        shuffled = batches.shuffled_batches(images, batch_size, seed=seed, first_epoch=first_epoch)
        return shuffled.map(lambda image: (image, image))

    return pairs


train = entry.Training(__package__, trials, read, describe, train_trial)
