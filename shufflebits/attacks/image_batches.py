"""Batches of images together with their features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np

from common.datasets.batches import shuffled_batches
from common.datasets.pipeline import reader


def shuffled_image_batches(
    paths: Sequence[str | Path],
    companions: Any,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
) -> grain.MapDataset:
    """Endless batches of images with what belongs to them, each epoch in its own order and without its remainder.

    Args:
        paths: of N images.
        companions: an array with N rows, or a structure of such.
        image_size: (H, W).
        batch_size: B; N // B batches are an epoch.
        seed: of the order.
        first_epoch: where to start; the batches equal those of a run that began at epoch 0.

    Returns:
        Data set of companions, (B, ...) each, and images (B, H, W, 3) uint8, RGB.
    """
    read = reader(list(paths), None, image_size, cached=True)
    batches = shuffled_batches(
        (np.arange(len(paths)), companions), batch_size, seed=seed, first_epoch=first_epoch, drop_remainder=True
    )
    return batches.map(lambda batch: (batch[1], read(batch[0])))
