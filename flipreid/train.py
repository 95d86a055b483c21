"""How one network is trained."""

from pathlib import Path

from common import distribution
from common.datasets import person_reid
from common.datasets.augmentation import Augmentation
from common.experiments import entry
from common.experiments.image_training import check_pretrained
from common.experiments.reid.training import train_two_stages

from .config import Config, Trial, trials
from .data import check, describe, read
from .model import build, losses

MEAN_COLOR = (124, 117, 104)  # 123.68, 116.779 and 103.939, ImageNet's mean as the author's program has it


def augmentation(config: Config, method: str) -> Augmentation:
    """What may happen to a training image of a method, section 2.1 (pub)."""
    return Augmentation(
        # FlipReID sees image and mirror both (section 2.2 (pub)); the program mirrors there too, to no effect.
        mirror=0.5 if method == "baseline" else 0.0,
        padding=config.padding / 2,
        padding_color=MEAN_COLOR,
        gray_patch=config.gray_patch,
        erasing=config.erasing,
        erasing_color=MEAN_COLOR,
    )


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
        embedder=model.single,  # as the author's program does, whatever the training
        losses=losses(model),
        targets=lambda labels: dict.fromkeys(model.training_model.output, labels),
        augmentation=augmentation(config, trial.method),
    )


train = entry.Training(__package__, trials, read, describe, train_trial, check, check_pretrained)
