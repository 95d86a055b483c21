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
