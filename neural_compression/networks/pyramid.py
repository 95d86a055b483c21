"""The publication's convolutions, begun in closed form: components of 2×2 cells, level by level, and thresholds.

Trained from random weights for hours, the convolutions stay 2 dB behind what this start has before any training.
Networks of all code lengths share the convolutions, and differ in how finely their codes cut the same coefficients.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, ops

from ..bitstream.container import BLOCK
from ..model import LEVELS, Autoencoder, Binarization
from .blocks import symmetries
from .rate_distortion import RateDistortion, expected_bits
from .thresholds import Thresholds, levels_of, thresholds_of

NEIGHBOR_BITS = 128  # of a block that the entropy coder looks at for the next: those of the largest coefficients
_SHARPNESS = 16.0  # change of a bit's logit over a step; so wide, codes next to a threshold have gradients
_FITTED = 2**16  # blocks, whose coefficients thresholds and levels are fitted to
_AT_ONCE = 2048  # blocks, as floats


@dataclass(frozen=True, eq=False)
class Pyramid:
    """Networks that share their convolutions.

    Attributes:
        networks: one of each code length.
        coefficients: (N, C) float32 of the blocks that thresholds and levels are fitted to.
        cuts: thresholds of each network.
    """

    networks: list[Autoencoder]
    coefficients: np.ndarray
    cuts: list[Thresholds]

    def training_model(self, rate_weight: float) -> RateDistortion:
        """Blocks (B, 32, 32, 3) in [0, 1] -> the networks' blocks, an equal share of the batch each.

        Each network codes its share, and all deconvolutions run at once; the loss is their rate and distortion. B must
        be a multiple of the number of networks.

        Args:
            rate_weight: λ in squared steps, see `Config`.
        """
        analysis, synthesis = shared((self.networks[0].encoder, self.networks[0].decoder))
        block, number = keras.Input((BLOCK, BLOCK, 3), name="block"), len(self.networks)
        shares = ops.reshape(analysis(block), (-1, number, analysis.output_shape[-1]))
        decoded, bits, models = [], [], []
        for i, (network, cut) in enumerate(zip(self.networks, self.cuts)):
            encoder, decoder = network.encoder, network.decoder
            code = shares[:, i]
            for layer in encoder.layers[2:]:  # after the block and the convolutions
                code = layer(code)
            code = network.binarization(code)
            models.append(expected_bits(cut, dtype="float32", name=f"expected_bits{i}"))
            bits.append(models[-1](code))
            decoded.append(decoder.get_layer(f"levels{len(cut.which)}")(code))
        coefficients_of_all = ops.reshape(ops.stack(decoded, axis=1), (-1, analysis.output_shape[-1]))
        errors = ops.sum(ops.square(synthesis(coefficients_of_all) - block), axis=(1, 2, 3))
        errors = ops.reshape(errors, (-1, number))
        model = RateDistortion(block, [x for i in range(number) for x in (errors[:, i], bits[i])], name="training")
        scales = []
        for network, cut, bit_model in zip(self.networks, self.cuts, models):
            codes = _codes(self.coefficients, cut)
            bit_model.start(codes)
            levels, zero = network.decoder.get_layer(f"levels{len(cut.which)}").get_weights()
            scales.append(float(np.square(self.coefficients - codes @ levels - zero).sum(1).mean()))
        rate_weights = [rate_weight * cut.step**2 for cut in self.cuts]
        return model.weigh([str(len(cut.which)) for cut in self.cuts], rate_weights, scales)


def build(code_lengths: Sequence[int], width: int) -> list[Autoencoder]:
    """Networks with random weights; `training_model` of each is without any rate.

    encoder: block -> five convolutions -> C coefficients -> K logits -> sigmoid; decoder: K bits -> C coefficients ->
    five deconvolutions -> block, where C is 16 · width.

    NOTE(paper): a linear layer, the levels that bits stand for, comes before the deconvolutions, and the last layer is
    linear. There is no L2 normalization: how many bits are set says how strong a block's contrasts are.
    """
    analysis, synthesis, networks = _analysis(width), _synthesis(width), []
    for length in code_lengths:
        block, code = keras.Input((BLOCK, BLOCK, 3), name="block"), keras.Input((length,), name="code")
        logits = layers.Dense(length, name=f"code{length}")(analysis(block))  # a 1×1 convolution of one pixel
        sharpened = layers.Rescaling(_SHARPNESS, dtype="float32", name=f"sharpness{length}")(logits)
        encoder = keras.Model(
            block, layers.Activation("sigmoid", dtype="float32", name=f"bits{length}")(sharpened), name="encoder"
        )
        levels = layers.Dense(16 * width, name=f"levels{length}")(code)
        decoder = keras.Model(code, synthesis(levels), name="decoder")
        encoder.jit_compile = decoder.jit_compile = False  # as in `model`
        binarization = Binarization("straight_through", dtype="float32", name=f"binarization{length}")
        training_model = keras.Model(block, decoder(binarization(encoder(block))), name="training")
        networks.append(Autoencoder(training_model, encoder, decoder, binarization))
    return networks


def fitted(blocks: np.ndarray, width: int, code_lengths: Sequence[int]) -> Pyramid:
    """The networks for training blocks (N, 32, 32, 3) uint8, in closed form.

    Level by level, cells of 2×2 are gathered into one vector, of which the first principal components are the channels
    of the next level: a convolution of 2×2 in the 3×3 kernel, and its transpose a deconvolution. At slope 1 PReLU is
    the identity. The decoder adds up to the mean of the training coefficients between two thresholds, which has the
    least squared error for these bits.

    Args:
        blocks: to learn from.
        width: w; level i has up to w · 2^i channels.
        code_lengths: K of each network.

    Raises:
        ValueError: there are too few blocks, or a code is longer than the smallest step allows.
    """
    if len(blocks) <= 16 * width:
        raise ValueError(
            f"{16 * width} principal components need more than {16 * width} blocks, got {len(blocks)}. "
            "Add photographs, or lower --width."
        )
    networks = build(code_lengths, width)
    chosen = blocks[np.sort(np.random.default_rng(0).permutation(len(blocks))[:_FITTED])]
    kernels, color = cell_components(chosen, width)
    set_cells(networks, kernels, color)
    analysis = shared((networks[0].encoder, networks[0].decoder))[0]
    parts = np.array_split(chosen, -(-len(chosen) // _AT_ONCE))
    coefficients = np.concatenate([analysis.predict_on_batch(part / np.float32(255)) for part in parts])
    cuts = [thresholds_of(coefficients, length) for length in code_lengths]
    for length, cut, network in zip(code_lengths, cuts, networks):
        kernel = np.zeros((16 * width, len(cut.which)), np.float32)
        kernel[cut.which, np.arange(len(cut.which))] = np.sign(cut.values) / cut.step
        network.encoder.get_layer(f"code{length}").set_weights([kernel, -np.abs(cut.values) / cut.step])
        levels = np.zeros(kernel.T.shape, np.float32)
        levels[np.arange(len(levels)), cut.which], zero = levels_of(coefficients, cut)
        network.decoder.get_layer(f"levels{length}").set_weights([levels, zero])
    return Pyramid(networks, coefficients, cuts)


def shared(parts: tuple[keras.Model, keras.Model]) -> tuple[keras.Model, keras.Model]:
    """The convolutions of an encoder and the deconvolutions of a decoder that `build` made."""
    return parts[0].get_layer("analysis"), parts[1].get_layer("synthesis")


def own_layer(part: keras.Model) -> layers.Layer | None:
    """The layer of an encoder or a decoder that networks do not share; None if `build` did not make it."""
    return next((layer for layer in part.layers if re.fullmatch(r"(code|levels)\d+", layer.name)), None)


def cell_components(blocks: np.ndarray, width: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Kernels (2, 2, C, D) float32 of each level, with orthonormal columns, and the mean color (3,) in [0, 1].

    A level whose cells have fewer than D dimensions has zeros for the rest. Each block counts in all its eight
    symmetries: components of the last levels, of up to a thousand dimensions, fit the blocks by chance otherwise.

    Args:
        blocks: (N, 32, 32, 3) uint8.
        width: D of the first level; each later one doubles it.
    """
    color = (blocks.mean(axis=(0, 1, 2)) / 255).astype(np.float32)
    kernels: list[np.ndarray] = []
    for i in range(LEVELS):
        # Levels up to the third have many cells a block, so few blocks are enough.
        moments = _moments(blocks if i >= LEVELS - 2 else blocks[:: max(1, len(blocks) // _AT_ONCE)], kernels, color)
        count = min(width * 2**i, len(moments))
        _, vectors = np.linalg.eigh(moments)  # variances rise
        kernel = np.zeros((len(moments), width * 2**i), np.float32)
        kernel[:, :count] = vectors[:, : -count - 1 : -1]
        kernels.append(kernel.reshape(2, 2, -1, kernel.shape[1]))
    return kernels, color


def _moments(blocks: np.ndarray, kernels: Sequence[np.ndarray], color: np.ndarray) -> np.ndarray:
    """(4C, 4C) float64 second moments of the cells that come after these kernels, in all symmetries of the blocks."""
    dimensions = 4 * kernels[-1].shape[-1] if kernels else 4 * len(color)
    moments = np.zeros((dimensions, dimensions))
    for start in range(0, len(blocks), _AT_ONCE):
        for part in symmetries(blocks[start : start + _AT_ONCE]):
            x = part / np.float32(255) - color
            for kernel in kernels:
                x = _cells(x) @ kernel.reshape(-1, kernel.shape[-1])
            cells = _cells(x).reshape(-1, dimensions)
            moments += cells.T @ cells
    return moments


def _cells(x: np.ndarray) -> np.ndarray:
    """(N, 2H, 2W, C) -> (N, H, W, 4C), rows, columns and channels of a cell in the order of a 2×2 kernel."""
    n, height, width, channels = x.shape
    split = x.reshape(n, height // 2, 2, width // 2, 2, channels)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(n, height // 2, width // 2, 4 * channels)


def _analysis(width: int) -> keras.Model:
    block = keras.Input((BLOCK, BLOCK, 3), name="block")
    x = block
    for i in range(LEVELS):
        x = layers.Conv2D(width * 2**i, 3, 2, "same", name=f"down{i + 1}")(x)  # (B, 16 … 1, 16 … 1, w · 2^i)
        x = layers.PReLU(alpha_initializer="ones", shared_axes=[1, 2], name=f"down{i + 1}_prelu")(x)
    return keras.Model(block, layers.Flatten(name="coefficients")(x), name="analysis")


def _synthesis(width: int) -> keras.Model:
    coefficients = keras.Input((16 * width,), name="coefficients")
    x = layers.Reshape((1, 1, 16 * width), name="pixel")(coefficients)
    for i in reversed(range(LEVELS)):
        channels = width * 2 ** max(0, i - 1)
        x = layers.Conv2DTranspose(channels, 3, 2, "same", name=f"up{i + 1}")(x)  # (B, 2 … 32, 2 … 32, channels)
        x = layers.PReLU(alpha_initializer="ones", shared_axes=[1, 2], name=f"up{i + 1}_prelu")(x)
    return keras.Model(coefficients, layers.Conv2D(3, 1, dtype="float32", name="pixels")(x), name="synthesis")


def set_cells(networks: Sequence[Autoencoder], kernels: Sequence[np.ndarray], color: np.ndarray) -> None:
    """Makes the convolutions those of kernels (2, 2, C, D) with orthonormal columns, and the deconvolutions undo them.

    The first two taps of three in each direction are a cell's own (`padding="same"`).
    """
    analysis, synthesis = shared((networks[0].encoder, networks[0].decoder))
    random = np.random.default_rng(0)
    for i, kernel in enumerate(kernels):
        down, up = analysis.get_layer(f"down{i + 1}"), synthesis.get_layer(f"up{i + 1}")
        whole = np.zeros(down.kernel.shape, np.float32)
        whole[:2, :2] = kernel
        bias = -color @ kernel.sum((0, 1)) if i == 0 else np.zeros(kernel.shape[-1], np.float32)
        down.set_weights([whole, bias])
        # The last deconvolution has channels beside the three of colors, which begin small and are not looked at yet.
        back = random.normal(0, 0.01 if i == 0 else 0, up.kernel.shape)
        back[:, :, : kernel.shape[2]] = 0
        back[:2, :2, : kernel.shape[2]] = kernel
        up.set_weights([back, np.zeros(up.bias.shape, np.float32)])
    pixels = synthesis.get_layer("pixels")
    pixels.set_weights([np.eye(*pixels.kernel.shape[2:], dtype=np.float32)[None, None], color])


def _codes(coefficients: np.ndarray, cut: Thresholds) -> np.ndarray:
    """(N, K) float32 of 0 and 1."""
    signs = np.sign(cut.values)
    return (coefficients[:, cut.which] * signs > np.abs(cut.values)).astype(np.float32)
