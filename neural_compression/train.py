"""Trains the networks of a preset, one after the other, then evaluates the codec.

python -m PROJECT.train PRESET [--field value …]
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from common import config as run_config
from common import distribution, training

from . import components, trained
from .blocks import read_photographs, training_blocks
from .config import PRESETS, Config, Trial, trials
from .fitting import deblocking_pairs, fit, fit_bit_models, train_network
from .model import Autoencoder, build_autoencoder, build_deblocking

CODEC = "codec.npz"


def read(config: Config) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The photographs to train on, and those to judge by: a tenth of them, or of a few the right quarter of each."""
    images = read_photographs(config.data_dir, config.scale)
    if config.test_dir is not None:
        return images, read_photographs(config.test_dir)
    count = len(images) // 10
    if count:
        return images[:-count], images[-count:]
    edges = [image.shape[1] * 3 // 4 for image in images]
    return [i[:, :edge] for i, edge in zip(images, edges)], [i[:, edge:] for i, edge in zip(images, edges)]


def build(config: Config, trial: Trial, code_length: int, before: Autoencoder | None = None) -> Autoencoder:
    """One of a trial's networks with its initial weights: where shapes agree those of another, if that is given."""
    training.seed_everything(trial.seed)
    model = build_autoencoder(
        code_length,
        width=config.width,
        binarization=config.binarization,
        normalization=config.normalization,
        entropy_weight=config.entropy_weight,
        seed=trial.seed,
    )
    for old, new in zip(before.training.weights if before else (), model.training.weights):
        if old.shape == new.shape:
            new.assign(keras.ops.convert_to_numpy(old).copy())  # JAX gives a network's arrays away when it trains
    return model


def train_networks(
    config: Config, trial: Trial, blocks: np.ndarray, strategy: distribution.Strategy, folder: Path
) -> list[Autoencoder]:
    """Trains the publication's autoencoders of a trial, in rounds if they are a chain."""
    before = None
    for number in reversed(range(max(1, config.chain))):  # the last round, 0, is the one that counts
        networks, place = [], folder / f"earlier{number}" if number else folder
        for length in config.code_lengths:
            with strategy.scope():
                networks.append(build(config, trial, length, before))
            train_network(config, trial, networks[-1], blocks, place / f"bits{length}")
            before = networks[-1] if config.chain else None
    return networks


def train_trial(
    config: Config, trial: Trial, images: Sequence[np.ndarray], strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one codec into `folder`."""
    if (folder / CODEC).exists():
        return
    blocks = training_blocks(images, config.half_overlapping)
    if config.components:
        networks = components.fitted(blocks, config.components, config.code_lengths)
    else:
        networks = train_networks(config, trial, blocks, strategy, folder)
    deblocking = None
    if config.deblocking_epochs:
        with strategy.scope():
            deblocking = build_deblocking(config.deblocking_width)
        pairs = deblocking_pairs(networks, images, None if config.components else config.target_psnr)
        fit(config, trial, deblocking, pairs, folder / "deblocking", config.deblocking_epochs)
    if distribution.is_chief(strategy):
        settings = {name: getattr(config, name) for name in trained.SETTINGS}
        parts = [(network.encoder, network.decoder) for network in networks]
        bits = fit_bit_models(networks, images, components.BESIDE if config.components else None)
        trained.save(folder / CODEC, settings, parts, bits, deblocking)


def train(config: Config, strategy: distribution.Strategy | None = None) -> Path:
    """Trains all trials of `config`, continuing where an earlier call stopped; returns the run folder."""
    strategy = strategy or distribution.strategy(config.strategy)
    distribution.need_one_process(strategy, __package__)  # the first one fits the bit models
    images, test = read(config)
    run = run_config.open_run(config, __package__)
    training.write_environment(run)
    print(
        f"{__package__}: {len(images)} photographs to train on, {len(test)} to judge by; {len(config.seeds)} codec(s), "
        f"{config.code_lengths} bits, {config.epochs} epochs on {strategy.num_replicas_in_sync} device(s) -> {run}"
    )
    for trial in trials(config):
        train_trial(config, trial, images, strategy, run / trial.name)
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
