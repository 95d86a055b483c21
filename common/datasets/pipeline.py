"""From image files to batches: decoded, resized and changed by OpenCV in the threads of Grain.

Training caches the decoded images of a small set; those of a large one are decoded anew in each epoch, so
memory does not grow with the set. Images are uint8 up to the model, a quarter of what float32 would move.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import grain
import keras
import numpy as np
import pandas as pd

from common.datasets.augmentation import Augmentation, augment
from common.datasets.batches import endless, feed, naming_damaged_images
from common.datasets.images import boxes_of, read_image
from common.datasets.sampler import ImageBalancedSampler, identity_batches
from common.distribution import scope_of, strategy_of

_PREDICTED = 64  # images at once
CACHE_BYTES = 2**30  # of decoded images that training caches at most: a set takes less, or nothing of it is cached


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
) -> grain.MapDataset:
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
    size, labels = identities_per_batch * images_per_identity, np.asarray(labels, "int32")
    read = reader(list(table["path"]), boxes_of(table), image_size, cached=True)
    chosen_by = labels if labels.ndim == 1 else labels[:, -1]
    shape: dict[str, int] = {"identities_per_batch": identities_per_batch, "images_per_identity": images_per_identity}
    sampler = (
        ImageBalancedSampler(chosen_by, **shape, seed=seed).batches
        if balance == "images"
        else functools.partial(identity_batches, chosen_by, **shape, seed=seed)
    )
    chosen = functools.lru_cache(maxsize=2)(lambda epoch: sampler(steps=steps_per_epoch, epoch=epoch))
    chosen(first_epoch)  # raises here what a thread would raise later

    def load(epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        index = chosen(epoch)[step]
        images = read(index)
        augment(images, augmentation, seed=seed, epoch=epoch, first=step * size)
        return images, labels[index]

    return endless(load, steps_per_epoch, first_epoch)


def image_batches(
    paths: Sequence[str | Path], *, boxes: np.ndarray | None = None, image_size: tuple[int, int], batch_size: int
) -> grain.MapDataset:
    """The images (B, H, W, 3) uint8, RGB, of files, in their order; the last batch has the remainder.

    Args:
        paths: of N images.
        boxes: (N, 4) integers, in the order of `BOX`: what to cut out of each before it is resized.
        image_size: (H, W).
        batch_size: B.

    Raises:
        ValueError: the boxes have another shape or type.
    """
    paths = list(paths)
    if boxes is not None:
        boxes = np.asarray(boxes)
        if boxes.shape != (len(paths), 4) or boxes.dtype.kind not in "iu":
            raise ValueError(
                f"Boxes of {len(paths)} images must be integers of shape ({len(paths)}, 4), got {boxes.dtype} of shape "
                f"{boxes.shape}. Pass left, top, right and bottom of each."
            )
    read = reader(paths, boxes, image_size)
    starts = grain.MapDataset.range(0, len(paths), batch_size)
    return starts.map(lambda start: read(np.arange(start, min(start + batch_size, len(paths)))))


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
        # A whole last batch: convolutions of TensorFlow on CPUs fail on a replica that has no image of it.
        missing = -count % _PREDICTED
        paths += paths[-1:] * missing
        boxes = None if boxes is None else np.concatenate([boxes, np.repeat(boxes[-1:], missing, axis=0)])
    batches = image_batches(paths, boxes=boxes, image_size=image_size, batch_size=_PREDICTED)
    with scope_of(model), naming_damaged_images():
        outputs = model.predict(feed(batches), steps=len(batches), verbose=0, callbacks=list(callbacks))
    return keras.tree.map_structure(lambda values: values[:count], outputs)


def reader(
    paths: list[str | Path], boxes: np.ndarray | None, image_size: tuple[int, int], *, cached: bool = False
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of several threads: indices (B,) -> images (B, H, W, 3) uint8, RGB, which the caller may change.

    Args:
        paths: of N images.
        boxes: (N, 4) what to cut out of each before it is resized; None: whole images.
        image_size: (H, W).
        cached: whether a small set is decoded only once.
    """

    def read(index: np.ndarray) -> np.ndarray:
        images = np.empty((len(index), *image_size, 3), "uint8")
        for image, i in zip(images, index):
            read_image(paths[i], image_size, None if boxes is None else boxes[i], out=image)
        return images

    shape = (len(paths), *image_size, 3)
    if not cached or math.prod(shape) > CACHE_BYTES:
        return read
    cache, decoded = np.empty(shape, "uint8"), np.zeros(len(paths), bool)

    def read_once(index: np.ndarray) -> np.ndarray:
        new = index[~decoded[index]]
        cache[new] = read(new)  # two threads may read the same file; both write the same bytes
        decoded[new] = True
        return cache[index]

    return read_once
