"""Images and weights of the golden activations of backbones, by formula, so that no file has to hold them."""

import zlib

import numpy as np

# The feature maps are 18×10, 9×5, 5×3 and 3×2: odd ones too, where paddings differ.
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 72, 40, 3), dtype="uint8")


def array(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weights of a name in a checkpoint: random numbers from a seed that the name gives.

    The last scale of a bottleneck is small, so that features and the differences of rounding do not grow.
    """
    random = np.random.default_rng(zlib.crc32(key.encode()))
    if len(shape) == 4:
        return random.standard_normal(shape, "float32") * np.float32(np.sqrt(2 / np.prod(shape[1:])))
    if key.endswith((".bias", ".running_mean")):
        return random.standard_normal(shape, "float32") * np.float32(0.2)
    low, high = (0.1, 0.3) if key.endswith(("bn3.weight", "._bn2.weight")) else (0.5, 1.5)
    return random.uniform(low, high, shape).astype("float32")


def sample(maps: np.ndarray) -> np.ndarray:
    """32 numbers of each image, spread over its maps: (B, H, W, C) -> (B, 32)."""
    rows = maps.reshape(len(maps), -1)
    return rows[:, :: rows.shape[1] // 32][:, :32]
