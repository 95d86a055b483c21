"""The images of a run: whose they are, and which of them choose the best epoch."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from common import distribution
from common.backbones import check_weights
from common.datasets import person_reid, sampler

from .config import RECONSTRUCTIONS, Config, batches_per_step


@dataclass(frozen=True)
class Parts:
    """Tables of images that share no person: path, identity, camera and attributes.

    Attributes:
        victim: what the victim model is trained on; nothing where it comes from elsewhere.
        local: what the adversary has collected.
        users: query and gallery without junk, merged, as the publication tests on.
    """

    victim: pd.DataFrame
    local: pd.DataFrame
    users: pd.DataFrame


def read(config: Config) -> Parts:
    """The images of a run.

    Raises:
        ValueError: the data set is not whole, or too small for a batch of an attack; the sentence says what.
    """
    data = person_reid.read(config.dataset, config.data_dir, attributes=True, identities=config.people)
    users = pd.concat([data.query, data.without_junk().gallery], ignore_index=True)
    if 0 < config.users < len(users):
        users = users.iloc[np.linspace(0, len(users) - 1, config.users).astype(int)].reset_index(drop=True)
    identities = np.random.default_rng(config.division).permutation(data.train.identity.unique())
    share = config.victim_share if config.victim == "trained" else 0.0
    is_victim = data.train.identity.isin(identities[: round(share * len(identities))])
    victim, local = (data.train[rows].reset_index(drop=True) for rows in (is_victim, ~is_victim))
    batches = [batches_per_step(attack) for attack in config.attacks if attack in RECONSTRUCTIONS]
    needed = config.reconstruction_batch * max(batches, default=0)
    if len(local) < needed:
        raise ValueError(
            f"The local set must have {needed} images or more, got {len(local)}; lower --reconstruction-batch."
        )
    learns = config.choose_best_on == "validation" and not set(config.attacks) <= set(RECONSTRUCTIONS)
    if learns and is_validation(local, config.validation_share).all():
        raise ValueError(
            f"All {local.identity.nunique()} people of the local set are held out to choose the best epoch by; lower "
            "--validation-share or --victim-share."
        )
    return Parts(victim, local, users)


def describe(config: Config, parts: Parts) -> str:
    """What and how much is trained on."""
    return (
        f"{config.dataset}, images: {len(parts.victim):,} for the victim model, {len(parts.local):,} of "
        f"{parts.local.identity.nunique():,} people for the adversary, {len(parts.users):,} of users"
    )


def check(config: Config, strategy: distribution.Strategy) -> None:
    """Raises ValueError where several processes would train, or a batch cannot be split over the devices."""
    distribution.need_one_process(strategy, __package__)  # which serves the model that it trained, and sends requests
    if config.reconstruction_batch % strategy.num_replicas_in_sync and "adversarial" in config.attacks:
        raise ValueError(
            f"reconstruction_batch {config.reconstruction_batch} cannot be split over {strategy.num_replicas_in_sync} "
            "replicas, of which each computes its own mean; use a multiple, or --strategy one."
        )
    if config.victim == "trained":
        sampler.check_parts(config.identities_per_batch, strategy.num_replicas_in_sync)


def check_pretrained(config: Config) -> None:
    """Raises ValueError where weights of the victim model's backbone, or of the compared network, cannot be had."""
    if config.victim == "trained":
        check_weights(config.backbone, config.image_size, config.weights)
    if {"feature", "adversarial"} & set(config.attacks):
        check_weights(config.perceptual, config.reconstruction_size, config.perceptual_weights)


def is_validation(local: pd.DataFrame, share: float) -> np.ndarray:
    """(N,) which local images show the share of people by whom the adversary chooses the best epoch."""
    identities = np.random.default_rng(1).permutation(local.identity.unique())
    return local.identity.isin(identities[: max(round(share * len(identities)), 1)]).to_numpy()
