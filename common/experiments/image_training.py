"""Fits a network on image files, in batches of P classes with K images each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd

from common import distribution
from common.backbones import check_weights
from common.datasets import pipeline
from common.datasets.augmentation import Augmentation
from common.experiments import training
from common.experiments.config import ImageTrainingConfig
from common.schedules import WarmUpAndDrops


def check_pretrained(config: ImageTrainingConfig) -> None:
    """Raises ValueError if the backbone's weights cannot be had, or are of another network."""
    check_weights(config.backbone, config.image_size, config.weights)


def fit_on_images(
    config: ImageTrainingConfig,
    model: keras.Model,
    table: pd.DataFrame,
    labels: np.ndarray,
    folder: Path,
    *,
    losses: Mapping[str, Any],
    targets: Callable[[Any], Mapping[str, Any]],
    augmentation: Augmentation,
    warmup_start: float | None = None,
    classes_per_batch: int,
    images_per_class: int,
    epochs: int,
    seed: int,
    balance: Literal["images", "identities"] = "identities",
    monitor: str | None = None,
    monitor_every: int = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> pd.DataFrame:
    """Trains the trainable layers with Adam, into `folder`, and returns the log of `training.fit`.

    Args:
        config: image size, steps and learning rates.
        model: images (B, H, W, 3) uint8 -> dictionary of outputs, built under the strategy that it is to train on.
        table: N rows with a column `path`, and columns of boxes if images are to be cut first.
        labels: (N,) or (N, A) as of `pipeline.training_batches`.
        folder: as of `training.fit`.
        losses: of each output.
        targets: labels (B,) or (B, A) -> what the losses compare the outputs with.
        augmentation: what may happen to an image.
        warmup_start: as `start` of `WarmUpAndDrops`.
        classes_per_batch: P.
        images_per_class: K.
        epochs: total number.
        seed: of batches and augmentation.
        balance: as of `pipeline.training_batches`.
        monitor: the logged score whose maximum decides which weights become `best.weights.h5`; None: the last ones.
        monitor_every: as of `training.fit`.
        callbacks: as of `training.fit`.

    Raises:
        ValueError: an image cannot be read; the sentence names it. And as of `training.fit`.
    """
    rate = WarmUpAndDrops(
        config.learning_rate, config.steps_per_epoch, config.warmup_epochs, config.drop_epochs, start=warmup_start
    )
    with distribution.strategy_of(model).scope():
        model.compile(keras.optimizers.Adam(rate), losses, jit_compile=distribution.jit())

    def batches(first_epoch: int):
        return pipeline.training_batches(
            table,
            labels=labels,
            image_size=config.image_size,
            identities_per_batch=classes_per_batch,
            images_per_identity=images_per_class,
            steps_per_epoch=config.steps_per_epoch,
            augmentation=augmentation,
            seed=seed,
            first_epoch=first_epoch,
            balance=balance,
        ).map(lambda batch: (batch[0], targets(batch[1])))

    return training.fit(
        model,
        batches,
        steps_per_epoch=config.steps_per_epoch,
        epochs=epochs,
        folder=folder,
        monitor=monitor,
        mode="max",
        monitor_every=monitor_every,
        callbacks=callbacks,
    )
