"""Embeddings of a network for the benchmark of engines.

python -m tests.benchmarks.contenders.features FOLDER NUMBER OUT.npy

Those of MobileNet 0.25 with ImageNet's weights, pooled, (NUMBER, 256) float16, of random parts of the photographs in a
folder: a fifth of the area or more, resized to 64×64 pixels. The command goes on where it was stopped.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from common.backbones import build_backbone
from common.datasets.images import list_images, read_image
from common.experiments.reid.study import pooled

SIZE, WIDTH, BATCH = 64, 256, 2000


def parts(paths: list[str], batch: int) -> np.ndarray:
    """(BATCH, SIZE, SIZE, 3) uint8, a function of the batch's number."""
    random = np.random.default_rng([0, batch])
    images = np.empty((BATCH, SIZE, SIZE, 3), np.uint8)
    for image in images:
        whole = read_image(paths[random.integers(len(paths))])
        height, width = (max(1, int(side * random.uniform(0.45, 1))) for side in whole.shape[:2])
        top, left = (random.integers(a - b + 1) for a, b in zip(whole.shape, (height, width)))
        cv2.resize(whole[top : top + height, left : left + width], (SIZE, SIZE), image)
    return images


def main() -> None:
    folder, number, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    paths, model = list_images(folder, nested=True)[0], pooled(build_backbone("mobilenet_0.25", (SIZE, SIZE)))
    if not out.exists():
        np.lib.format.open_memmap(out, "w+", np.float16, (-(-number // BATCH) * BATCH, WIDTH)).flush()
    features = np.load(out, mmap_mode="r+")
    for batch in tqdm(range(len(features) // BATCH)):
        rows = slice(batch * BATCH, (batch + 1) * BATCH)
        if not features[rows].any():
            features[rows] = model.predict(parts(paths, batch), batch_size=500, verbose=0)


if __name__ == "__main__":
    main()
