"""Images as blocks of 32×32 pixels, and back."""

import numpy as np

from ..bitstream.container import BLOCK


def to_blocks(image: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) as (R, C, 32, 32, 3) blocks by raster scan; what lacks right and below repeats the edge."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    return np.ascontiguousarray(padded.reshape(rows, BLOCK, columns, BLOCK, 3).swapaxes(1, 2))


def to_image(blocks: np.ndarray, height: int, width: int) -> np.ndarray:
    """The inverse of `to_blocks`: (R, C, 32, 32, 3) to (H, W, 3)."""
    rows, columns = blocks.shape[:2]
    image = blocks.swapaxes(1, 2).reshape(rows * BLOCK, columns * BLOCK, 3)
    return np.ascontiguousarray(image[:height, :width])


def symmetries(blocks: np.ndarray) -> list[np.ndarray]:
    """Square images (B, H, H, 3), turned and mirrored in the eight ways of the square; the first are as they are."""
    turned = [np.rot90(blocks, i, axes=(1, 2)) for i in range(4)]
    return turned + [part[:, :, ::-1] for part in turned]
