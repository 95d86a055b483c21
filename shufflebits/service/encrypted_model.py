"""The victim model as the server runs it: with a cipher as the last layer of its graph."""

import threading
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import ops

from common.bit_permutation import checked_key
from common.layers import ChaCha20, ShuffleBits
from common.layers.words import words_dtype

from ..cipher.sealed import Message
from .protocol import SEALED, SHUFFLEBITS, CipherName

_PIECE = 64  # images that the graph takes at once


class EncryptedEmbedder:
    """Images in, encrypted features out, by a compiled graph; safe to use from several threads.

    Longer batches are cut into pieces of 64 images, and shorter ones filled up to a power of two, so that a graph is
    compiled for seven sizes at most.

    Args:
        embedder: images (B, H, W, 3) uint8, RGB -> features (B, D) float32.
        cipher: SEALED, or SHUFFLEBITS, which is the publication's and no cipher: a few vectors give its key away.

    Raises:
        ValueError: the embedder takes or returns something else.
    """

    def __init__(self, embedder: keras.Model, cipher: CipherName = SEALED) -> None:
        inputs, outputs = (getattr(embedder, name, None) or [] for name in ("inputs", "outputs"))
        shapes = [tuple(x.shape) for x in (*inputs, *outputs)]
        if [len(shape) for shape in shapes] != [4, 2] or None in shapes[0][1:] + shapes[1][1:] or shapes[0][3] != 3:
            raise ValueError(
                f"The embedder must take one image (B, H, W, 3) and return one vector (B, D), got {shapes}; build a "
                "keras.Model with such an input and output."
            )
        image = keras.Input(shapes[0][1:], dtype="uint8", name="image")
        if cipher == SHUFFLEBITS:
            secrets, layer = [keras.Input(batch_shape=(32,), dtype="int32", name="positions")], ShuffleBits()
        else:
            secrets = [keras.Input(batch_shape=shape, dtype=words_dtype()) for shape in ((8,), (3,), ())]
            layer = ChaCha20()
        self._model = keras.Model([image, *secrets], layer([embedder(image), *secrets]))
        self._lock = threading.Lock()
        self.cipher: CipherName = cipher
        self.image_size: tuple[int, int] = shapes[0][1:3]
        self.dimensions: int = shapes[1][1]

    def encrypt(self, images: np.ndarray, key: bytes, go_on: Callable[[], None] = lambda: None) -> bytes:
        """The features of images (N, H, W, 3) uint8.

        Args:
            images: N of them.
            key: 32 bytes; for SHUFFLEBITS the positions.
            go_on: called before each piece; raises what ends the work.

        Returns:
            What `cipher.sealed.open_features` opens; for SHUFFLEBITS the words, little-endian uint32.

        Raises:
            ValueError: no such key.
        """
        if self.cipher == SHUFFLEBITS:
            positions = [checked_key(list(key)).astype("int32")]
            return self._run(images, lambda size: positions, go_on).astype("<u4", copy=False).tobytes()
        message = Message(key)
        # A piece has 64 · D words, so the next one begins with a block of 16 words.
        return message.seal(self._run(images, lambda size: message.stream(size * self.dimensions), go_on))

    def _run(
        self, images: np.ndarray, secrets_for: Callable[[int], list[np.ndarray]], go_on: Callable[[], None]
    ) -> np.ndarray:
        words = np.empty((len(images), self.dimensions), np.uint32)
        for first in range(0, len(images), _PIECE):
            go_on()
            piece = images[first : first + _PIECE]
            padding = (1 << (len(piece) - 1).bit_length()) - len(piece)
            filled = np.pad(piece, [(0, padding), (0, 0), (0, 0), (0, 0)])
            secrets = [x.astype(words_dtype()) if x.dtype == np.uint32 else x for x in secrets_for(len(filled))]
            with self._lock:  # of Keras: it makes the compiled function on the first call
                outputs = self._model.predict_on_batch([filled, *secrets])
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
