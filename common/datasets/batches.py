"""Batches that are a function of (seed, epoch, step), read ahead by Grain's threads and fed to whichever backend.

`Model.fit` on arrays after `keras.utils.set_random_seed` repeats one batch order in every epoch
(Keras 3.15: the array adapter re-iterates a stateful `Dataset.map`), and any generator with state
starts over after a resume. Here nothing has state: a batch has a number, and can be made at any time by any thread.
"""

import contextlib
import functools
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

with contextlib.ExitStack() as _quiet:
    # It warns that there is no JAX, which most who use Grain have.
    _logger = logging.getLogger("absl")
    _quiet.callback(_logger.setLevel, _logger.level)
    _logger.setLevel(logging.ERROR)
    import grain

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

_THREADS = min(16, os.cpu_count() or 1)
AHEAD = 2 * _THREADS  # batches in memory at most, besides the one that is trained on

_KEY = 0x3EC8F720, 0x02461E29  # that TensorFlow spreads a seed with
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


class _Endless:
    """Batches by their number from a first epoch on: what Grain reads from."""

    def __init__(self, load: Callable[[int, int], Any], steps: int, first_epoch: int):
        self._load, self._steps, self._first_epoch = load, steps, first_epoch

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, number: int) -> Any:
        epoch, step = divmod(number, self._steps)
        return self._load(self._first_epoch + epoch, step)


def endless(load: Callable[[int, int], Any], steps: int, first_epoch: int = 0) -> grain.MapDataset:
    """The batches that a function makes, epoch after epoch.

    Args:
        load: (epoch, step in it) -> a batch of arrays, new ones each time; called by several threads.
        steps: batches in an epoch.
        first_epoch: where to start; the batches equal those of a run that began at epoch 0.
    """
    return grain.MapDataset.source(_Endless(load, steps, first_epoch))


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Number of batches in an epoch; the last one may be smaller."""
    return math.ceil(num_samples / batch_size)


def shuffled_batches(
    arrays: Any, batch_size: int, *, seed: int, first_epoch: int = 0, drop_remainder: bool = False
) -> grain.MapDataset:
    """Endless batches of samples, epoch after epoch from `first_epoch` on, each in its own order.

    Args:
        arrays: (N, ...) samples in memory, or a structure of such arrays that belong together row by row.
        batch_size: B; the last batch of an epoch holds the remainder.
        seed: of the order.
        first_epoch: as of `endless`.
        drop_remainder: whether the remainder is left out, so that all batches are of one size.

    Returns:
        Data set of (B, ...) arrays in the structure of `arrays`; `steps_per_epoch(N, B)` of them are an epoch, or
        N // B without the remainder.

    Raises:
        ValueError: the arrays differ in length.
    """
    samples = keras.tree.map_structure(np.asarray, arrays)
    length, *others = {len(array) for array in keras.tree.flatten(samples)}
    if others:
        raise ValueError(f"Arrays that belong together must have equally many rows, got {sorted([length, *others])}.")
    order = functools.lru_cache(maxsize=2)(lambda epoch: epoch_order(length, seed, epoch))

    def load(epoch: int, step: int) -> Any:
        index = order(epoch)[step * batch_size : (step + 1) * batch_size]
        return keras.tree.map_structure(lambda array: array[index], samples)

    steps = length // batch_size if drop_remainder else steps_per_epoch(length, batch_size)
    return endless(load, steps, first_epoch)


def one_hot(classes: np.ndarray, number: int) -> np.ndarray:
    """Classes (B,), 0 to number - 1, as (B, number) float32; by NumPy, as threads that make batches need no backend."""
    return (classes[:, np.newaxis] == np.arange(number)).astype("float32")


def feed(batches: grain.MapDataset) -> Any:
    """The batches, made ahead by threads, as `fit` and `predict` take them on this backend."""
    if keras.backend.backend() == "tensorflow":
        batches = batches.map(_separate)
    ahead = batches.to_iter_dataset(grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=AHEAD))
    if keras.backend.backend() != "tensorflow":
        return ahead
    # Keras' own way fixes the size of all batches to that of the first two.
    specs = keras.tree.map_structure(lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), batches[0])
    options = tf.data.Options()
    # There are no files to deal out to workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    fed = tf.data.Dataset.from_generator(lambda: ahead, output_signature=specs).with_options(options)
    return fed.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(1)


def _separate(batch: Any) -> Any:
    """A batch whose arrays share no memory, with each other or with what they are a part of.

    TensorFlow (2.21) takes an array as it lies in memory, and may write results of operations there: a loss into the
    targets, which may be the inputs as well. New memory for whole batches of images would cost a fifth of their making.
    """
    seen: set[int] = set()

    def own(array: Any) -> np.ndarray:
        alone = isinstance(array, np.ndarray) and array.base is None and id(array) not in seen
        seen.add(id(array))
        return array if alone else np.array(array)

    return keras.tree.map_structure(own, batch)


@contextlib.contextmanager
def naming_damaged_images() -> Iterator[None]:
    """Inside, an image that cannot be read ends `fit`, `predict` or an iteration with `read_image`'s ValueError.

    TensorFlow turns errors into its own, with stack traces of several threads in the message; Grain adds a remark.
    """
    sentence = None
    try:
        yield
    except Exception as error:
        match = re.search(r"The image .* cannot be read.*", getattr(error, "message", str(error)))
        if match is None:
            raise
        sentence = match[0]
    if sentence is not None:  # outside `except`, so that the new error does not keep the old one's iterator alive
        raise ValueError(sentence)


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the samples in an epoch: a permutation of range(N), shape (N,), int32, all of them equally likely.

    It is what `tf.random.experimental.stateless_shuffle` makes of range(N) by [seed, epoch] on a CPU. Philox gives four
    words a block; the counter's upper half and the key are its own output for the seed. Each place from the first on
    then changes with one that a word chooses from it on (Fisher and Yates).
    """
    words = np.array([seed, epoch], np.int64).view(np.uint64)
    halves = [word for pair in zip(words & _LOW, words >> _HALF) for word in pair]
    first, second, *upper = _philox([np.array([half]) for half in halves], _KEY)[:, 0]
    blocks = np.arange(-(-num_samples // 4), dtype=np.uint64)
    counter = [blocks, np.zeros_like(blocks), *(np.full_like(blocks, word) for word in upper)]
    numbers = _philox(counter, (first, second)).T.ravel()[: max(num_samples - 1, 0)]
    order = list(range(num_samples))
    for i, ahead in enumerate((numbers % np.arange(num_samples, 1, -1, dtype=np.uint64)).tolist()):
        order[i], order[i + ahead] = order[i + ahead], order[i]
    return np.array(order, np.int32)


def _philox(counter: list[np.ndarray], key: tuple[int, int]) -> np.ndarray:
    """Philox4x32-10 (Salmon et al. 2011): four words (N,) below 2³² in uint64 -> (4, N) of such."""
    a, b, c, d = counter
    k, m = (np.uint64(word) for word in key)
    for _ in range(10):
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (right >> _HALF) ^ b ^ k, right & _LOW, (left >> _HALF) ^ d ^ m, left & _LOW
        k, m = (k + np.uint64(0x9E3779B9)) & _LOW, (m + np.uint64(0xBB67AE85)) & _LOW
    return np.stack([a, b, c, d])
