"""The batches of `batches` for backends without tf.data: the same samples in the same order, as NumPy arrays."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

_KEY = 0x3EC8F720, 0x02461E29  # that TensorFlow spreads a seed with
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


class ArrayBatches(keras.utils.PyDataset):
    """Endless batches, each a function of its epoch and its step in that epoch, which makes a resumed run exact.

    Args:
        load: (epoch, step) -> a batch.
        steps: batches in an epoch.
        first_epoch: where to start.
    """

    num_batches = None  # endless, as Keras asks it

    def __init__(self, load: Callable[[int, int], Any], steps: int, first_epoch: int):
        super().__init__()
        self._load, self._steps, self._first_epoch = load, steps, first_epoch

    def __getitem__(self, index: int) -> Any:
        epoch, step = divmod(index, self._steps)
        return self._load(self._first_epoch + epoch, step)

    def map(self, function: Callable[..., Any]) -> "ArrayBatches":
        """The batches as a function makes them; it takes the parts of a tuple one by one, as with tf.data."""

        def load(epoch: int, step: int) -> Any:
            batch = self._load(epoch, step)
            return function(*batch) if isinstance(batch, tuple) else function(batch)

        return ArrayBatches(load, self._steps, self._first_epoch)


def shuffled_batches(
    arrays: Any, batch_size: int, *, seed: int, first_epoch: int = 0, drop_remainder: bool = False
) -> ArrayBatches:
    """As `batches.shuffled_batches`, of arrays that are equally long."""
    samples = keras.tree.map_structure(np.asarray, arrays)
    length = len(keras.tree.flatten(samples)[0])
    order = functools.lru_cache(maxsize=1)(lambda epoch: epoch_order(length, seed, epoch))

    def load(epoch: int, step: int) -> Any:
        index = order(epoch)[step * batch_size : (step + 1) * batch_size]
        return keras.tree.map_structure(lambda array: array[index], samples)

    steps = length // batch_size if drop_remainder else math.ceil(length / batch_size)
    return ArrayBatches(load, steps, first_epoch)


def epoch_order(num_samples: int, seed: int, epoch: int) -> np.ndarray:
    """What `tf.random.experimental.stateless_shuffle` makes of range(N) by [seed, epoch] on a CPU: (N,) int32.

    Philox gives four words a block; the counter's upper half and the key are its own output for the seed. Each place
    from the first on then changes with one that a word chooses from it on (Fisher and Yates).
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
