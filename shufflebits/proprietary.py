"""The proprietary model that is trained here: the party that the adversary attacks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np

from common import config as run_config
from common import distribution, training
from common.augmentation import Augmentation
from common.backbones import build_backbone
from common.datasets import identities, images
from common.files import save_weights
from common.schedules import WarmUpAndDrops

from .blackbox import Parts, read
from .client import Client
from .config import Config
from .model import Proprietary, build_proprietary, proprietary_losses
from .server import serving

FOLDER = "proprietary"  # in the run folder


def build(config: Config, num_identities: int, pretrained: bool = True) -> Proprietary:
    """The model with its initial weights."""
    training.seed_everything(0)
    weights = config.weights if pretrained and config.weights != "none" else None
    return build_proprietary(build_backbone(config.backbone, config.image_size, weights), num_identities)


def train(config: Config, parts: Parts, strategy: distribution.Strategy, run: Path) -> None:
    """Trains the model into a run folder, continuing where an earlier call stopped."""
    identities.check_parts(config.identities_per_batch, strategy.num_replicas_in_sync)
    table, epochs, steps = parts.proprietary, config.proprietary_epochs, config.steps_per_epoch
    folder = run / FOLDER
    with strategy.scope():
        model = build(config, table.identity.nunique())
        rate = WarmUpAndDrops(config.proprietary_rate, steps, epochs // 6, (epochs * 2 // 3, epochs * 11 // 12))
        model.training.compile(keras.optimizers.Adam(rate), proprietary_losses(), jit_compile=False)

    def batches(first_epoch: int):
        return images.training_batches(
            table,
            labels=np.unique(table.identity, return_inverse=True)[1],
            image_size=config.image_size,
            identities_per_batch=config.identities_per_batch,
            images_per_identity=config.images_per_identity,
            steps_per_epoch=steps,
            augmentation=Augmentation(mirror=0.5, padding=0.05, erasing=0.5),
            seed=0,
            first_epoch=first_epoch,
        ).map(lambda batch, labels: (batch, dict.fromkeys(model.training.output, labels)))

    with images.naming_damaged_images():
        training.fit(model.training, batches, steps_per_epoch=steps, epochs=epochs, folder=folder, monitor=None)
    if epochs == 0:  # the backbone as it comes
        save_weights(model.training, folder / training.BEST_WEIGHTS)


def restore_embedder(run: Path) -> keras.Model:
    """The embedder of a run folder: images (B, H, W, 3) uint8 -> features (B, D) of unit length.

    Raises:
        ValueError: not a run folder, or its proprietary model is not trained, or not here.
    """
    config, weights = run_config.load_config(run, Config), run / FOLDER / training.BEST_WEIGHTS
    if config.proprietary != "trained" or training.epochs_done(run / FOLDER) < config.proprietary_epochs:
        raise ValueError(f"{run} has no trained proprietary model; train a preset with one, such as demo, to its end.")
    model = build(config, read(config).proprietary.identity.nunique(), pretrained=False)
    model.training.load_weights(weights)
    return model.embedder


@contextmanager
def black_box(run: Path, config: Config) -> Iterator[Client | None]:
    """A client of a server with the model of a run folder, all that the adversary has; None where it is not here."""
    if config.proprietary != "trained":
        yield None
        return
    with serving(restore_embedder(run)) as url:
        yield Client(url)
