"""From image files to batches: decoded, resized and changed by OpenCV in the threads of tf.data.

Training caches the decoded images of a small set; those of a large one are decoded anew in each epoch, so
memory does not grow with the set. Images are uint8 up to the model, a quarter of what float32 would move.
"""

import atexit
import contextlib
import functools
import math
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pandas as pd

from common.datasets.augmentation import Augmentation, augment
from common.datasets.batches import Dataset, in_order
from common.datasets.images import boxes_of, read_image
from common.datasets.sampler import ImageBalancedSampler, identity_batches
from common.distribution import need_tensorflow, strategy_of

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

_PIPELINE = "Reading image files in batches"
_PREDICTED = 64  # images at once
CACHE_BYTES = 2**30  # of decoded images that training caches at most: a set takes less, or nothing of it is cached
# Images of the data set that was made last. TensorFlow never frees a function, so functions must not hold them.
_cache: list[np.ndarray] = []


@contextlib.contextmanager
def naming_damaged_images() -> Iterator[None]:
    """Inside, an image that cannot be read ends `fit`, `predict` or an iteration with `read_image`'s ValueError.

    tf.data turns errors into its own, with stack traces of several threads in the message.
    """
    need_tensorflow(_PIPELINE)
    sentence = None
    try:
        yield
    except tf.errors.OpError as error:
        sentence = re.search(r"ValueError: (The image .* cannot be read.*)", error.message)
        if sentence is None:
            raise
    if sentence is not None:  # outside `except`, so that the new error does not keep the old one's iterator alive
        raise ValueError(sentence[1])


