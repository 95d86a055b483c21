"""How one network is trained."""

from pathlib import Path

from common import distribution
from common.datasets import person_reid
from common.datasets.augmentation import IMAGENET_MEAN, Augmentation
from common.experiments import entry
from common.experiments.reid import train_two_stages

from .config import Config, Trial, trials
from .data import check, describe, read
from .model import build, losses


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
        losses=losses(model),
        targets=lambda labels: dict.fromkeys(model.training_model.output, labels),
        augmentation=Augmentation(
            mirror=0.5 if trial.method == "baseline" else 0.0,  # the others see image and mirror both
            padding=config.padding,
            padding_color=IMAGENET_MEAN,
            gray_patch=config.gray_patch,
            erasing=config.erasing,
        ),
    )


train = entry.Training(__package__, trials, read, describe, train_trial, check)
