"""How one network is trained."""

from functools import partial
from pathlib import Path

import numpy as np

from common import distribution
from common.datasets.augmentation import Augmentation
from common.datasets.image_folder import LabeledImages
from common.experiments import entry
from common.experiments.image_training import fit_on_images

from . import recognizer
from .config import Config, Trial, trials
from .data import check, describe, read
from .model import build, losses, targets
from .open_set import training_rows
from .recognizer import Recognizer


def train_trial(
    config: Config, trial: Trial, data: LabeledImages, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one network into `folder` and leaves it there as a recognizer."""
    if (folder / recognizer.NETWORK).exists():
        return
    table = training_rows(config, trial, data.train)
    classes = {name: sorted(table[name].unique()) for name in config.attributes}
    with strategy.scope():
        model = build(config, trial, {name: len(names) for name, names in classes.items()})
    fit_on_images(
        config,
        model.training_model,
        table,
        np.stack([np.unique(table[name], return_inverse=True)[1] for name in config.attributes], axis=1),
        folder,
        losses=losses(model, trial.loss, config.label_smoothing),
        targets=partial(targets, model, trial.loss, config.attributes),
        augmentation=Augmentation(padding=config.padding, erasing=config.erasing),
        classes_per_batch=config.classes_per_batch,
        images_per_class=config.images_per_class,
        epochs=config.epochs,
        seed=trial.seed,
    )
    if distribution.is_chief(strategy):
        recognizer.save(Recognizer(model.inference_model, classes), folder)


train = entry.Training(__package__, trials, read, describe, train_trial, check)
