"""How one network is trained, and what it does on the test images meanwhile."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from common import distribution
from common.datasets import batches
from common.datasets.augmentation import Augmentation
from common.datasets.image_folder import LabeledImages
from common.datasets.images import boxes_of
from common.experiments import entry
from common.experiments.checkpoint import is_due
from common.experiments.image_training import check_pretrained, fit_on_images

from . import recognizer
from .config import UNTRAINED, Config, Trial, trials
from .data import check, describe, is_finished, read
from .gallery.voting import choose_gallery
from .model import build, losses, targets
from .open_set.split import balanced_rows, training_rows
from .recognition import TEST_ACCURACY, accuracy, nearest_exemplars
from .recognizer import Recognizer


class PeriodicAccuracy(keras.callbacks.Callback):
    """Adds `test_accuracy` to the logs of every so many epochs, and of the last one.

    It is the accuracy of what is reported in the end: of a retrained classifier that of its scores, else that of the
    nearest exemplar of the last attribute. Where classes are held out, the gallery has as many of each class, old or
    new, and images of all classes are queries.

    The network is only read, so a training is the same with and without it.

    Args:
        network: that is trained.
        config: of the run.
        trial: the training.
        data: whose training images are the exemplars, and whose test images are the queries.
    """

    def __init__(self, network: Recognizer, config: Config, trial: Trial, data: LabeledImages):
        super().__init__()
        self.network, self.config, self.trial, self.test = network, config, trial, data.test
        labels = data.train[config.attributes[-1]].to_numpy()
        if config.held_out:
            rows = balanced_rows(trial.seed, labels, config.exemplars)
        else:
            rows = choose_gallery(labels, config.exemplars, trial.seed)
        self.exemplars, self.labels = data.train.iloc[rows], labels[rows]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None and is_due(epoch, self.config.evaluate_every, self.config.epochs):
            true = self.test[self.config.attributes[-1]].to_numpy()
            logs[TEST_ACCURACY] = accuracy(true, self._predicted())
            tqdm.write(f"{self.trial.name}, epoch {epoch + 1}: {100 * logs[TEST_ACCURACY]:.1f} % of the test images")

    def _predicted(self) -> np.ndarray:
        name = self.config.attributes[-1]
        outputs = self.network.embed(self.test["path"], boxes_of(self.test))
        if self.trial.retrained_with:
            return np.array(self.network.classes[name])[np.argmax(outputs[f"{name}_logits"], axis=1)]
        exemplars = self.network.embed(self.exemplars["path"], boxes_of(self.exemplars))["embedding"]
        return self.labels[nearest_exemplars(outputs["embedding"], exemplars, 1)[0][:, 0]]


def train_trial(
    config: Config, trial: Trial, data: LabeledImages, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one network into `folder` and leaves it there as a recognizer."""
    if is_finished(config, trial, data, folder):
        return
    (folder / recognizer.NETWORK).unlink(missing_ok=True)  # of fewer epochs than there are to be now
    table = training_rows(config, trial, data.train)
    classes = {name: sorted(table[name].unique()) for name in config.attributes}
    with strategy.scope():
        model = build(config, trial, {name: len(names) for name, names in classes.items()})
    network = Recognizer(model.inference_model, classes, takes_boxes=boxes_of(table) is not None)
    if trial.loss != UNTRAINED:
        fit_on_images(
            replace(config, steps_per_epoch=config.steps_per_epoch or pass_steps(config, len(table))),
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
            callbacks=[PeriodicAccuracy(network, config, trial, data)] if config.evaluate_every else (),
        )
    if distribution.is_chief(strategy):
        folder.mkdir(parents=True, exist_ok=True)
        recognizer.save(network, folder)


def pass_steps(config: Config, num_images: int) -> int:
    """Batches that draw about as many images as there are, one at least."""
    return batches.steps_per_epoch(num_images, config.classes_per_batch * config.images_per_class)


train = entry.Training(__package__, trials, read, describe, train_trial, check, check_pretrained)
