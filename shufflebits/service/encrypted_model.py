"""The victim model as the server runs it: with a cipher as the last layer of its graph."""

import threading
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import ops

from common.layers import ChaCha20, ShuffleBits

_PIECE = 64  # images that the graph takes at once


class EncryptedEmbedder:
    """Images in, encrypted features out, by compiled graphs; safe to use from several threads.

    Longer batches are cut into pieces of 64 images, and shorter ones filled up to a power of two, so that a graph is
    compiled for seven sizes at most.

    Args:
        embedder: images (B, H, W, 3) uint8, RGB -> features (B, D) float32.

    Raises:
        ValueError: it takes or returns something else.
    """

    def __init__(self, embedder: keras.Model) -> None:
        inputs, outputs = (getattr(embedder, name, None) or [] for name in ("inputs", "outputs"))
        shapes = [tuple(x.shape) for x in (*inputs, *outputs)]
        if [len(shape) for shape in shapes] != [4, 2] or None in shapes[0][1:] + shapes[1][1:] or shapes[0][3] != 3:
            raise ValueError(
                f"The embedder must take one image (B, H, W, 3) and return one vector (B, D), got {shapes}; build a "
                "keras.Model with such an input and output."
            )
        image = keras.Input(shapes[0][1:], dtype="uint8", name="image")
        features = embedder(image)
        unsigned = "int64" if keras.backend.backend() == "torch" else "uint32"  # as common.layers.bit_shuffle has it
        positions = keras.Input(batch_shape=(32,), dtype="int32", name="positions")
        secrets = [keras.Input(batch_shape=shape, dtype=unsigned) for shape in ((8,), (3,), ())]
        self._shufflebits = keras.Model([image, positions], ShuffleBits(name="words")([features, positions]))
        self._chacha20 = keras.Model([image, *secrets], ChaCha20(name="words")([features, *secrets]))
        self._unsigned, self._lock = unsigned, threading.Lock()
        self.image_size: tuple[int, int] = shapes[0][1:3]
        self.dimensions: int = shapes[1][1]

    def shufflebits(self, images: np.ndarray, key: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 and a key of 32 positions -> (N, D) uint32."""
        positions = np.asarray(key, "int32")
        return self._run(self._shufflebits, images, lambda first: [positions])

    def chacha20(self, images: np.ndarray, key: np.ndarray, nonce: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8, (8,) uint32 and (3,) uint32 -> (N, D) uint32; the counter of the first block is 0."""
        key, nonce = key.astype(self._unsigned), nonce.astype(self._unsigned)
        # A piece has 64 · D words, so the next one begins with a block of 16 words.
        return self._run(
            self._chacha20,
            images,
            lambda first: [key, nonce, np.array(first * self.dimensions // 16, self._unsigned)],
        )

    def _run(
        self, model: keras.Model, images: np.ndarray, secrets_from: Callable[[int], list[np.ndarray]]
    ) -> np.ndarray:
        words = np.empty((len(images), self.dimensions), np.uint32)
        for first in range(0, len(images), _PIECE):
            piece = images[first : first + _PIECE]
            padding = (1 << (len(piece) - 1).bit_length()) - len(piece)
            filled = np.pad(piece, [(0, padding), (0, 0), (0, 0), (0, 0)])
            with self._lock:  # of Keras: it makes the compiled function on the first call
                outputs = model.predict_on_batch([filled, *secrets_from(first)])
            words[first : first + len(piece)] = outputs[: len(piece)]
        return words


def load_saved_model(folder: Path, endpoint: str, image_size: tuple[int, int] | None = None) -> keras.Model:
    """An endpoint of a SavedModel, whatever wrote it, as an embedder.

    Args:
        folder: with saved_model.pb.
        endpoint: a signature with one input, images (B, H, W, 3) of any type in RGB from 0 to 255, and one output,
            features (B, D) float32.
        image_size: (H, W); None: as the signature says.

    Raises:
        ValueError: there is no such endpoint, it takes or returns something else, or the size must be given.
    """
    try:
        layer = keras.layers.TFSMLayer(folder, call_endpoint=endpoint, trainable=False, name="embedder")
    except (NotImplementedError, ValueError) as error:  # another backend than TensorFlow, or no such endpoint
        raise ValueError(f"{folder} cannot be served: {error}") from error
    function = layer.call_endpoint_fn
    # An endpoint of Keras is a function of one or more signatures, others are the signature itself.
    signature = getattr(function, "concrete_functions", [function])[0].structured_input_signature
    images = [spec for spec in keras.tree.flatten(signature) if hasattr(spec, "shape")]
    if len(images) != 1 or len(images[0].shape) != 4:
        raise ValueError(
            f"Endpoint {endpoint!r} of {folder} must take one batch of images, got {images}; choose another --endpoint."
        )
    size = image_size or tuple(images[0].shape[1:3])
    if None in size:
        raise ValueError(f"Endpoint {endpoint!r} of {folder} takes images of any size; pass --image-size HEIGHT WIDTH.")
    image = keras.Input((*size, 3), dtype="uint8", name="image")
    outputs = layer(ops.cast(image, images[0].dtype.name))
    features = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    return keras.Model(image, features[0] if len(features) == 1 else features, name="embedder")
