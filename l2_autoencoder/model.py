"""Dense (DEC) and convolutional (DCEC) autoencoders whose embedding is normalized in training."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.training import precision
from common.layers import L2Normalize
from common.random_state import seeded

from .config import Config, Trial

FILTERS = (32, 64, 128)  # of the strided convolutions (section IV-A (pub))
KERNELS = (5, 5, 3)  # their sizes
UNITS = (500, 500, 2000)  # of the dense encoder before the embedding

NORMALIZATIONS = {
    "none": layers.Identity,
    "batch": layers.BatchNormalization,
    "layer": layers.LayerNormalization,
    "l2": L2Normalize,  # Eq. 5.5
}
# One group has the mean and variance of all summed inputs to a layer for one image, as layer normalization is defined.
HIDDEN_NORMALIZATIONS = {
    "batch": layers.BatchNormalization,
    "layer": lambda name: layers.GroupNormalization(groups=1, name=name),
}


@dataclass(frozen=True)
class Autoencoder:
    """Two graphs over the same layers.

    Attributes:
        training_model: images (B, H, W, C) -> reconstructions (B, H, W, C).
        encoder: images (B, H, W, C) -> embeddings (B, D), normalized as in training.
    """

    training_model: keras.Model
    encoder: keras.Model

    def apply(self, images: np.ndarray, batch_size: int = 1024) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (N, D) and reconstructions (N, H, W, C) of images (N, H, W, C), in batches."""
        # Eager calls: `predict` would trace a graph anew for each of the many models of a run.
        parts = [
            [ops.convert_to_numpy(output) for output in self._both(images[start : start + batch_size], training=False)]
            for start in range(0, len(images), batch_size)
        ]
        return tuple(np.concatenate(part) for part in zip(*parts))

    @cached_property
    def _both(self) -> keras.Model:
        return keras.Model(self.training_model.input, [self.encoder.output, self.training_model.output])


def build(config: Config, trial: Trial, image_shape: tuple[int, int, int]) -> Autoencoder:
    """The autoencoder of a trial with its initial weights."""
    with seeded(trial.seed), precision(config.precision):
        return build_autoencoder(
            image_shape,
            architecture=config.architecture,
            normalization=trial.normalization,
            placement=config.placement,
            embedding_size=config.embedding_size,
            activation=config.activation,
            leaky_relu_slope=config.leaky_relu_slope,
            initializer=config.initializer,
        )


def restore(config: Config, trial: Trial, image_shape: tuple[int, int, int], folder: Path) -> Autoencoder:
    """The autoencoder of a trial with its best weights."""
    autoencoder = build(config, trial, image_shape)
    autoencoder.training_model.load_weights(folder / BEST_WEIGHTS)
    return autoencoder


def build_autoencoder(
    image_shape: tuple[int, int, int],
    *,
    architecture: str = "convolutional",
    normalization: str = "l2",
    placement: str = "embedding",
    embedding_size: int = 10,
    activation: str = "relu",
    leaky_relu_slope: float = 0.2,
    initializer: str = "glorot_uniform",
) -> Autoencoder:
    """Builds the autoencoder D(E_c(I)) (Eqs. 5.2, 5.3, 5.5).

    Args:
        image_shape: (H, W, C) of any size; 28×28 gives exactly DCEC's layers.
        architecture: "convolutional" (DCEC) or "dense" (DEC).
        normalization: "none", "batch", "layer" or "l2".
        placement: of the normalization: "embedding", or "hidden" for batch or layer normalization between each
            hidden layer and its activation, with an embedding as it comes.
        embedding_size: D.
        activation: of the hidden layers.
        leaky_relu_slope: of "leaky_relu" below zero.
        initializer: of all kernels.

    Raises:
        ValueError: `image_shape` is not (H, W, C), or `architecture`, `normalization` or `placement` is unknown, or
            the last two do not go together.
    """
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"Expected images of shape (height, width, channels), got {image_shape}.")
    if architecture not in ("convolutional", "dense"):
        raise ValueError(f"Expected architecture 'convolutional' or 'dense', got {architecture!r}.")
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"Expected normalization {list(NORMALIZATIONS)}, got {normalization!r}.")
    if placement != "embedding" and (placement != "hidden" or normalization not in HIDDEN_NORMALIZATIONS):
        raise ValueError(
            f"Expected placement 'embedding', or 'hidden' with normalization {list(HIDDEN_NORMALIZATIONS)}, "
            f"got {placement!r} with {normalization!r}."
        )
    encode, decode = (
        (_convolutional_encoder, _convolutional_decoder)
        if architecture == "convolutional"
        else (_dense_encoder, _dense_decoder)
    )
    function = keras.activations.get(activation)
    if activation == "leaky_relu":
        function = partial(function, negative_slope=leaky_relu_slope)
    hidden = _Hidden(function, initializer, normalization if placement == "hidden" else "none")
    image = keras.Input(image_shape, name="image")
    features = encode(image, hidden)
    # NOTE(paper): "except for the last one" of the LeakyReLUs is read as in DEC, whose structure it
    # is: neither the embedding nor the reconstruction has an activation.
    embedding = layers.Dense(embedding_size, kernel_initializer=initializer, dtype="float32", name="embedding")
    normalize = NORMALIZATIONS["none" if placement == "hidden" else normalization](dtype="float32", name="code")
    code = normalize(embedding(features))  # Eq. 5.2
    reconstruction = decode(code, image_shape, hidden)  # Eq. 5.3
    return Autoencoder(
        training_model=keras.Model(image, reconstruction, name="autoencoder"),
        encoder=keras.Model(image, code, name="encoder"),
    )


