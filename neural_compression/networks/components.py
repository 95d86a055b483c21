"""Networks of principal components: a linear autoencoder whose coefficients become bits by thresholds.

NOTE(paper): the publication's networks are convolutions, see `model`. At a width that two CPU cores train, the best
linear ones, which need no training, have the better images at the same rate (README). Code optimization, the choice of
networks, entropy coding and deblocking are the same for both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from ..bitstream.container import BLOCK
from ..model import Autoencoder, Binarization

OWN = {"encoder": "bits", "decoder": "levels"}  # the layer of each part that networks do not share
NEIGHBOR_BITS = 128  # of a block that the entropy coder looks at for the next: those of the largest components
_SAMPLES = BLOCK * BLOCK * 3
_INNERMOST = 0.7  # steps from zero to the nearest thresholds; more than a half, as zeros are cheap
_RARE = 0.002  # of training blocks are beyond the outermost thresholds of a component, on either side
# Change of a bit's logit over a step. So steep, code optimization turns first what is next to a threshold.
_SHARPNESS = 64.0
_FITTED = 2**16  # blocks, whose coefficients thresholds and levels are fitted to
_AT_ONCE = 8192  # blocks, as floats


@dataclass(frozen=True)
class Components:
    """Principal components of blocks (32, 32, 3) in [0, 1], flattened.

    Attributes:
        mean: (3072,) float32.
        basis: (3072, C) float32, orthonormal columns; variances fall.
    """

    mean: np.ndarray
    basis: np.ndarray


def build(code_lengths: Sequence[int], components: Components) -> list[Autoencoder]:
    """Networks that share their first and their last layer, the coefficients; what lies between is to be filled.

    encoder: block -> C coefficients -> K logits, linear -> sigmoid; decoder: K bits -> C coefficients -> block.
    """
    count, mean = components.basis.shape[1], components.mean
    analysis, synthesis = layers.Dense(count, name="components"), layers.Dense(_SAMPLES, name="pixels")
    networks = []
    for length in code_lengths:
        block, code = keras.Input((BLOCK, BLOCK, 3), name="block"), keras.Input((length,), name="code")
        logits = layers.Dense(length, "sigmoid", name=OWN["encoder"])
        encoder = keras.Model(block, logits(analysis(layers.Flatten(name="flat")(block))), name="encoder")
        pixels = synthesis(layers.Dense(count, name=OWN["decoder"])(code))
        decoder = keras.Model(code, layers.Reshape((BLOCK, BLOCK, 3), name="shaped")(pixels), name="decoder")
        encoder.jit_compile = decoder.jit_compile = False  # as in `model`
        binarization = Binarization("straight_through", name="binarization")
        training_model = keras.Model(block, decoder(binarization(encoder(block))), name="training")
        networks.append(Autoencoder(training_model, encoder, decoder, binarization))
    analysis.set_weights([components.basis, -mean @ components.basis])
    synthesis.set_weights([components.basis.T, mean])
    return networks


def fitted(blocks: np.ndarray, count: int, code_lengths: Sequence[int]) -> list[Autoencoder]:
    """The networks for training blocks (N, 32, 32, 3) uint8, in closed form.

    Each coefficient is compared with thresholds that are a step apart, the same step for all. A bit says whether a
    coefficient is beyond its threshold, seen from zero, so most bits are 0. The decoder adds up to the mean of the
    training coefficients between two thresholds, which has the least squared error for these bits.

    Args:
        blocks: to learn from.
        count: C, of components.
        code_lengths: K of each network.

    Raises:
        ValueError: there are fewer blocks than components, or a code is longer than the smallest step allows.
    """
    if len(blocks) <= count:
        raise ValueError(
            f"{count} principal components need more than {count} blocks, got {len(blocks)}. "
            "Add photographs, or lower --components."
        )
    flat = blocks.reshape(len(blocks), _SAMPLES)
    components = _principal(flat, count)
    chosen = np.random.default_rng(0).permutation(len(flat))[:_FITTED]
    coefficients = np.concatenate([_coefficients(flat[np.sort(part)], components) for part in _parts(chosen)])
    networks = build(code_lengths, components)
    for length, network in zip(code_lengths, networks):
        which, thresholds, step = thresholds_of(coefficients, length)
        bits = np.arange(length)
        kernel, levels = np.zeros((count, length), np.float32), np.zeros((length, count), np.float32)
        sharpness = _SHARPNESS / step
        kernel[which, bits] = sharpness * np.sign(thresholds)
        network.encoder.get_layer(OWN["encoder"]).set_weights([kernel, -sharpness * np.abs(thresholds)])
        levels[bits, which], zero = levels_of(coefficients, which, thresholds)
        network.decoder.get_layer(OWN["decoder"]).set_weights([levels, zero])
    return networks


def thresholds_of(coefficients: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Where K bits cut coefficients.

    Args:
        coefficients: (N, C), zero mean, by falling variance.
        length: K.

    Returns:
        (K,) components, rising; (K,) thresholds of either sign, in each component from zero outwards; and their step,
        the largest with which there are K.
    """
    ends = np.quantile(coefficients, [1 - _RARE, _RARE], axis=0) * [[1], [-1]]  # (2, C): how far to either side

    def counts(step: float) -> np.ndarray:
        return np.maximum(0, np.ceil(ends / step - _INNERMOST)).astype(int)  # (2, C)

    large = ends.max() or 1.0
    small = 1e-5 * large
    if counts(small).sum() < length:
        raise ValueError(f"The blocks are too much alike for codes of {length} bits. Lower --code-lengths.")
    for _ in range(60):
        step = np.sqrt(small * large)
        small, large = (step, large) if counts(step).sum() >= length else (small, step)
    places = [
        (which, order, sign)
        for sign, row in zip((1, -1), counts(small))
        for which, number in enumerate(row)
        for order in range(number)
    ]
    places.sort()  # as the last component may have some too many, those are left out
    which, order, sign = np.array(places[:length]).T
    return which, (sign * (order + _INNERMOST) * small).astype(np.float32), float(small)


