"""The autoencoders of section 2.1 (pub) with their binarization and loss, and the deblocking network."""

import math
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from common.experiments.training import precision
from common.layers import L2Normalize
from common.random_state import seeded

from .bitstream.container import BLOCK
from .config import Config, Trial

LEVELS = 5  # of either part: as often is a block halved
_HALVINGS = 3  # of an image by the deblocking network
# Which rows of a 3×3 kernel add up to each row of the 4×4 one of `GrowingConv2D`.
_TAPS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))


@keras.saving.register_keras_serializable(package=__package__)
class Binarization(layers.Layer):
    """Codes in [0, 1] made binary, or noisy as a simulation of it (section 2.3 (pub)).

    The noise is uniform in ±|rint(x) - x|, so that a noisy code stays in [0, 1], which is where binary ones are too.
    At inference codes are rounded. The attribute `actual` says whether training rounds as well; gradients then pass as
    if nothing had been rounded.

    Args:
        kind: "noise"; "straight_through", which always rounds; "none", which leaves codes as they are in training.
        seed: of the noise.

    Input and output shape: (B, K).
    """

    def __init__(self, kind: str = "noise", seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.kind, self.seed, self.actual = kind, seed, False
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=None):
        rounded = ops.round(inputs)  # rint: halves to even
        if not training or self.actual or self.kind == "straight_through":
            return inputs + ops.stop_gradient(rounded - inputs)
        if self.kind == "none":
            return inputs
        bound = ops.abs(rounded - inputs)  # a of section 4.2.2
        uniform = keras.random.uniform(ops.shape(inputs), -1.0, 1.0, dtype=inputs.dtype, seed=self.generator)
        return inputs + ops.stop_gradient(uniform * bound)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "kind": self.kind, "seed": self.seed}


def entropy_friendly_loss(codes):
    """Mean squared difference between neighbors in a code padded with a zero on both sides (Eq. 4.1).

    Args:
        codes: (B, K).

    Returns:
        (B,).
    """
    padded = ops.pad(codes, [[0, 0], [1, 1]])
    return ops.mean(ops.square(padded[:, 1:] - padded[:, :-1]), axis=1)


@keras.saving.register_keras_serializable(package=__package__)
class EntropyFriendly(layers.Layer):
    """Passes codes on and adds `weight` times their mean `entropy_friendly_loss` to the loss.

    Args:
        weight: λ of section 2.3 (pub).
    """

    def __init__(self, weight: float = 0.001, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight

    def call(self, inputs):
        if self.weight:
            self.add_loss(self.weight * ops.mean(entropy_friendly_loss(inputs)))
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "weight": self.weight}


@dataclass(frozen=True)
class Autoencoder:
    """Graphs over the same layers.

    Attributes:
        training_model: blocks (B, 32, 32, 3) in [0, 1] -> decoded blocks in [0, 1], through `binarization`.
        encoder: blocks (B, 32, 32, 3) in [0, 1] -> codes (B, K) in (0, 1).
        decoder: codes (B, K) in [0, 1] -> blocks (B, 32, 32, 3) in [0, 1].
        binarization: between the two.
    """

    training_model: keras.Model
    encoder: keras.Model
    decoder: keras.Model
    binarization: Binarization


def build(config: Config, trial: Trial, code_length: int, initial: Autoencoder | None = None) -> Autoencoder:
    """One of a trial's networks with its initial weights.

    Args:
        config: of the run.
        trial: gives the seed.
        code_length: K.
        initial: network of the same shapes whose weights it begins with.
    """
    with seeded(trial.seed), precision(config.precision):
        model = build_autoencoder(
            code_length,
            width=config.width,
            binarization=config.binarization,
            normalization=config.normalization,
            growing=config.growing,
            entropy_weight=config.entropy_weight,
            seed=trial.seed,
        )
    if initial is not None:
        # Copies, as JAX gives a network's arrays away when it trains.
        model.training_model.set_weights([weight.copy() for weight in initial.training_model.get_weights()])
    return model


def build_autoencoder(
    code_length: int,
    *,
    width: int = 64,
    binarization: str = "noise",
    normalization: str = "l2",
    growing: str = "deconvolution",
    entropy_weight: float = 0.001,
    seed: int = 0,
) -> Autoencoder:
    """Builds one of the networks of section 2.1 (pub).

    Args:
        code_length: K.
        width: channels of the first convolution; the four others double them.
        binarization: as `Binarization`'s kind.
        normalization: "l2" of the decoder's input; "none"; "batch", which has none and batch normalization after each
            convolution of both parts.
        growing: "deconvolution" of 3×3 with stride 2, as the publication; "upsampling" and convolution, as the chapter.
        entropy_weight: λ of the entropy-friendly loss.
        seed: of the noise.
    """
    encoder = _encoder(code_length, width, normalization == "batch")
    decoder = _decoder(code_length, width, normalization, growing)
    encoder.jit_compile = decoder.jit_compile = False  # XLA takes seconds to compile, and is slower on CPUs
    block = keras.Input((BLOCK, BLOCK, 3), name="block")
    layer = Binarization(binarization, seed, dtype="float32", name="binarization")
    codes = layer(EntropyFriendly(entropy_weight, dtype="float32", name="entropy_friendly")(encoder(block)))
    return Autoencoder(keras.Model(block, decoder(codes), name="training"), encoder, decoder, layer)