def training_batches(
    table: pd.DataFrame,
    *,
    labels: np.ndarray,
    image_size: tuple[int, int],
    identities_per_batch: int,
    images_per_identity: int,
    steps_per_epoch: int,
    augmentation: Augmentation,
    seed: int,
    first_epoch: int = 0,
    balance: Literal["images", "identities"] = "identities",
) -> Dataset:
    """Endless batches of P identities with K images each, epoch after epoch from `first_epoch` on.

    Args:
        table: N rows with a column `path` and, if images are to be cut first, the columns `BOX`.
        labels: (N,) class of each row, 0..C-1; or (N, A) of several attributes, the last of which is the identity.
        image_size: (H, W).
        identities_per_batch: P; the number of replicas must divide it (`sampler.check_parts`).
        images_per_identity: K.
        steps_per_epoch: batches in an epoch.
        augmentation: what may happen to an image.
        seed: of batches and augmentation.
        first_epoch: where to start; the batches equal those of a run that began at epoch 0.
        balance: what is drawn about equally often, by `sampler.ImageBalancedSampler` or `sampler.identity_batches`.

    Returns:
        Data set of images (P·K, H, W, 3) uint8, RGB, and labels (P·K,) or (P·K, A) int32.

    Raises:
        ValueError: there are too few identities, or too few with K images where images are balanced.
    """
    need_tensorflow(_PIPELINE)
    size, labels = identities_per_batch * images_per_identity, np.asarray(labels, "int32")
    read = reader(list(table["path"]), boxes_of(table), image_size, cached=True)
    chosen_by = labels if labels.ndim == 1 else labels[:, -1]

    shape: dict[str, int] = {"identities_per_batch": identities_per_batch, "images_per_identity": images_per_identity}
    choose_batches = (
        ImageBalancedSampler(chosen_by, **shape, seed=seed).batches
        if balance == "images"
        else functools.partial(identity_batches, chosen_by, **shape, seed=seed)
    )

    choose_batches(steps=1, epoch=0)  # raises here what tf.data would turn into an error of its own

    def choose(epoch: np.ndarray) -> np.ndarray:
        return choose_batches(steps=steps_per_epoch, epoch=int(epoch))

    def epoch_batches(epoch: tf.Tensor) -> Dataset:
        indices = numpy_function(choose, [epoch], tf.int64, (steps_per_epoch, size))
        steps = tf.range(steps_per_epoch, dtype=tf.int64)
        return tf.data.Dataset.from_tensor_slices((steps, indices)).map(lambda step, index: (epoch, step, index))

    def load(epoch: np.ndarray, step: np.ndarray, index: np.ndarray) -> np.ndarray:
        images = read(index)
        augment(images, augmentation, seed=seed, epoch=int(epoch), first=int(step) * size)
        return images

    def load_batch(epoch: tf.Tensor, step: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = numpy_function(load, [epoch, step, index], tf.uint8, (size, *image_size, 3))
        return images, tf.gather(labels, index)

    batches = tf.data.Dataset.range(first_epoch, tf.int32.max).flat_map(epoch_batches)
    return in_order(batches.map(load_batch, tf.data.AUTOTUNE))


def image_batches(
    paths: Sequence[str | Path], *, boxes: np.ndarray | None = None, image_size: tuple[int, int], batch_size: int
) -> Dataset:
    """The images (B, H, W, 3) uint8, RGB, of files, in their order; the last batch has the remainder.

    Args:
        paths: of N images.
        boxes: (N, 4) integers, in the order of `BOX`: what to cut out of each before it is resized.
        image_size: (H, W).
        batch_size: B.

    Raises:
        ValueError: the boxes have another shape or type.
    """
    need_tensorflow(_PIPELINE)
    paths = list(paths)
    if boxes is not None:
        boxes = np.asarray(boxes)
        if boxes.shape != (len(paths), 4) or boxes.dtype.kind not in "iu":
            raise ValueError(
                f"Boxes of {len(paths)} images must be integers of shape ({len(paths)}, 4), got {boxes.dtype} of shape "
                f"{boxes.shape}. Pass left, top, right and bottom of each."
            )
    read = reader(paths, boxes, image_size)
    indices = tf.data.Dataset.range(len(paths)).batch(batch_size)
    shape = (None, *image_size, 3)
    return in_order(indices.map(lambda i: numpy_function(read, [i], tf.uint8, shape), tf.data.AUTOTUNE))


def predict(
    model: keras.Model,
    paths: Sequence[str | Path],
    *,
    boxes: np.ndarray | None = None,
    image_size: tuple[int, int],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Any:
    """The outputs of a model for N images, (N, ...) each, in their order; on all devices that it was built for.

    Args and errors are those of `image_batches`, and of `naming_damaged_images`; `callbacks` those of Keras' `predict`.
    """
    paths, count = list(paths), len(paths)
    if strategy_of(model).num_replicas_in_sync > 1:
        # A whole last batch: convolutions on CPUs fail on a replica that has no image of it.
        missing = -count % _PREDICTED
        paths += paths[-1:] * missing
        boxes = None if boxes is None else np.concatenate([boxes, np.repeat(boxes[-1:], missing, axis=0)])
    batches = image_batches(paths, boxes=boxes, image_size=image_size, batch_size=_PREDICTED)
    with naming_damaged_images():
        outputs = model.predict(batches, verbose=0, callbacks=list(callbacks))
    return keras.tree.map_structure(lambda values: values[:count], outputs)


def reader(
    paths: list[str | Path], boxes: np.ndarray | None, image_size: tuple[int, int], *, cached: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """A function for `numpy_function`: indices (B,) -> images (B, H, W, 3) uint8, RGB, which the caller may change.

    Args:
        paths: of N images.
        boxes: (N, 4) what to cut out of each before it is resized; None: whole images.
        image_size: (H, W).
        cached: whether a small set is decoded only once.
    """

    def read(index: np.ndarray) -> np.ndarray:
        images = np.empty((len(index), *image_size, 3), "uint8")
        for image, i in zip(images, index):
            image[:] = read_image(paths[i], image_size, None if boxes is None else boxes[i])
        return images

    shape = (len(paths), *image_size, 3)
    if not cached or math.prod(shape) > CACHE_BYTES:
        return read
    _cache[:] = [np.empty(shape, "uint8")]
    own, decoded = weakref.ref(_cache[0]), np.zeros(len(paths), bool)

    def read_once(index: np.ndarray) -> np.ndarray:
        images = own()
        if images is None:  # another data set has taken its place
            return read(index)
        new = index[~decoded[index]]
        images[new] = read(new)  # two threads may read the same file; both write the same bytes
        decoded[new] = True
        return images[index]

    return read_once


def numpy_function(
    function: Callable[..., np.ndarray], inputs: "list[tf.Tensor]", kind: "tf.DType", shape: tuple[int | None, ...]
) -> "tf.Tensor":
    """Calls a function of arrays on tensors of a data set; `shape` is that of its output, with None where unknown."""
    # Stateful functions would run one at a time under tf.config.experimental.enable_op_determinism.
    return tf.ensure_shape(tf.numpy_function(_calls().guarded(function), inputs, kind, stateful=False), shape)


class _Calls:
    """Ends the Python functions that threads of tf.data run before the interpreter ends.

    A thread that needs the interpreter while it shuts down makes the process hang or abort. An
    iterator that lives as long as the process, for example in the traceback of an error, has such threads.
    """

    def __init__(self) -> None:
        self._lock, self._active, self._latest, self._closing = threading.Lock(), 0, 0.0, False
        atexit.register(self._close)

    def guarded(self, function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def run(*arguments: np.ndarray) -> np.ndarray:
            with self._lock:
                self._active += 1
            try:
                if self._closing:
                    raise RuntimeError("The interpreter is shutting down.")
                return function(*arguments)
            finally:
                with self._lock:
                    self._active, self._latest = self._active - 1, time.monotonic()

        return run

    def _close(self) -> None:
        """Nobody takes batches any more, so the threads stop as soon as their buffers are full."""
        self._closing = True
        while self._active or time.monotonic() - self._latest < 0.1:
            time.sleep(0.01)


_calls = functools.cache(_Calls)  # those of the process
