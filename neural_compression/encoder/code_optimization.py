"""Code optimization of section 2.2 (pub): after training, each block's code is fitted to the block by gradient descent.

The decoder is frozen. `optimize_by_encoder` is the publication's way, which fine-tunes the encoder for one block at a
time; `optimize_codes` does without the encoder and moves the logits of many blocks' codes at once, which is many times
faster. Both compute with copies of the networks.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import keras
import numpy as np
from keras import layers, ops
from tqdm import tqdm

from common import distribution
from common.experiments.training import precision
from common.random_state import seeded

from ..bitstream.bit_model import LARGEST, PRECISION, PROBABILITIES, UNIT, BitModel
from ..bitstream.container import BLOCK
from ..model import Binarization
from ..networks.codec_file import TrainedCodec

_BOUND = 3.9  # of the first logits, about those of 0.02 and 0.98; a bit that starts further out hardly ever turns
_NEAREST = 1e-6  # a logit above zero whose sigmoid is a float above a half

# Bits that a bit takes, at LARGEST + units if it is 1 and at LARGEST - units if it is 0.
_COSTS = np.float32(-np.log2(PROBABILITIES / PRECISION))


class _Logits(layers.Layer):
    """Codes (B, K) in (0, 1) as free numbers, whatever the blocks (B, 32, 32, 3) are that it is called with."""

    def __init__(self, batch_size: int, length: int):
        super().__init__(name="codes", dtype="float32")
        self.logits = self.add_weight(shape=(batch_size, length), initializer="zeros", name="logits")

    def call(self, inputs):
        return ops.sigmoid(self.logits)


class CodeSearch(keras.Model):
    """One step of `train_on_batch` measures the binary codes of B blocks, stores the best, and moves their source.

    The objective of a block is its squared error plus `rate_weight` times the bits of its code.

    Args:
        source: blocks (B, 32, 32, 3) in [0, 1] -> codes (B, K) in (0, 1); its weights are the ones that move.
        decoder: codes (B, K) -> blocks; its weights must be frozen.
        batch_size: B.
        length: K.
        rated: whether the objective counts bits; it then needs `set_rate`.
    """

    def __init__(self, source: keras.Layer, decoder: keras.Model, batch_size: int, length: int, rated: bool):
        super().__init__(name="search", dtype="float32")
        self.source, self.decoder, self.rated = source, decoder, rated
        self.binarization = Binarization("straight_through", name="binarization")

        def state(name, *shape):
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.best_codes = state("best_codes", batch_size, length)
        self.best_objectives, self.best_errors = state("best_objectives", batch_size), state("best_errors", batch_size)
        if rated:
            self.rate_weight, self.context = state("rate_weight"), state("context", batch_size, length)
            self.own_weights = state("own_weights", length, length)  # of bit j for bit k at [j, k]
        self.compile(keras.optimizers.Adam(), jit_compile=distribution.jit())
        self.optimizer.build(self.trainable_variables)

    def call(self, blocks):
        # In inference mode, since the statistics of batch normalization are frozen as well.
        codes = self.binarization(self.source(blocks, training=False))  # (B, K) of exactly 0 and 1
        errors = ops.sum(ops.square(self.decoder(codes, training=False) - blocks), axis=(1, 2, 3))
        objectives = errors + self.rate_weight * self.rates(codes) if self.rated else errors
        better = objectives < self.best_objectives.value
        self.best_codes.assign(ops.where(better[:, None], codes, self.best_codes.value))
        self.best_errors.assign(ops.where(better, errors, self.best_errors.value))
        self.best_objectives.assign(ops.where(better, objectives, self.best_objectives.value))
        self.add_loss(ops.sum(objectives))  # a sum, so that blocks do not change each other's gradients
        return objectives

    def rates(self, codes):
        """(B, K) -> (B,) bits by the integer table; their gradient is that of the logistic function behind it."""
        signs = 2 * codes - 1
        units = ops.matmul(signs, self.own_weights) + self.context  # (B, K), exact whole numbers
        logits = units / UNIT
        # Cross-entropy: linear in a bit, so that the gradient is what turning it changes at itself.
        smooth = (ops.softplus(logits) - codes * logits) / math.log(2)
        index = ops.cast(ops.round(ops.clip(signs * units, -LARGEST, LARGEST)), "int32") + LARGEST
        exact = ops.take(ops.convert_to_tensor(_COSTS), index, axis=0)
        return ops.sum(smooth + ops.stop_gradient(exact - smooth), axis=1)

    def set_rate(self, weight: float, bits: BitModel, left: np.ndarray, up: np.ndarray) -> None:
        """What the bits of the next blocks cost: `left` and `up` (B, K) int8 as ±1 or 0."""
        self.rate_weight.assign(weight)
        self.own_weights.assign(bits.weights.T.astype(np.float32))
        self.context.assign(bits.context_units(left, up).astype(np.float32))

    def best(
        self, blocks: np.ndarray, steps: int, learning_rate: float, stepped: Callable[[], object]
    ) -> tuple[np.ndarray, np.ndarray]:
        """From the source as it stands, with a new optimizer -> (B, K) uint8 codes, (B,) squared errors."""
        for variable in self.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        self.optimizer.learning_rate = learning_rate
        self.best_objectives.assign(np.full(len(blocks), np.inf, np.float32))
        for _ in range(steps):
            self.train_on_batch(blocks)
            stepped()
        self.test_on_batch(blocks)  # measures what the last step led to
        codes, errors = (ops.convert_to_numpy(x) for x in (self.best_codes, self.best_errors))
        return codes.astype(np.uint8), np.array(errors)


# Tracing takes a second or two, so searches are cached: of a codec with three networks, with rate and without.
@lru_cache(maxsize=6)
@seeded(0)  # initial weights, which the codec's replace
@precision("float32")
def logit_search(decoder: keras.Model, batch_size: int, rated: bool) -> CodeSearch:
    length = decoder.input_shape[1]
    return CodeSearch(_Logits(batch_size, length), _copy(decoder, False), batch_size, length, rated)


@lru_cache(maxsize=6)
@seeded(0)  # initial weights, which the codec's replace
@precision("float32")
def _encoder_search(encoder: keras.Model, decoder: keras.Model) -> CodeSearch:
    return CodeSearch(_copy(encoder, True), _copy(decoder, False), 1, decoder.input_shape[1], False)


def _copy(network: keras.Model, trainable: bool) -> keras.Model:
    copied = keras.models.clone_model(network)
    for layer in copied.layers:  # a clone's layers are as frozen as those of the original
        layer.trainable = trainable
    return copied


def optimize_codes(
    codec: TrainedCodec,
    network: int,
    blocks: np.ndarray,
    codes: np.ndarray,
    *,
    steps: int = 50,
    learning_rate: float = 0.1,
    rate_weight: float = 0.0,
    left: np.ndarray | None = None,
    up: np.ndarray | None = None,
    batch_size: int = 128,
) -> tuple[np.ndarray, np.ndarray]:
    """Optimizes the codes of N blocks as free numbers; K is the network's code length.

    Adam moves the logits of the codes, through binarization with straight-through gradients. The best code of each
    block is returned, and the first one is the encoder's, so none gets worse. Blocks do not influence each other.

    NOTE(paper): the publication fine-tunes the encoder and counts the squared error only, see `optimize_by_encoder`.

    Args:
        codec: networks and bit models; it stays as it is.
        network: index of the network that codes the blocks.
        blocks: (N, 32, 32, 3) float32 in [0, 1].
        codes: (N, K) float32 in [0, 1], as the encoder returns them.
        steps: of Adam.
        learning_rate: of Adam.
        rate_weight: λ, squared error that one bit is worth; 0 leaves the bits out.
        left: (N, K) bits of the left neighbors as ±1, 0 where there is none of this network; None is 0 everywhere.
        up: (N, K) those of the upper neighbors.
        batch_size: blocks that are optimized together; the last batch is filled up.

    Returns:
        (N, K) uint8 bits and (N,) float32 squared errors of the decoded blocks, summed over the samples of a block.

    Raises:
        ValueError: the input does not fit.
    """
    _check(codec, network, blocks, steps, learning_rate)
    shape = len(blocks), codec.code_lengths[network]
    _check_codes(codes, shape)
    neighbors = [_neighbors(array, name, shape) for name, array in (("left", left), ("up", up))]
    if not (0 <= rate_weight < math.inf and batch_size >= 1):
        raise ValueError(
            f"rate_weight must be a number from 0 on and batch_size at least 1, got {rate_weight} and {batch_size}."
        )
    search = logit_search(codec.decoders[network], batch_size, rate_weight > 0)
    search.decoder.set_weights(codec.decoders[network].get_weights())
    logits, parts = _first_logits(codes), []
    starts = range(0, len(blocks), batch_size)
    with _bar("optimize codes", len(starts) * steps) as bar:
        for start in starts:
            rows = np.minimum(np.arange(start, start + batch_size), len(blocks) - 1)  # the last block fills up
            search.source.logits.assign(logits[rows])
            if rate_weight:
                search.set_rate(rate_weight, codec.bit_models[network], *(array[rows] for array in neighbors))
            parts.append(search.best(blocks[rows], steps, learning_rate, bar.update))
    return _joined(parts, *shape)


def optimize_by_encoder(
    codec: TrainedCodec, network: int, blocks: np.ndarray, *, steps: int, learning_rate: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Fine-tunes the encoder for each of N blocks by itself and returns the best code, as section 2.2 (pub) does.

    Every block starts from the trained encoder. Binarization, the other arguments, what is returned and the errors
    are those of `optimize_codes`; the objective is the squared error.
    """
    _check(codec, network, blocks, steps, learning_rate)
    encoder, decoder = codec.encoders[network], codec.decoders[network]
    search = _encoder_search(encoder, decoder)
    search.decoder.set_weights(decoder.get_weights())
    weights, parts = encoder.get_weights(), []
    with _bar("optimize encoder", len(blocks) * steps) as bar:
        for block in blocks:
            search.source.set_weights(weights)
            parts.append(search.best(block[None], steps, learning_rate, bar.update))
    return _joined(parts, len(blocks), codec.code_lengths[network])


