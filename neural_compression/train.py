"""How one codec is trained: its networks one after the other, the deblocking network, the bit models."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from common import distribution
from common.experiments import entry
from common.experiments.training import precision
from common.random_state import seeded

from .config import Config, Trial, trials
from .data import Photographs, check, describe, read, training_blocks
from .model import Autoencoder, build, build_deblocking
from .networks import codec_file, pyramid
from .networks.codec_file import CODEC
from .networks.training_stages import deblocking_pairs, fit, fit_bit_models, train_network, train_pyramid


def train_networks(
    config: Config, trial: Trial, blocks: np.ndarray, strategy: distribution.Strategy, folder: Path
) -> list[Autoencoder]:
    """Trains the publication's autoencoders of a trial.

    What is returned computes in float32, as a codec does: bit models and pairs for deblocking are made of its codes.
    """
    networks = []
    for length in config.code_lengths:
        with strategy.scope():
            networks.append(build(config, trial, length))
        train_network(config, trial, networks[-1], blocks, folder / f"bits{length}")
    if config.precision == "float32":
        return networks
    coding = replace(config, precision="float32")
    return [build(coding, trial, length, network) for length, network in zip(config.code_lengths, networks)]


def train_trial(config: Config, trial: Trial, data: Photographs, strategy: distribution.Strategy, folder: Path) -> None:
    """Trains one codec into `folder`."""
    if (folder / CODEC).exists():
        return
    blocks = training_blocks(data.training, config.half_overlapping)
    if config.closed_form:
        with strategy.scope(), seeded(trial.seed), precision(config.precision):
            start = pyramid.fitted(blocks, config.width, config.code_lengths)
            joint = start.training_model(config.rate_weight) if config.epochs else None
        if joint is not None:
            train_pyramid(config, trial, joint, blocks, folder / "pyramid")
        networks = start.networks
    else:
        networks = train_networks(config, trial, blocks, strategy, folder)
    deblocking = None
    if config.deblocking_epochs:
        with strategy.scope(), seeded(trial.seed), precision(config.precision):
            deblocking = build_deblocking(config.deblocking_width)
        pairs = deblocking_pairs(networks, data.training, None if config.closed_form else config.target_psnr)
        fit(config, trial, deblocking, pairs, folder / "deblocking", config.deblocking_epochs)
    settings = {name: getattr(config, name) for name in codec_file.SETTINGS}
    parts = [(network.encoder, network.decoder) for network in networks]
    bits = fit_bit_models(networks, data.training, pyramid.NEIGHBOR_BITS if config.closed_form else None)
    folder.mkdir(exist_ok=True)  # no stage has made it where nothing needs passes
    codec_file.save(folder / CODEC, settings, parts, bits, deblocking)


train = entry.Training(__package__, trials, read, describe, train_trial, check)
