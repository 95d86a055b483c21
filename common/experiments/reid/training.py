"""Training in two stages: the new layers, then all of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.datasets import person_reid
from common.datasets.augmentation import Augmentation
from common.experiments.image_training import fit_on_images
from common.experiments.reid.config import ReIDConfig
from common.experiments.reid.network import TrainableNetwork
from common.experiments.reid.periodic_evaluation import TEST_MAP, PeriodicEvaluation, check_branches


def train_two_stages(
    config: ReIDConfig,
    model: TrainableNetwork,
    data: person_reid.ReIDData,
    folder: Path,
    *,
    seed: int,
    embedder: keras.Model,
    losses: Mapping[str, Any],
    targets: Callable[[Any], Mapping[str, Any]],
    augmentation: Augmentation,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Trains a network into `folder`: its new layers while the pretrained blocks are frozen, then all of them.

    Both stages follow the schedule from its beginning, so the first one is the warm-up and some epochs at the peak. The
    last weights of the second stage become its `best.weights.h5`, or those with the best test mAP (`choose_epoch`).

    Args:
        config: batches and schedule.
        model: with initial weights.
        data: whose training images are used; and its test images for the mAP in the log, if there is to be one.
        folder: of the training; the first stage has the folder `frozen` in it.
        seed: of batches and augmentation.
        embedder: the network that the test images are looked at with (`PeriodicEvaluation`).
        losses: of each output of the training graph.
        targets: labels (B,) -> what the losses compare those outputs with.
        augmentation: what may happen to an image.
        callbacks: as of `training.fit`.

    Raises:
        ValueError: after the first stage a branch cannot learn (`check_branches`). And as of `fit_on_images`.
    """
    stages = ((folder / "frozen", config.frozen_epochs, False), (folder, config.epochs, True))
    for stage, epochs, trainable in stages:
        for block in model.frozen_blocks:
            block.trainable = trainable
        evaluation = PeriodicEvaluation(embedder, data, config, stage.name, epochs)
        log = fit_on_images(
            config,
            model.training_model,
            data.train,
            np.unique(data.train.identity, return_inverse=True)[1],
            stage,
            losses=losses,
            targets=targets,
            augmentation=augmentation,
            classes_per_batch=config.identities_per_batch,
            images_per_class=config.images_per_identity,
            epochs=epochs,
            seed=seed,
            balance=config.balance,
            monitor=TEST_MAP if trainable and config.choose_epoch == "best_test" else None,
            monitor_every=config.evaluate_every,
            callbacks=[*callbacks, evaluation],
        )
        if not trainable and epochs:
            check_branches(log, stage)
