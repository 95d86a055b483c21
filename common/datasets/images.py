"""From image files to batches: decoded, resized and changed by OpenCV in the threads of tf.data.

Training keeps the decoded images of a small set in memory; those of a large one are decoded anew in each epoch, so
memory does not grow with the set. Images are uint8 up to the model, a quarter of what float32 would move.
"""

import contextlib
import math
import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd

from common.augmentation import Augmentation, augment
from common.datasets.batches import Dataset, in_order, shuffled_batches
from common.datasets.calls import calls
from common.datasets.identities import identity_batches
from common.distribution import need_tensorflow, strategy_of

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

BOX = ["left", "top", "right", "bottom"]  # columns of a table: pixels, half-open: image[top:bottom, left:right]
_PIPELINE = "Reading image files in batches"
_PREDICTED = 64  # images at once
_KEPT = 2**30  # bytes of decoded images that training keeps at most: a set takes less, or nothing of it is kept
# Those of the data set that was made last. TensorFlow never lets go of a function, so functions must not hold them.
_kept: list[np.ndarray] = []


def read_image(
    path: str | Path, image_size: tuple[int, int] | None = None, box: Sequence[int] | None = None
) -> np.ndarray:
    """An image file as (H, W, 3) uint8, RGB, cut to `box` (as `BOX`), then resized bilinearly to a size (H, W).

    Raises:
        ValueError: the file is missing, truncated, or no image, or the box is empty or not inside it; the sentence
            names it.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
        image = cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_COLOR_RGB)
    except (OSError, cv2.error) as error:
        data, image, reason = b"", None, f" ({error.strerror})" if isinstance(error, OSError) else ""
    else:
        reason = ""
    # OpenCV fills what a truncated JPEG lacks with grey. A whole one ends with a marker, and so does its thumbnail,
    # which stands before the start of the image's own scan.
    if image is None or (data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")):
        raise ValueError(f"The image {path} cannot be read{reason}; it is missing or damaged. Fetch it again.")
    if box is not None:
        (left, top, right, bottom), (height, width) = box, image.shape[:2]
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(
                f"The image {path} cannot be read in its box ({left}, {top}, {right}, {bottom}): it is "
                f"{width} × {height} pixels large. Correct the box in the label file."
            )
        image = image[top:bottom, left:right]
    return image if image_size is None else cv2.resize(image, image_size[::-1], interpolation=cv2.INTER_LINEAR)


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
) -> Dataset:
    """Endless batches of P identities with K images each, epoch after epoch from `first_epoch` on.

    Args:
        table: N rows with a column `path` and, if images are to be cut first, the columns `BOX`.
        labels: (N,) class of each row, 0..C-1; or (N, A) of several attributes, the last of which is the identity.
        image_size: (H, W).
        identities_per_batch: P; the number of replicas must divide it (`identities.check_parts`).
        images_per_identity: K.
        steps_per_epoch: batches in an epoch.
        augmentation: what may happen to an image.
        seed: of batches and augmentation.
        first_epoch: where to start; the batches equal those of a run that began at epoch 0.

    Returns:
        Data set of images (P·K, H, W, 3) uint8, RGB, and labels (P·K,) or (P·K, A) int32.
    """
    need_tensorflow(_PIPELINE)
    size, labels = identities_per_batch * images_per_identity, np.asarray(labels, "int32")
    read = _reader(list(table["path"]), boxes_of(table), image_size, keep=True)
    chosen_by = labels if labels.ndim == 1 else labels[:, -1]

    def choose(epoch: np.ndarray) -> np.ndarray:
        return identity_batches(
            chosen_by,
            identities_per_batch=identities_per_batch,
            images_per_identity=images_per_identity,
            steps=steps_per_epoch,
            seed=seed,
            epoch=int(epoch),
        )

    def epoch_batches(epoch: tf.Tensor) -> Dataset:
        indices = _numpy_function(choose, [epoch], tf.int64, (steps_per_epoch, size))
        steps = tf.range(steps_per_epoch, dtype=tf.int64)
        return tf.data.Dataset.from_tensor_slices((steps, indices)).map(lambda step, index: (epoch, step, index))

    def load(epoch: np.ndarray, step: np.ndarray, index: np.ndarray) -> np.ndarray:
        images = read(index)
        augment(images, augmentation, seed=seed, epoch=int(epoch), first=int(step) * size)
        return images

    def load_batch(epoch: tf.Tensor, step: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images = _numpy_function(load, [epoch, step, index], tf.uint8, (size, *image_size, 3))
        return images, tf.gather(labels, index)

    batches = tf.data.Dataset.range(first_epoch, tf.int32.max).flat_map(epoch_batches)
    return in_order(batches.map(load_batch, tf.data.AUTOTUNE))


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
    need_tensorflow(_PIPELINE)
    paths, shape = list(paths), (batch_size, *image_size, 3)
    read = _reader(paths, None, image_size, keep=True)
    batches = shuffled_batches(
        (np.arange(len(paths)), companions), batch_size, seed=seed, first_epoch=first_epoch, drop_remainder=True
    )
    return in_order(batches.map(lambda i, rows: (rows, _numpy_function(read, [i], tf.uint8, shape)), tf.data.AUTOTUNE))


def boxes_of(table: pd.DataFrame) -> np.ndarray | None:
    """The boxes (N, 4) int64 of a table's rows, in the order of `BOX`; None if it has no such columns."""
    return table[BOX].to_numpy("int64") if set(BOX) <= set(table.columns) else None


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

    read = _reader(paths, boxes, image_size)
    indices = tf.data.Dataset.range(len(paths)).batch(batch_size)
    shape = (None, *image_size, 3)
    return in_order(indices.map(lambda i: _numpy_function(read, [i], tf.uint8, shape), tf.data.AUTOTUNE))


