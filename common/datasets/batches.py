"""Batches whose order is a function of (seed, epoch): the part of a pipeline that makes runs repeatable.

`Model.fit` on arrays after `keras.utils.set_random_seed` repeats one batch order in every epoch
(Keras 3.15: the array adapter re-iterates a stateful `Dataset.map`), and any generator with state
starts over after a resume. Here nothing has state. Backends other than TensorFlow get the same batches as arrays.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np

from common.datasets import array_batches

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


class Dataset(Protocol):
    """Batches in order: a `tf.data.Dataset`, or `ArrayBatches` on other backends."""

    def map(self, function: Callable[..., Any]) -> "Dataset":
        """The batches as a function makes them; it takes the parts of a tuple one by one."""


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Number of batches in an epoch; the last one may be smaller."""
    return math.ceil(num_samples / batch_size)


def epoch_order(num_samples: int, seed: int, epoch: "int | tf.Tensor") -> "tf.Tensor | np.ndarray":
    """The order of the samples in an epoch: a permutation of range(N), shape (N,), int32.

    All permutations are equally likely, which those of `tf.random.experimental.index_shuffle` are not:
    over 2,000 epochs of 50 samples some come first 7 times and others 69 times instead of 40.
    """
    if keras.backend.backend() != "tensorflow":
        return array_batches.epoch_order(num_samples, seed, epoch)
    key = tf.stack([tf.cast(seed, tf.int32), tf.cast(epoch, tf.int32)])
    return tf.random.experimental.stateless_shuffle(tf.range(num_samples), key)


def shuffled_batches(
    arrays: Any, batch_size: int, *, seed: int, first_epoch: int = 0, drop_remainder: bool = False
) -> Dataset:
    """Endless batches of samples, epoch after epoch from `first_epoch` on, each in its own order.

    Args:
        arrays: (N, ...) samples in memory, or a structure of such arrays that belong together row by row.
        batch_size: B; the last batch of an epoch holds the remainder.
        seed: of the order.
        first_epoch: where to start; the batches equal those of a run that began at epoch 0.
        drop_remainder: whether the remainder is left out, so that all batches are of one size.

    Returns:
        Data set of (B, ...) tensors, or arrays, in the structure of `arrays`; `steps_per_epoch(N, B)` of them are an
        epoch, or N // B without the remainder.

    Raises:
        ValueError: the arrays differ in length.
    """
    length, *others = {len(array) for array in keras.tree.flatten(arrays)}
    if others:
        raise ValueError(f"Arrays that belong together must have equally many rows, got {sorted([length, *others])}.")
    if keras.backend.backend() != "tensorflow":
        return array_batches.shuffled_batches(
            arrays, batch_size, seed=seed, first_epoch=first_epoch, drop_remainder=drop_remainder
        )
    samples = keras.tree.map_structure(tf.constant, arrays)

    def epoch_batches(epoch: tf.Tensor) -> Dataset:
        order = epoch_order(length, seed, epoch)
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder)

    batches = tf.data.Dataset.range(first_epoch, tf.int32.max).flat_map(epoch_batches)

    def gather(index: tf.Tensor) -> Any:
        return keras.tree.map_structure(lambda array: tf.gather(array, index), samples)

    return in_order(batches.map(gather, tf.data.AUTOTUNE))


def in_order(batches: Any) -> Dataset:
    """The batches of a `tf.data.Dataset` in their own order, prepared ahead; several workers share each batch."""
    options = tf.data.Options()
    options.deterministic = True
    # There are no files to deal out to workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