def _activation(name: str) -> layers.Layer:
    # One slope for each channel, from 0.25 on as in He et al. 2015, who propose the layer; at Keras' 0 it is a ReLU.
    return layers.PReLU(alpha_initializer=keras.initializers.Constant(0.25), shared_axes=[1, 2], name=name)


@keras.saving.register_keras_serializable(package=__package__)
class GrowingConv2D(layers.Layer):
    """Nearest-neighbor up-sampling by two, then a 3×3 convolution, as one transposed convolution of 4×4.

    Each output pixel sees two rows and columns of the input, one of them twice, so weights of a 3×3 kernel add up to
    those of a 4×4 one: 4/9 of the multiplications, and no larger image in between.

    Args:
        filters: D.

    Input shape: (B, H, W, C); output shape: (B, 2H, 2W, D).
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, input_shape):
        shape = (3, 3, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer="he_normal", name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, inputs):
        taps = ops.convert_to_tensor(_TAPS, dtype=self.compute_dtype)
        kernel = ops.einsum("ar,bs,rsio->aboi", taps, taps, self.kernel)
        return ops.conv_transpose(inputs, kernel, strides=2, padding="same") + self.bias

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return batch, 2 * height, 2 * width, self.filters

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


def _encoder(code_length: int, width: int, batch_normalization: bool) -> keras.Model:
    block = keras.Input((BLOCK, BLOCK, 3), name="block")
    x = block
    for i in range(LEVELS):
        x = layers.Conv2D(width * 2**i, 3, 2, "same", kernel_initializer="he_normal", name=f"down{i + 1}")(
            x
        )  # (B, 16 … 1, 16 … 1, width · 2^i)
        if batch_normalization:
            x = layers.BatchNormalization(name=f"down{i + 1}_bn")(x)
        x = _activation(f"down{i + 1}_prelu")(x)
    x = layers.Conv2D(code_length, 1, activation="sigmoid", dtype="float32", name="code")(x)
    return keras.Model(block, layers.Flatten(dtype="float32", name="flat")(x), name="encoder")


def _decoder(code_length: int, width: int, normalization: str, growing: str) -> keras.Model:
    code = keras.Input((code_length,), name="code")
    x = code
    if normalization == "l2":
        # √K keeps numbers near one, where initializers expect them. The first convolution can absorb it, so the
        # functions that the network can learn are the publication's; it starts to learn much sooner.
        x = L2Normalize(dtype="float32", name="normalized")(x)
        x = layers.Rescaling(math.sqrt(code_length), dtype="float32", name="scale")(x)
    x = layers.Reshape((1, 1, code_length), name="pixel")(x)
    for i in reversed(range(LEVELS)):
        options: dict[str, Any] = {"filters": width * 2**i, "name": f"up{i + 1}"}
        if growing == "upsampling":
            x = GrowingConv2D(**options)(x)  # (B, 2 … 32, 2 … 32, width · 2^i)
        else:
            # As He et al. propose: a pixel meets a quarter of the nine taps. Of this kernel Keras takes the inputs as
            # its outputs.
            initializer = keras.initializers.VarianceScaling(2.0 * 4, "fan_out")
            options |= {"kernel_size": 3, "strides": 2, "padding": "same", "kernel_initializer": initializer}
            x = layers.Conv2DTranspose(**options)(x)
        if normalization == "batch":
            x = layers.BatchNormalization(name=f"up{i + 1}_bn")(x)
        x = _activation(f"up{i + 1}_prelu")(x)
    pixels = layers.Conv2D(3, 1, activation="sigmoid", dtype="float32", name="pixels")(x)
    return keras.Model(code, pixels, name="decoder")


def build_deblocking(width: int = 8) -> keras.Model:
    """The deblocking network: images (B, H, W, 3) in [0, 1] -> the same without visible borders of blocks.

    A U-Net (Ronneberger et al. 2015) whose output is added to its input; it begins as the identity. H and W must be
    multiples of 8.

    Args:
        width: channels of the first level; each lower one doubles them.
    """

    def twice(x, channels: int, name: str):
        for i in (1, 2):
            x = layers.Conv2D(channels, 3, padding="same", kernel_initializer="he_normal", name=f"{name}_conv{i}")(x)
            x = _activation(f"{name}_prelu{i}")(x)
        return x

    image = keras.Input((None, None, 3), name="image")
    x, skipped = image, []
    for level in range(_HALVINGS):
        x = twice(x, width * 2**level, f"down{level}")
        skipped.append(x)
        x = layers.MaxPooling2D(2, name=f"pool{level}")(x)
    x = twice(x, width * 2**_HALVINGS, "bottom")
    for level in reversed(range(_HALVINGS)):
        x = layers.UpSampling2D(2, name=f"grow{level}")(x)
        x = twice(layers.Concatenate(name=f"joined{level}")([x, skipped[level]]), width * 2**level, f"up{level}")
    change = layers.Conv2D(3, 1, kernel_initializer="zeros", dtype="float32", name="change")(x)
    deblocked = layers.Add(dtype="float32", name="deblocked")([image, change])
    network = keras.Model(image, deblocked, name="deblocking")
    network.jit_compile = False  # as above; training may choose otherwise
    return network