def predict(
    model: keras.Model, paths: Sequence[str | Path], *, boxes: np.ndarray | None = None, image_size: tuple[int, int]
) -> Any:
    """The outputs of a model for N images, (N, ...) each, in their order; on all devices that it was built for.

    Args and errors are those of `image_batches`, and of `naming_damaged_images`.
    """
    paths, count = list(paths), len(paths)
    if strategy_of(model).num_replicas_in_sync > 1:
        # A whole last batch: convolutions on CPUs fail on a replica that has no image of it.
        missing = -count % _PREDICTED
        paths += paths[-1:] * missing
        boxes = None if boxes is None else np.concatenate([boxes, np.repeat(boxes[-1:], missing, axis=0)])
    batches = image_batches(paths, boxes=boxes, image_size=image_size, batch_size=_PREDICTED)
    with naming_damaged_images():
        found = model.predict(batches, verbose=0)
    return keras.tree.map_structure(lambda values: values[:count], found)


def _reader(
    paths: list[str | Path], boxes: np.ndarray | None, image_size: tuple[int, int], *, keep: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """Indices (B,) -> images (B, H, W, 3), the caller's own; `keep`: files are read once if all fit into `_KEPT`."""

    def read(index: np.ndarray) -> np.ndarray:
        images = np.empty((len(index), *image_size, 3), "uint8")
        for image, i in zip(images, index):
            image[:] = read_image(paths[i], image_size, None if boxes is None else boxes[i])
        return images

    shape = (len(paths), *image_size, 3)
    if not keep or math.prod(shape) > _KEPT:
        return read
    _kept[:] = [np.empty(shape, "uint8")]
    own, known = weakref.ref(_kept[0]), np.zeros(len(paths), bool)

    def read_once(index: np.ndarray) -> np.ndarray:
        kept = own()
        if kept is None:
            return read(index)
        new = index[~known[index]]
        kept[new] = read(new)  # two threads may read the same file; both write the same bytes
        known[new] = True
        return kept[index]

    return read_once


def _numpy_function(
    function: Callable[..., np.ndarray], inputs: "list[tf.Tensor]", kind: "tf.DType", shape: tuple[int | None, ...]
) -> "tf.Tensor":
    # Stateful functions would run one at a time under tf.config.experimental.enable_op_determinism.
    result = tf.numpy_function(calls().guarded(function), inputs, kind, stateful=False)
    return tf.ensure_shape(result, shape)
