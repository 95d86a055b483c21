"""One input pipeline for person re-identification: prints images per second and memory as JSON.

python -m tests.benchmarks.contenders.input NAME FOLDER, which has JPEG files.

Each decodes files of 128×64, resizes them to 256×128, and applies mirror, padding with crop, and random erasing. What
it prints is measured between two batches of a running pipeline.
"""

import math
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.benchmarks.contenders import measures

BATCH, PADDING = 50, 10
MEAN, STD = np.array([0.485, 0.456, 0.406], "float32"), np.array([0.229, 0.224, 0.225], "float32")


def pil_batches(paths: list[str]) -> Iterator[np.ndarray]:
    """The usual steps, an image at a time: (B, 3, H, W) float32, normalized."""
    from PIL import Image, ImageOps

    def image(path: str) -> np.ndarray:
        with Image.open(path) as file:
            picture = file.convert("RGB").resize((128, 256), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        picture = ImageOps.expand(picture, PADDING)
        x, y = random.randint(0, 2 * PADDING), random.randint(0, 2 * PADDING)
        picture = picture.crop((x, y, x + 128, y + 256))
        array = np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)).astype("float32")
        array /= 255
        array -= MEAN[:, None, None]
        array /= STD[:, None, None]
        return erased(array) if random.random() < 0.5 else array

    def erased(array: np.ndarray) -> np.ndarray:
        while True:
            area, aspect = random.uniform(0.02, 0.4) * 256 * 128, random.uniform(0.3, 3.3)
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < 256 and w < 128:
                y, x = random.randint(0, 256 - h), random.randint(0, 128 - w)
                array[:, y : y + h, x : x + w] = 0
                return array

    while True:
        random.shuffle(paths)
        for start in range(0, len(paths), BATCH):
            yield np.stack([image(path) for path in paths[start : start + BATCH]])


def our_batches(paths: list[str], normalized: bool = False) -> Iterator[np.ndarray]:
    """This repository's pipeline: (B, H, W, 3) uint8, or float32 and normalized as the others' are."""
    import pandas as pd

    from common.datasets.augmentation import Augmentation
    from common.datasets.batches import feed
    from common.datasets.pipeline import training_batches

    paths = paths * 12  # more than the pipeline would hold in memory: each file is decoded whenever it is in a batch
    data = training_batches(
        pd.DataFrame({"path": paths}),
        labels=np.arange(len(paths)),
        image_size=(256, 128),
        identities_per_batch=BATCH,
        images_per_identity=1,
        steps_per_epoch=len(paths) // BATCH,
        augmentation=Augmentation(padding=PADDING),
        seed=0,
    )
    if normalized:
        # A row of the image at a time: NumPy is slow where the last axis has three numbers.
        scale, offset = (np.tile(values, 128).astype("float32") for values in (1 / (255 * STD), -MEAN / STD))

        def normalize(batch: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            rows = batch[0].reshape(BATCH, 256, 128 * 3).astype("float32")
            rows *= scale
            rows += offset
            return rows.reshape(BATCH, 256, 128, 3), batch[1]

        data = data.map(normalize)
    for images, _ in feed(data):
        yield images


CONTENDERS = {
    "ours, uint8 to the model": our_batches,
    "ours, normalized float32": lambda paths: our_batches(paths, normalized=True),
    "PIL, normalized float32": pil_batches,
}


def measure(batches: Iterator[np.ndarray], warm_up: int, count: int) -> dict[str, float]:
    """Images per second of processor time and of the clock, over `count` batches."""
    for _ in range(warm_up):
        next(batches)
    start = os.times()
    for _ in range(count):
        next(batches)
    end = os.times()
    processor = end.user + end.system - start.user - start.system
    return {"per_cpu_second": BATCH * count / processor, "per_second": BATCH * count / (end.elapsed - start.elapsed)}


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    files = sorted(str(path) for path in Path(folder).glob("*.jpg"))[:1000]
    measures.report(images=len(files), **measure(CONTENDERS[name](files), warm_up=20, count=120))
