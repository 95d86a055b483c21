"""The models that the adversary trains on the local set and its features."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from common import distribution
from common.backbones import build_backbone
from common.datasets.batches import shuffled_batches, steps_per_epoch
from common.experiments import training
from common.random_state import seeded

from ..config import Config, Trial, batches_per_step, epochs_of
from ..data import Parts, is_validation
from ..model import (
    Reconstruction,
    build_classifier,
    build_discriminator,
    build_generator,
    build_reconstruction,
    mean_square,
)
from . import attributes
from .adversarial import AdversarialTraining
from .image_batches import shuffled_image_batches


def build_reconstructor(config: Config, trial: Trial, num_features: int, pretrained: bool = True) -> Reconstruction:
    """The attack model for images with its initial weights.

    The network whose maps are compared is a part of the loss, and float32 whatever the config's precision.
    """
    with seeded(trial.seed):
        return _reconstructor(config, trial, num_features, pretrained)


def _reconstructor(config: Config, trial: Trial, num_features: int, pretrained: bool) -> Reconstruction:
    perceptual = None
    if trial.attack != "pixel":
        weights = config.perceptual_weights if pretrained else None
        with training.precision("float32"):
            perceptual = build_backbone(config.perceptual, config.reconstruction_size, weights)
    size, width = config.reconstruction_size, config.generator_width
    with training.precision(config.precision):
        generator = build_generator(num_features, size, width, config.generator_momentum)
    model = build_reconstruction(generator, perceptual)
    pairs = model.training_model
    if trial.attack == "adversarial":
        with training.precision(config.precision):
            discriminator = build_discriminator(num_features, size, width, config.spectral_normalization)
        graph = AdversarialTraining(pairs, discriminator, "features", config.adversarial_weight)
    else:
        graph = keras.Model(pairs.input, pairs.output["difference"], name="training")
    return replace(model, training_model=graph)


def train_classifier(
    config: Config, trial: Trial, parts: Parts, local: np.ndarray, users: np.ndarray, folder: Path
) -> None:
    """Section 4.2 (pub): features of the local images (N, D) -> their attributes.

    The users' (M, D) choose the best epoch where the config says so, and are not looked at otherwise.
    """
    labels = attributes.read_labels(parts.local, parts.users)
    # NOTE(paper): it monitors the mean balanced accuracy and does not say on which images. The author's program takes
    # the test set, which an adversary has no labels of; so by default a share of the local people is held out.
    if config.choose_best_on == "test":
        learned, judged = labels.annotated, (users, labels.users)
    else:
        held_out = is_validation(parts.local, config.validation_share)
        learned = labels.annotated & ~held_out
        judged = local[held_out], {name: values[held_out] for name, values in labels.local.items()}
    chosen = {name: values[learned] for name, values in labels.local.items()}
    # Inverse to the number of images of the class, one on average.
    weights = {name: compute_sample_weight("balanced", values).astype("float32") for name, values in chosen.items()}
    samples = (local[learned], chosen, weights)
    steps = steps_per_epoch(len(samples[0]), config.classifier_batch)
    with seeded(trial.seed):
        model = build_classifier(local.shape[1], labels.classes)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [config.classifier_epochs // 2 * steps - 1], [config.classifier_rate, config.classifier_rate / 5]
    )
    losses = {name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in labels.classes}
    model.compile(keras.optimizers.Adam(rate), losses, jit_compile=distribution.jit())
    monitor = f"{config.choose_best_on}_error"
    training.fit(
        model,
        lambda epoch: shuffled_batches(samples, config.classifier_batch, seed=trial.seed, first_epoch=epoch),
        steps_per_epoch=steps,
        epochs=epochs_of(config, trial, len(local)),
        folder=folder,
        monitor=monitor,
        callbacks=[attributes.BalancedAccuracy(monitor, *judged)],
    )


def train_reconstructor(
    config: Config, trial: Trial, parts: Parts, local: np.ndarray, users: np.ndarray, folder: Path
) -> None:
    """Section 4.3 (pub): features of the local images (N, D) -> the images; the users' are not looked at."""
    model = build_reconstructor(config, trial, local.shape[1]).training_model
    adams = [keras.optimizers.Adam(config.reconstruction_rate) for _ in range(2)]
    if trial.attack == "adversarial":
        model.compile(*adams)
    else:
        model.compile(adams[0], mean_square, jit_compile=distribution.jit())
    size = config.reconstruction_batch * batches_per_step(trial.attack)

    def batches(epoch: int):
        batches = shuffled_image_batches(
            parts.local.path,
            local,
            image_size=config.reconstruction_size,
            batch_size=size,
            seed=trial.seed,
            first_epoch=epoch,
        )
        return batches.map(lambda batch: ({"features": batch[0], "image": batch[1]}, batch[1]))

    epochs = epochs_of(config, trial, len(local))
    training.fit(model, batches, steps_per_epoch=len(local) // size, epochs=epochs, folder=folder, monitor=None)