def _bar(doing: str, steps: int) -> tqdm:
    return tqdm(total=steps, desc=doing, unit="step", delay=2, leave=False)


def _first_logits(codes: np.ndarray) -> np.ndarray:
    """(N, K) in [0, 1] -> (N, K) float32 within the bound, whose rounded sigmoids are the rounded codes."""
    probabilities = np.clip(codes, 1e-6, 1 - 1e-6).astype(np.float64)
    logits = np.clip(np.log(probabilities / (1 - probabilities)), -_BOUND, _BOUND)
    return np.where(codes > 0.5, np.maximum(logits, _NEAREST), logits).astype(np.float32)


def _joined(parts: Sequence[tuple[np.ndarray, np.ndarray]], number: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    empty = np.zeros((0, length), np.uint8), np.zeros(0, np.float32)
    codes, errors = (np.concatenate(arrays)[:number] for arrays in zip(empty, *parts))
    return codes, errors


def _check(codec: TrainedCodec, network: int, blocks: np.ndarray, steps: int, learning_rate: float) -> None:
    if not 0 <= network < len(codec.code_lengths):
        raise ValueError(
            f"network must be from 0 to {len(codec.code_lengths) - 1}, as the codec has them, got {network}."
        )
    if blocks.dtype != np.float32 or blocks.ndim != 4 or blocks.shape[1:] != (BLOCK, BLOCK, 3):
        raise ValueError(
            f"blocks must be (N, {BLOCK}, {BLOCK}, 3) float32, got {blocks.shape} {blocks.dtype}; cut images with "
            "blocks.to_blocks and divide by 255."
        )
    if len(blocks) and not (blocks.min() >= 0 and blocks.max() <= 1):  # also true of NaN
        raise ValueError(f"blocks must be in [0, 1], got {blocks.min()} to {blocks.max()}; divide by 255.")
    if steps < 0 or not 0 < learning_rate < math.inf:
        raise ValueError(f"steps must be from 0 on and learning_rate above 0, got {steps} and {learning_rate}.")


def _check_codes(codes: np.ndarray, shape: tuple[int, int]) -> None:
    if codes.dtype != np.float32 or codes.shape != shape:
        raise ValueError(f"codes must be {shape} float32, got {codes.shape} {codes.dtype}; pass the encoder's output.")
    if codes.size and not (codes.min() >= 0 and codes.max() <= 1):
        raise ValueError(f"codes must be in [0, 1], got {codes.min()} to {codes.max()}; pass the encoder's output.")


def _neighbors(array: np.ndarray | None, name: str, shape: tuple[int, int]) -> np.ndarray:
    if array is None:
        return np.zeros(shape, np.int8)
    if array.shape != shape or not np.isin(array, (-1, 0, 1)).all():
        raise ValueError(
            f"{name} must be {shape} of -1, 0 and 1, got {array.shape} of {array.dtype}; take it from bit_model.signs."
        )
    return array.astype(np.int8)
