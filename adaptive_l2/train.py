"""How one network is trained."""

from functools import partial
from pathlib import Path

from common import distribution
from common.datasets import person_reid
from common.datasets.augmentation import Augmentation
from common.experiments import entry
from common.experiments.image_training import check_pretrained
from common.experiments.reid.training import train_two_stages

from .config import Config, Trial, trials
from .data import check, describe, read
from .factors import FactorLog
from .model import build, losses, targets, with_mirror

ERASING_COLOR = (125, 123, 114)  # 0.4914, 0.4822 and 0.4465 of 255, as in the author's program


def augmentation(config: Config) -> Augmentation:
    """What may happen to a training image, section III-A and III-B (pub)."""
    erasing = 0.5 if config.random_erasing else 0.0
    # NOTE(paper): "zero paddings are added to all sides", without a number; the program's 20 pixels are in total.
    return Augmentation(padding=config.padding // 2, erasing=erasing, erasing_color=ERASING_COLOR)


def train_trial(
    config: Config, trial: Trial, data: person_reid.ReIDData, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one network into `folder`: its new layers alone, then all of them."""
    with strategy.scope():
        model = build(config, trial, data.train.identity.nunique())
        embedder = with_mirror(model.inference_model)
    train_two_stages(
        config,
        model,
        data,
        folder,
        seed=trial.seed,
        embedder=embedder,
        losses=losses(model, config.label_smoothing),
        targets=partial(targets, model),
        augmentation=augmentation(config),
        callbacks=[FactorLog(model.regularizer)] if model.regularizer else [],
    )


train = entry.Training(__package__, trials, read, describe, train_trial, check, check_pretrained)
