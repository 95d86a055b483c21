"""Trains the networks of a preset, one after the other, then evaluates them.

python -m PROJECT.train PRESET [--field value …]
"""

from pathlib import Path

import keras
import numpy as np
import pandas as pd

from common import config as run_config
from common import distribution, training
from common.augmentation import Augmentation
from common.backbones import build_backbone
from common.datasets import identities, images, vehicles
from common.schedules import WarmUpAndDrops

from . import recognizer
from .config import PRESETS, Config, Trial, trials
from .dynamic import training_rows
from .model import AttributeModel, build_model, losses, targets
from .recognizer import Recognizer


def read(config: Config) -> vehicles.VehicleData:
    """The data set of a run."""
    return vehicles.read(config.dataset, config.data_dir, attributes=config.attributes, vehicles=config.vehicles)


def build(config: Config, trial: Trial, num_classes: dict[str, int]) -> AttributeModel:
    """The network of a trial with its initial weights."""
    training.seed_everything(trial.seed)
    weights = config.weights if config.weights != "none" else None
    backbone = build_backbone(config.backbone, config.image_size, weights)
    return build_model(backbone, num_classes, loss=trial.loss, l2_factor=config.l2_factor)


def train_model(config: Config, trial: Trial, model: AttributeModel, rows: pd.DataFrame, folder: Path) -> None:
    """Trains a network on the images of `rows`, into `folder`."""
    rate = WarmUpAndDrops(config.learning_rate, config.steps_per_epoch, config.warmup_epochs, config.drop_epochs)
    with distribution.strategy_of(model.training).scope():
        # XLA is off: it is slower on CPUs, and Keras has none beside deterministic kernels.
        model.training.compile(
            keras.optimizers.Adam(rate), losses(model, trial.loss, config.label_smoothing), jit_compile=False
        )
    labels = np.stack([np.unique(rows[name], return_inverse=True)[1] for name in config.attributes], axis=1)

    def batches(first_epoch: int):
        return images.training_batches(
            rows,
            labels=labels,
            image_size=config.image_size,
            identities_per_batch=config.classes_per_batch,
            images_per_identity=config.images_per_class,
            steps_per_epoch=config.steps_per_epoch,
            augmentation=Augmentation(padding=config.padding, erasing=config.erasing),
            seed=trial.seed,
            first_epoch=first_epoch,
        ).map(lambda batch, classes: (batch, targets(model, trial.loss, config.attributes, classes)))

    with images.naming_damaged_images():
        training.fit(
            model.training,
            batches,
            steps_per_epoch=config.steps_per_epoch,
            epochs=config.epochs,
            folder=folder,
            monitor=None,
        )


def train_trial(
    config: Config, trial: Trial, data: vehicles.VehicleData, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one network into `folder` and leaves it there as a recognizer."""
    if (folder / recognizer.NETWORK).exists():
        return
    rows = training_rows(config, trial, data.train)
    classes = {name: sorted(rows[name].unique()) for name in config.attributes}
    with strategy.scope():
        model = build(config, trial, {name: len(names) for name, names in classes.items()})
    train_model(config, trial, model, rows, folder)
    if distribution.is_chief(strategy):
        recognizer.save(Recognizer(model.inference, classes), folder)


def train(config: Config, strategy: distribution.Strategy | None = None) -> Path:
    """Trains all trials of `config`, continuing where an earlier call stopped; returns the run folder."""
    strategy = strategy or distribution.strategy(config.strategy)
    identities.check_parts(config.classes_per_batch, strategy.num_replicas_in_sync)
    data = read(config)
    run = run_config.open_run(config, __package__)
    training.write_environment(run)
    classes = ", ".join(f"{data.train[name].nunique()} of {name}" for name in config.attributes)
    print(
        f"{__package__}: {config.dataset}, {len(data.train):,} training and {len(data.test):,} test images, classes: "
        f"{classes}; {len(list(trials(config)))} trainings of {config.epochs} epochs on "
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
