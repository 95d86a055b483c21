"""From image files to batches: decoded, resized and changed by OpenCV in the threads of tf.data.

Files are decoded anew in each epoch, so memory does not grow with the set. Images are uint8 up to the model, a
quarter of what float32 would move.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tensorflow as tf

from common.augmentation import Augmentation, augment
from common.datasets.identities import identity_batches


def read_image(path: str | Path, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """An image file as (H, W, 3) uint8, RGB, resized bilinearly if a size (H, W) is given.

    Raises:
        ValueError: the file is missing, truncated, or no image; the sentence names it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        image = cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_COLOR_RGB)
    except (OSError, cv2.error) as error:
        data, image, reason = b"", None, f" ({error.strerror})" if isinstance(error, OSError) else ""
    else:
        reason = ""
    # OpenCV fills what a truncated JPEG lacks with grey; a whole one ends with a marker.
    if image is None or (data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data):
        raise ValueError(f"The image {path} cannot be read{reason}; it is missing or damaged. Fetch it again.")
    return image if image_size is None else cv2.resize(image, image_size[::-1], interpolation=cv2.INTER_LINEAR)


@contextlib.contextmanager
def naming_damaged_images() -> Iterator[None]:
    """Inside, an image that cannot be read ends `fit`, `predict` or an iteration with `read_image`'s ValueError.

    tf.data turns errors into its own, with stack traces of several threads in the message.
    """
    try:
        yield
    except tf.errors.OpError as error:
        sentence = re.search(r"ValueError: (The image .* cannot be read.*)", error.message)
        if sentence is None:
            raise
        raise ValueError(sentence[1]) from None


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
) -> tf.data.Dataset:
    """Endless batches of P identities with K images each, epoch after epoch from `first_epoch` on.

    Args:
        table: N rows with a column `path`.
        labels: (N,) class of each row, 0..C-1.
        image_size: (H, W).
        identities_per_batch: P; the number of replicas must divide it (`identities.check_parts`).
        images_per_identity: K.
        steps_per_epoch: batches in an epoch.
        augmentation: what may happen to an image.
        seed: of batches and augmentation.
        first_epoch: where to start; the batches equal those of a run that began at epoch 0.

    Returns:
        Data set of images (P·K, H, W, 3) uint8, RGB, and labels (P·K,) int32.
    """
    paths, size = list(table["path"]), identities_per_batch * images_per_identity
    labels = np.asarray(labels, "int32")

    def choose(epoch: np.ndarray) -> np.ndarray:
        return identity_batches(
            labels,
            identities_per_batch=identities_per_batch,
            images_per_identity=images_per_identity,
            steps=steps_per_epoch,
            seed=seed,
            epoch=int(epoch),
        )

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        indices = _numpy_function(choose, [epoch], tf.int64, (steps_per_epoch, size))
        steps = tf.range(steps_per_epoch, dtype=tf.int64)
        return tf.data.Dataset.from_tensor_slices((steps, indices)).map(lambda step, index: (epoch, step, index))

    def load(epoch: np.ndarray, step: np.ndarray, index: np.ndarray) -> np.ndarray:
        images = _read_images([paths[i] for i in index], image_size)
        augment(images, augmentation, seed=seed, epoch=int(epoch), first=int(step) * size)
        return images

    def load_batch(epoch: tf.Tensor, step: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = _numpy_function(load, [epoch, step, index], tf.uint8, (size, *image_size, 3))
        return images, tf.gather(labels, index)

    batches = tf.data.Dataset.range(first_epoch, tf.int32.max).flat_map(epoch_batches)
    return _in_order(batches.map(load_batch, tf.data.AUTOTUNE))


def image_batches(paths: Sequence[str | Path], *, image_size: tuple[int, int], batch_size: int) -> tf.data.Dataset:
    """The images (B, H, W, 3) uint8, RGB, of files, in their order; the last batch has the remainder."""
    paths = list(paths)

    def load(index: np.ndarray) -> np.ndarray:
        return _read_images([paths[i] for i in index], image_size)

    indices = tf.data.Dataset.range(len(paths)).batch(batch_size)
    shape = (None, *image_size, 3)
    return _in_order(indices.map(lambda i: _numpy_function(load, [i], tf.uint8, shape), tf.data.AUTOTUNE))


def _read_images(paths: list[str | Path], image_size: tuple[int, int]) -> np.ndarray:
    images = np.empty((len(paths), *image_size, 3), "uint8")
    for image, path in zip(images, paths):
        image[:] = read_image(path, image_size)
    return images


def _numpy_function(function, inputs: list[tf.Tensor], kind: tf.DType, shape: tuple[int | None, ...]) -> tf.Tensor:
    # Stateful functions run one at a time under tf.config.experimental.enable_op_determinism.
    return tf.ensure_shape(tf.numpy_function(function, inputs, kind, stateful=False), shape)


def _in_order(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Workers share the batches; there are no files to deal out.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
