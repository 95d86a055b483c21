"""How one network is trained."""

from functools import partial
from pathlib import Path

from common import distribution
from common.datasets import person_reid
from common.datasets.augmentation import Augmentation
from common.experiments import entry
from common.experiments.reid import train_two_stages
from common.layers import FactorLog

from .config import Config, Trial, trials
from .data import check, describe, read
from .model import build, losses, targets


def train_trial(
    config: Config, trial: Trial, data: person_reid.ReIDData, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one network into `folder`: its new layers alone, then all of them."""
    with strategy.scope():
        model = build(config, trial, data.train.identity.nunique())
    train_two_stages(
        config,
        model,
        data,
        folder,
        seed=trial.seed,
        losses=losses(model, config.label_smoothing),
        targets=partial(targets, model),
        augmentation=Augmentation(padding=config.padding, erasing=0.5 if config.random_erasing else 0.0),
        callbacks=[FactorLog(model.regularizer)] if trial.regularization == "adaptive" else [],
    )


train = entry.Training(__package__, trials, read, describe, train_trial, check)
