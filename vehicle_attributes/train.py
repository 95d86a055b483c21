"""How one network is trained."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from common import distribution
from common.datasets import batches
from common.datasets.augmentation import Augmentation
from common.datasets.image_folder import LabeledImages
from common.experiments import entry
from common.experiments.image_training import check_pretrained, fit_on_images

from . import recognizer
from .config import Config, Trial, trials
from .data import check, describe, is_finished, read
from .model import build, losses, targets
from .open_set import training_rows
from .recognizer import Recognizer


def train_trial(
    config: Config, trial: Trial, data: LabeledImages, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one network into `folder` and leaves it there as a recognizer."""
    if is_finished(config, trial, data, folder):
        return
    (folder / recognizer.NETWORK).unlink(missing_ok=True)  # of fewer epochs than there are to be now
    table = training_rows(config, trial, data.train)
    steps = config.steps_per_epoch or pass_steps(config, len(table))
    classes = {name: sorted(table[name].unique()) for name in config.attributes}
    with strategy.scope():
        model = build(config, trial, {name: len(names) for name, names in classes.items()})
    fit_on_images(
        replace(config, steps_per_epoch=steps),
        model.training_model,
        table,
        np.stack([np.unique(table[name], return_inverse=True)[1] for name in config.attributes], axis=1),
        folder,
        losses=losses(model, trial.loss, config.label_smoothing),
        targets=partial(targets, model, trial.loss, config.attributes),
        # NOTE(paper): of augmentation the text names erasing alone; mirror, padding and crop are the recipe's.
        augmentation=Augmentation(mirror=0.5, padding=config.padding, erasing=config.erasing),
        classes_per_batch=config.classes_per_batch,
        images_per_class=config.images_per_class,
        epochs=config.epochs,
        seed=trial.seed,
        # NOTE(paper): "a low value"; the recipe of Luo et al. (2019) begins with 3.5e-5 of 3.5e-4.
        warmup_start=0.1,
    )
    if distribution.is_chief(strategy):
        recognizer.save(Recognizer(model.inference_model, classes), folder)


def pass_steps(config: Config, num_images: int) -> int:
    """Batches that draw about as many images as there are, one at least."""
    return batches.steps_per_epoch(num_images, config.classes_per_batch * config.images_per_class)


train = entry.Training(__package__, trials, read, describe, train_trial, check, check_pretrained)
