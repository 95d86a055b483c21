"""Custom layers, written in `keras.ops` so that they run on every Keras backend."""

from common.layers.adaptive_l2 import AdaptiveL2, ConstantL2, regularize, weights_by_category
from common.layers.bit_shuffle import ShuffleBits
from common.layers.normalization import L2Normalize
from common.layers.pooling import GeMPooling2D
from common.layers.stream_cipher import ChaCha20

__all__ = [
    "AdaptiveL2", "ChaCha20", "ConstantL2", "GeMPooling2D", "L2Normalize", "ShuffleBits", "regularize",
    "weights_by_category",
]  # fmt: skip
