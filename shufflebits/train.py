"""How one attack model is trained, and before the first one the victim model whose features it attacks."""

from pathlib import Path

from common import distribution
from common.experiments import entry

from .attacks import victim
from .attacks.collect import FEATURES, collect, load
from .attacks.encryption_settings import on_words
from .attacks.training import train_classifier, train_reconstructor
from .config import RECONSTRUCTIONS, Config, Trial, trials
from .data import Parts, check, check_pretrained, describe, read


def train_trial(config: Config, trial: Trial, parts: Parts, strategy: distribution.Strategy, folder: Path) -> None:
    """Trains one attack model into `folder`.

    The first one of a run trains the victim model too, if it is to be trained here, and collects its features.
    """
    run = folder.parent
    if not (run / FEATURES).exists():
        if config.victim == "trained":
            victim.train(config, parts, strategy, run)
        collect(config, parts, run)
    local, users = load(run)
    if trial.attack == "attributes_on_words":
        local, users = on_words(local, users, trial.seed)
    train_model = train_reconstructor if trial.attack in RECONSTRUCTIONS else train_classifier
    with strategy.scope():
        train_model(config, trial, parts, local, users, folder)


train = entry.Training(__package__, trials, read, describe, train_trial, check, check_pretrained)
