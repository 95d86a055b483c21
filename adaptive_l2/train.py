"""Trains the networks of a preset, one after the other, then evaluates them.

python -m PROJECT.train PRESET [--field value …]
"""

from pathlib import Path

import keras
import numpy as np

from common import config as run_config
from common import distribution, training
from common.augmentation import Augmentation
from common.backbones import build_backbone
from common.datasets import identities, images, reid
from common.layers import FactorLog
from common.schedules import WarmUpAndDrops

from .config import PRESETS, Config, Trial, trials
from .model import ReIDModel, build_model, losses, targets


def read(config: Config) -> reid.ReIDData:
    """The data set of a run."""
    return reid.read(config.dataset, config.data_dir, identities=config.people)


def build(config: Config, trial: Trial, num_identities: int, pretrained: bool = True) -> ReIDModel:
    """The network of a trial with its initial weights."""
    training.seed_everything(trial.seed)
    weights = config.weights if pretrained and config.weights != "none" else None
    return build_model(
        build_backbone(config.backbone, config.image_size, weights),
        num_identities,
        triplet=config.triplet,
        regional_branches=config.regional_branches,
        clipping=config.clipping,
        regularization=trial.regularization,
        factor=config.amplitude if trial.regularization == "adaptive" else config.constant_factor,
    )


def train_stage(config: Config, trial: Trial, model: ReIDModel, data: reid.ReIDData, folder: Path, epochs: int) -> None:
    """Trains the layers that are trainable, into `folder`."""
    rate = WarmUpAndDrops(config.learning_rate, config.steps_per_epoch, config.warmup_epochs, config.drop_epochs)
    with distribution.strategy_of(model.training).scope():
        # XLA is off: it is slower on CPUs, and Keras has none beside deterministic kernels.
        model.training.compile(keras.optimizers.Adam(rate), losses(model, config.label_smoothing), jit_compile=False)

    def batches(first_epoch: int):
        return images.training_batches(
            data.train,
            labels=np.unique(data.train.identity, return_inverse=True)[1],
            image_size=config.image_size,
            identities_per_batch=config.identities_per_batch,
            images_per_identity=config.images_per_identity,
            steps_per_epoch=config.steps_per_epoch,
            augmentation=Augmentation(padding=config.padding, erasing=0.5 if config.random_erasing else 0.0),
            seed=trial.seed,
            first_epoch=first_epoch,
        ).map(lambda batch, labels: (batch, targets(model, labels)))

    with images.naming_damaged_images():
        training.fit(
            model.training,
            batches,
            steps_per_epoch=config.steps_per_epoch,
            epochs=epochs,
            folder=folder,
            monitor=None,
            callbacks=[FactorLog(model.regularizer)] if trial.regularization == "adaptive" else [],
        )


def train_trial(
    config: Config, trial: Trial, data: reid.ReIDData, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one network into `folder`: its new layers alone, then all of them."""
    with strategy.scope():
        model = build(config, trial, data.train.identity.nunique())
    for stage, epochs, trainable in ((folder / "frozen", config.frozen_epochs, False), (folder, config.epochs, True)):
        for block in model.backbone:
            block.trainable = trainable
        train_stage(config, trial, model, data, stage, epochs)


def train(config: Config, strategy: distribution.Strategy | None = None) -> Path:
    """Trains all trials of `config`, continuing where an earlier call stopped; returns the run folder."""
    strategy = strategy or distribution.strategy(config.strategy)
    identities.check_parts(config.identities_per_batch, strategy.num_replicas_in_sync)
    data = read(config)
    run = run_config.open_run(config, __package__)
    training.write_environment(run)
    print(
        f"{__package__}: {config.dataset}, {len(data.train):,} images of {data.train.identity.nunique():,} people, "
        f"{len(data.query):,} queries, {len(data.gallery):,} in the gallery; {len(list(trials(config)))} trainings of "
        f"{config.frozen_epochs} + {config.epochs} epochs on {strategy.num_replicas_in_sync} device(s) -> {run}"
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
