"""Which classes are held out of a training, and which images stand for them in the gallery."""

import numpy as np
import pandas as pd

from ..config import Config, Trial
from ..gallery.voting import choose_gallery


def held_out_classes(config: Config, seed: int, classes: np.ndarray) -> list[str]:
    """The classes that a training with this seed lacks; as the seeds go on, each class has its turn."""
    names = np.unique(classes)
    if config.held_out > len(names) - 2:
        raise ValueError(
            f"Of {len(names)} classes at most {len(names) - 2} can be held out, got {config.held_out}: two must remain."
        )
    return [str(names[(seed * config.held_out + i) % len(names)]) for i in range(config.held_out)]


def gallery_rows(config: Config, seed: int, labels: np.ndarray, added: int, draw: int = 0) -> np.ndarray:
    """Training images in the gallery: `config.exemplars` of each old class, `added` ones of each held-out class.

    All losses of a seed have the same draws, and a larger number of exemplars adds to what a smaller one has.
    """
    counts = dict.fromkeys(np.unique(labels), config.exemplars)
    counts |= dict.fromkeys(held_out_classes(config, seed, labels), added)
    return choose_gallery(labels, counts, (seed, draw))


def balanced_rows(seed: int, labels: np.ndarray, added: int, draw: int = 0) -> np.ndarray:
    """Of each class, old or new, `added` training images: among those of `gallery_rows`, or more of an old class."""
    return choose_gallery(labels, added, (seed, draw))


def training_rows(config: Config, trial: Trial, train: pd.DataFrame) -> pd.DataFrame:
    """What a training sees: all images of the old classes, and for a retrained classifier exemplars of the first draw.

    These are the only images of new classes that it sees.
    """
    if not config.held_out:
        return train
    labels = train[config.attributes[-1]].to_numpy()
    new = np.isin(labels, held_out_classes(config, trial.seed, labels))
    added = np.zeros(len(train), bool)
    if trial.retrained_with:
        added[gallery_rows(config, trial.seed, labels, trial.retrained_with)] = True
    return train[~new | added].reset_index(drop=True)
