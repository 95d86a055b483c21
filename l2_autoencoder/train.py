"""Trains the autoencoders of a preset, one after the other, then evaluates them.

python -m PROJECT.train PRESET [--field value …]
"""

from pathlib import Path

import keras
import numpy as np

from common import config as run_config
from common import distribution, training
from common.datasets import batches, digits

from .clustering import keep_a_tenth
from .config import PRESETS, Config, Trial, trials
from .model import Autoencoder, build_autoencoder


def training_images(config: Config, trial: Trial, data: digits.Digits) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, H, W, 1) that a trial trains on and clusters, and their labels (N,)."""
    if trial.abnormal_digit is not None:
        kept = keep_a_tenth(data.train_labels, trial.abnormal_digit, trial.seed)
        return scaled(data.train_images[kept], config), data.train_labels[kept]
    if config.split == "train":
        return scaled(data.train_images, config), data.train_labels
    return scaled(data.images, config), data.labels


def scaled(images: np.ndarray, config: Config) -> np.ndarray:
    """Pixels in [0, 1] in the range that the config asks for."""
    return images if config.pixel_range == "0..1" else images * 2 - 1


def build(config: Config, trial: Trial, image_shape: tuple[int, int, int]) -> Autoencoder:
    """The autoencoder of a trial with its initial weights."""
    training.seed_everything(trial.seed)
    return build_autoencoder(
        image_shape,
        architecture=config.architecture,
        normalization=trial.normalization,
        placement=config.placement,
        embedding_size=config.embedding_size,
        activation=config.activation,
        initializer=config.initializer,
    )


def train_trial(
    config: Config, trial: Trial, data: digits.Digits, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one autoencoder into `folder`."""
    images, _ = training_images(config, trial, data)
    with strategy.scope():
        model = build(config, trial, images.shape[1:]).training
        model.compile(keras.optimizers.Adam(config.learning_rate), "mse", jit_compile=distribution.jit())  # Eq. 5.4

    def image_pairs(first_epoch: int) -> batches.Dataset:
        shuffled = batches.shuffled_batches(images, config.batch_size, seed=trial.seed, first_epoch=first_epoch)
        return shuffled.map(lambda image: (image, image))

    training.fit(
        model,
        image_pairs,
        steps_per_epoch=batches.steps_per_epoch(len(images), config.batch_size),
        epochs=config.epochs,
        folder=folder,
    )


def train(config: Config, strategy: distribution.Strategy | None = None) -> Path:
    """Trains all trials of `config`, continuing where an earlier call stopped; returns the run folder."""
    strategy = strategy or distribution.strategy(config.strategy)
    data = digits.read(config.dataset, config.data_dir)
    run = run_config.open_run(config, __package__)
    training.write_environment(run)
    count = len(list(trials(config)))
    print(
        f"{__package__}: {config.dataset}, {len(data.train_images):,} + {len(data.test_images):,} images of "
        f"{data.train_images.shape[1:]}; {count} trainings of {config.epochs} epochs on "
        f"{strategy.num_replicas_in_sync} device(s) -> {run}"
    )
    for trial in trials(config):
        train_trial(config, trial, data, strategy, run / trial.name)
    return run


def main() -> None:
    """Command line."""
    from .evaluate import evaluate

    config = run_config.parse(PRESETS)
    strategy = distribution.strategy(config.strategy)
    run = train(config, strategy)
    if distribution.is_chief(strategy):
        evaluate(run)


if __name__ == "__main__":
    run_config.run_command(main)
