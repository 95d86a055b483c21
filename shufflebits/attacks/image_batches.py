"""Batches of images together with their features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.datasets.batches import Dataset, in_order, shuffled_batches
from common.datasets.pipeline import numpy_function, reader
from common.distribution import need_tensorflow

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def shuffled_image_batches(
    paths: Sequence[str | Path],
    companions: Any,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
) -> Dataset:
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
    need_tensorflow("Reconstructing images")
    paths, shape = list(paths), (batch_size, *image_size, 3)
    read = reader(paths, None, image_size, cached=True)
    batches: Any = shuffled_batches(
        (np.arange(len(paths)), companions), batch_size, seed=seed, first_epoch=first_epoch, drop_remainder=True
    )
    return in_order(batches.map(lambda i, rows: (rows, numpy_function(read, [i], tf.uint8, shape)), tf.data.AUTOTUNE))