def levels_of(coefficients: np.ndarray, which: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K,) what each bit adds to its coefficient, and (C,) what a coefficient is without any."""
    added, zero = np.zeros(len(which), np.float32), coefficients.mean(axis=0)
    for component in np.unique(which):
        bits = np.flatnonzero(which == component)
        cuts, values = np.sort(thresholds[bits]), coefficients[:, component]
        cells, first = np.searchsorted(cuts, values), int((cuts < 0).sum())
        number = np.bincount(cells, minlength=len(cuts) + 1)
        # A cell that no block is in, as few are far out, has its inner end.
        inner = np.concatenate([cuts[:first], [0], cuts[first:]])
        means = np.where(number, np.bincount(cells, values, len(cuts) + 1) / np.maximum(number, 1), inner)
        zero[component] = means[first]
        outwards = np.diff(means) * np.where(np.arange(len(cuts)) < first, -1, 1)
        added[bits] = outwards[np.searchsorted(cuts, thresholds[bits])]
    return added, zero.astype(np.float32)


def _principal(flat: np.ndarray, count: int) -> Components:
    # scikit-learn's PCA wants all blocks as floats at once: 1.4 GB for those of the codec that ships.
    mean = flat.mean(axis=0) / 255
    covariance = np.zeros((_SAMPLES, _SAMPLES))
    for part in _parts(flat):
        centered = (part / 255 - mean).astype(np.float32)
        covariance += centered.T @ centered
    _, vectors = np.linalg.eigh(covariance)  # variances rise
    return Components(mean.astype(np.float32), vectors[:, : -count - 1 : -1].astype(np.float32))


def _coefficients(flat: np.ndarray, components: Components) -> np.ndarray:
    return (flat / np.float32(255) - components.mean) @ components.basis


def _parts(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // _AT_ONCE))
