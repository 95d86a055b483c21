"""The models that the adversary trains on the local set and its features."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from common.backbones import build_backbone
from common.datasets import pipeline
from common.datasets.batches import shuffled_batches, steps_per_epoch
from common.experiments import training

from ..config import Config, Trial, batches_per_step, epochs_of
from ..data import Parts, is_validation
from ..model import Reconstruction, build_classifier, build_discriminator, build_reconstruction, mean_square
from . import attributes
from .adversarial import AdversarialTraining


def build_reconstructor(config: Config, trial: Trial, num_features: int, pretrained: bool = True) -> Reconstruction:
    """The attack model for images with its initial weights."""
    training.seed_everything(trial.seed)
    perceptual = None
    if trial.attack != "pixel":
        weights = config.perceptual_weights if pretrained and config.perceptual_weights != "none" else None
        perceptual = build_backbone(config.perceptual, config.reconstruction_size, weights)
    size, width = config.reconstruction_size, config.generator_width
    model = build_reconstruction(num_features, size, width, perceptual)
    pairs = model.training_model
    if trial.attack == "adversarial":
        discriminator = build_discriminator(num_features, size, width)
        graph = AdversarialTraining(pairs, discriminator, "features", config.adversarial_weight)
    else:
        graph = keras.Model(pairs.input, pairs.output["difference"], name="training")
    return replace(model, training_model=graph)


def train_classifier(config: Config, trial: Trial, parts: Parts, features: np.ndarray, folder: Path) -> None:
    """Section 4.2 (pub): features (N, D) of the local images -> their attributes."""
    labels = attributes.read_labels(parts.local, parts.users)
    validation = is_validation(parts.local, config.validation_share)
    chosen = {name: values[~validation] for name, values in labels.local.items()}
    weights = {name: attributes.sample_weights(values) for name, values in chosen.items()}
    # The label of an unknown attribute counts for nothing, but must be a class.
    samples = (features[~validation], {name: np.maximum(values, 0) for name, values in chosen.items()}, weights)
    steps = steps_per_epoch(len(samples[0]), config.classifier_batch)
    training.seed_everything(trial.seed)
    model = build_classifier(features.shape[1], labels.classes)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(
        [config.classifier_epochs // 2 * steps - 1], [config.classifier_rate, config.classifier_rate / 5]
    )
    losses = {name: keras.losses.SparseCategoricalCrossentropy(from_logits=True) for name in labels.classes}
    model.compile(keras.optimizers.Adam(rate), losses, jit_compile=False)
    held_out = {name: values[validation] for name, values in labels.local.items()}
    training.fit(
        model,
        lambda epoch: shuffled_batches(samples, config.classifier_batch, seed=trial.seed, first_epoch=epoch),
        steps_per_epoch=steps,
        epochs=epochs_of(config, trial, len(features)),
        folder=folder,
        monitor="validation_error",
        callbacks=[attributes.BalancedAccuracy(features[validation], held_out)],
    )


def train_reconstructor(config: Config, trial: Trial, parts: Parts, features: np.ndarray, folder: Path) -> None:
    """Section 4.3 (pub): features (N, D) of the local images -> the images."""
    model = build_reconstructor(config, trial, features.shape[1]).training_model
    adams = [keras.optimizers.Adam(config.reconstruction_rate) for _ in range(2)]
    if trial.attack == "adversarial":
        model.compile(*adams)
    else:
        model.compile(adams[0], mean_square, jit_compile=False)
    size = config.reconstruction_batch * batches_per_step(trial)
    steps = len(features) // size
    if steps == 0:
        raise ValueError(f"The local set must have {size} images or more, got {len(features)}; lower the batch size.")

    def batches(epoch: int):
        return pipeline.shuffled_image_batches(
            parts.local.path, features, image_size=config.reconstruction_size, batch_size=size, seed=trial.seed,
            first_epoch=epoch,
        ).map(lambda vectors, image: ({"features": vectors, "image": image}, image))  # fmt: skip

    epochs = epochs_of(config, trial, len(features))
    with pipeline.naming_damaged_images():
        training.fit(model, batches, steps_per_epoch=steps, epochs=epochs, folder=folder, monitor=None)
