"""How one autoencoder is trained."""

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
    with distribution.strategy_of(model).scope():
        model.compile(keras.optimizers.Adam(learning_rate), "mse", jit_compile=distribution.jit())  # Eq. 5.4

    def image_pairs(first_epoch: int) -> grain.MapDataset:
        shuffled = batches.shuffled_batches(images, batch_size, seed=seed, first_epoch=first_epoch)
        return shuffled.map(lambda image: (image, image))

    steps = batches.steps_per_epoch(len(images), batch_size)
    return training.fit(model, image_pairs, steps_per_epoch=steps, epochs=epochs, folder=folder)


train = entry.Training(__package__, trials, read, describe, train_trial)
