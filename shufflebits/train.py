"""Trains the proprietary model of a preset, asks its server for features, trains threat models on them, and evaluates.

python -m PROJECT.train PRESET [--field value …]
"""

from pathlib import Path

from common import config as run_config
from common import distribution, training

from . import proprietary, scenarios
from .blackbox import collect, load, read
from .config import PRESETS, RECONSTRUCTIONS, Config, trials
from .threats import train_classifier, train_reconstructor

FEATURES = "features.npz"  # of the local images and the users', in the run folder


def train(config: Config, strategy: distribution.Strategy | None = None) -> Path:
    """Trains all models of `config`, continuing where an earlier call stopped; returns the run folder."""
    strategy = strategy or distribution.strategy(config.strategy)
    distribution.need_one_process(strategy, __package__)  # which serves the model that it trained, and asks it
    parts = read(config)
    run = run_config.open_run(config, __package__)
    training.write_environment(run)
    print(
        f"{__package__}: {config.dataset}, images: {len(parts.proprietary):,} for the proprietary model, "
        f"{len(parts.local):,} of {parts.local.identity.nunique():,} people for the adversary, {len(parts.users):,} of "
        f"users; {len(list(trials(config)))} threat models -> {run}"
    )
    if config.proprietary == "trained":
        proprietary.train(config, parts, strategy, run)
    if not (run / FEATURES).exists():
        with proprietary.black_box(run, config) as client:
            collect(config, parts, client, run / FEATURES)
    local, users = load(run / FEATURES)
    for trial in trials(config):
        seen = scenarios.on_words(local, users, trial.seed)[0] if trial.attack == "attributes_on_words" else local
        train_threat = train_reconstructor if trial.attack in RECONSTRUCTIONS else train_classifier
        with strategy.scope():
            train_threat(config, trial, parts, seen, run / trial.name)
    return run


def main() -> None:
    """Command line."""
    from .evaluate import evaluate

    config = run_config.parse(PRESETS)
    strategy = distribution.strategy(config.strategy)
    run = train(config, strategy)
    if distribution.is_chief(strategy):
        evaluate(run)


if __name__ == "__main__":
    run_config.run_command(main)