@dataclass(frozen=True)
class _Hidden:
    """What all hidden layers have in common."""

    activation: Callable
    initializer: str
    normalization: str

    def layer(self, x, kind, *sizes, name):
        """A layer of class `kind`, its normalization and its activation."""
        if self.normalization == "none":
            return kind(*sizes, activation=self.activation, kernel_initializer=self.initializer, name=name)(x)
        x = kind(*sizes, kernel_initializer=self.initializer, name=name)(x)
        x = HIDDEN_NORMALIZATIONS[self.normalization](name=f"{name}_normalized")(x)
        return layers.Activation(self.activation, name=f"{name}_activation")(x)


def _dense_encoder(image, hidden):
    x = layers.Flatten(name="pixels")(image)
    for i, units in enumerate(UNITS, 1):
        x = hidden.layer(x, layers.Dense, units, name=f"encoder_{i}")
    return x


def _dense_decoder(code, image_shape, hidden):
    x = code
    for i, units in reversed(list(enumerate(UNITS, 1))):
        x = hidden.layer(x, layers.Dense, units, name=f"decoder_{i}")
    last = layers.Dense(
        math.prod(image_shape), kernel_initializer=hidden.initializer, dtype="float32", name="decoder_0"
    )
    return layers.Reshape(image_shape, dtype="float32", name="reconstruction")(last(x))


def _sizes_and_paddings(height: int, width: int) -> list[tuple[tuple[int, int], str]]:
    """(input size, padding) of each stride-2 convolution.

    DCEC pads all of them but the last at 28×28, where 7 -> 3 without padding can be undone exactly by
    an unpadded transposed convolution; other odd sizes are treated alike.
    """
    stages = []
    for kernel in KERNELS:
        padding = "valid" if kernel == 3 and height % 2 and width % 2 and min(height, width) >= 3 else "same"
        stages.append(((height, width), padding))
        height, width = ((n - kernel) // 2 + 1 if padding == "valid" else -(-n // 2) for n in (height, width))
    return stages


def _convolutional_encoder(image, hidden):
    x = image  # (B, H, W, C)
    stages = _sizes_and_paddings(*image.shape[1:3])
    for i, (filters, kernel, (_, padding)) in enumerate(zip(FILTERS, KERNELS, stages), 1):
        x = hidden.layer(x, layers.Conv2D, filters, kernel, 2, padding, name=f"encoder_{i}")
    return layers.Flatten(name="features")(x)  # (B, H/8 · W/8 · 128)


def _convolutional_decoder(code, image_shape, hidden):
    stages = _sizes_and_paddings(*image_shape[:2])
    (height, width), padding = stages[-1]
    smallest = (height // 2, width // 2) if padding == "valid" else (-(-height // 2), -(-width // 2))
    x = hidden.layer(code, layers.Dense, math.prod(smallest) * FILTERS[-1], name="decoder_4")
    x = layers.Reshape((*smallest, FILTERS[-1]), name="decoder_map")(x)  # (B, H/8, W/8, 128)
    filters = (image_shape[2], *FILTERS[:-1])  # (C, 32, 64): what each stage gives back
    for i, (size, padding) in reversed(list(enumerate(stages, 1))):
        sizes, name = (filters[i - 1], KERNELS[i - 1], 2, padding), f"decoder_{i}"
        if i > 1:
            x = hidden.layer(x, layers.Conv2DTranspose, *sizes, name=name)
        else:
            last = layers.Conv2DTranspose(*sizes, kernel_initializer=hidden.initializer, dtype="float32", name=name)
            x = last(x)
        surplus = [grown - n for grown, n in zip(x.shape[1:3], size)]
        if any(surplus):  # an odd size was rounded up on the way down
            x = layers.Cropping2D([(0, n) for n in surplus], dtype=x.dtype, name=f"decoder_{i}_crop")(x)
    return x
