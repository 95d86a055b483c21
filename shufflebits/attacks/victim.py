"""The victim model that is trained here: the party that the adversary attacks."""

from pathlib import Path

import keras
import numpy as np

from common import distribution
from common.backbones import build_backbone
from common.datasets.augmentation import Augmentation
from common.experiments import training
from common.experiments.checkpoint import BEST_WEIGHTS, epochs_done
from common.experiments.config import ImageTrainingConfig
from common.experiments.identity import class_count
from common.experiments.image_training import fit_on_images
from common.experiments.run_folder import load_config
from common.files import save_weights
from common.random_state import seeded

from ..config import Config
from ..data import Parts
from ..model import Victim, build_victim, victim_losses

FOLDER = "victim"  # in the run folder


def build(config: Config, num_identities: int, pretrained: bool = True) -> Victim:
    """The model with its initial weights."""
    weights = config.weights if pretrained else None
    with seeded(0), training.precision(config.precision):
        return build_victim(build_backbone(config.backbone, config.image_size, weights), num_identities)


def train(config: Config, parts: Parts, strategy: distribution.Strategy, run: Path) -> None:
    """Trains the model into a run folder, continuing where an earlier call stopped."""
    folder, epochs = run / FOLDER, config.victim_epochs
    schedule = ImageTrainingConfig(
        image_size=config.image_size,
        steps_per_epoch=config.steps_per_epoch,
        learning_rate=config.victim_rate,
        warmup_epochs=epochs // 6,
        drop_epochs=(epochs * 2 // 3, epochs * 11 // 12),
    )
    with strategy.scope():
        model = build(config, parts.victim.identity.nunique()).training_model
    fit_on_images(
        schedule,
        model,
        parts.victim,
        np.unique(parts.victim.identity, return_inverse=True)[1],
        folder,
        losses=victim_losses(),
        targets=lambda labels: dict.fromkeys(model.output, labels),
        augmentation=Augmentation(mirror=0.5, padding=0.05, erasing=0.5),
        classes_per_batch=config.identities_per_batch,
        images_per_class=config.images_per_identity,
        epochs=epochs,
        seed=0,
    )
    if epochs == 0:  # the backbone as it comes
        save_weights(model, folder / BEST_WEIGHTS)


def restore_embedder(run: Path) -> keras.Model:
    """The embedder of a run folder: images (B, H, W, 3) uint8 -> features (B, D) of unit length.

    It computes in the precision that it was trained in, for the server as for an evaluation; features are float32.

    Raises:
        ValueError: not a run folder, or its victim model is not trained, or not here.
    """
    config, folder = load_config(run, Config), run / FOLDER
    if config.victim != "trained" or epochs_done(folder) < config.victim_epochs:
        raise ValueError(f"{run} has no trained victim model; train a preset with one, such as demo, to its end.")
    model = build(config, class_count(folder, "victim", "identity"), pretrained=False)
    model.training_model.load_weights(folder / BEST_WEIGHTS)
    return model.embedder
