"""Code optimization of section 2.2 (pub): the encoder is fine-tuned for one block, and then for the next.

The decoder is frozen, and the objective is the squared error. `bit_search` is many times faster, and counts bits.
"""

from collections.abc import Callable
from functools import lru_cache

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from common import distribution
from common.experiments.training import precision
from common.random_state import seeded

from ..model import Binarization
from ..networks.codec_file import TrainedCodec


class CodeSearch(keras.Model):
    """One step of `train_on_batch` measures the binary code of a block, stores the best one, and moves the encoder.

    Args:
        encoder: block (1, 32, 32, 3) in [0, 1] -> code (1, K) in (0, 1); its weights are the ones that move.
        decoder: code (1, K) -> block; its weights must be frozen.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model):
        super().__init__(name="search", dtype="float32")
        self.encoder, self.decoder = encoder, decoder
        self.binarization = Binarization("straight_through", name="binarization")

        def state(name, *shape):
            return self.add_weight(shape=shape, initializer="zeros", trainable=False, name=name)

        self.best_code, self.best_error = state("best_code", 1, decoder.input_shape[1]), state("best_error", 1)
        self.compile(keras.optimizers.Adam(), jit_compile=distribution.jit())
        self.optimizer.build(self.trainable_variables)

    def call(self, block):
        # In inference mode, since the statistics of batch normalization are frozen as well.
        code = self.binarization(self.encoder(block, training=False))  # (1, K) of exactly 0 and 1
        error = ops.sum(ops.square(self.decoder(code, training=False) - block), axis=(1, 2, 3))
        better = error < self.best_error.value
        self.best_code.assign(ops.where(better[:, None], code, self.best_code.value))
        self.best_error.assign(ops.where(better, error, self.best_error.value))
        self.add_loss(ops.sum(error))
        return error

    def best(
        self, block: np.ndarray, steps: int, learning_rate: float, stepped: Callable[[], object]
    ) -> tuple[np.ndarray, np.ndarray]:
        """From the encoder as it stands, with a new optimizer -> (1, K) uint8 code, (1,) squared error."""
        for variable in self.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        self.optimizer.learning_rate = learning_rate
        self.best_error.assign(np.full(1, np.inf, np.float32))
        for _ in range(steps):
            self.train_on_batch(block)
            stepped()
        self.test_on_batch(block)  # measures what the last step led to
        code, error = (ops.convert_to_numpy(x) for x in (self.best_code, self.best_error))
        return code.astype(np.uint8), np.array(error)


# Tracing takes a second or two, so searches are cached: of a codec with several networks.
@lru_cache(maxsize=6)
@seeded(0)  # initial weights, which the codec's replace
@precision("float32")
def _search(encoder: keras.Model, decoder: keras.Model) -> CodeSearch:
    return CodeSearch(_copy(encoder, True), _copy(decoder, False))


def _copy(network: keras.Model, trainable: bool) -> keras.Model:
    copied = keras.models.clone_model(network)
    for layer in copied.layers:  # a clone's layers are as frozen as those of the original
        layer.trainable = trainable
    return copied


def optimize_by_encoder(
    codec: TrainedCodec, network: int, blocks: np.ndarray, *, steps: int, learning_rate: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """Fine-tunes the encoder for each of N blocks by itself and returns the best code; K is the network's code length.

    Every block starts from the trained encoder. Adam moves its weights, through binarization with straight-through
    gradients. The first code is the encoder's, so none gets worse.

    Args:
        codec: its networks stay as they are.
        network: index of the network that codes the blocks.
        blocks: (N, 32, 32, 3) float32 in [0, 1].
        steps: of Adam.
        learning_rate: of Adam.

    Returns:
        (N, K) uint8 bits and (N,) float32 squared errors of the decoded blocks, summed over the samples of a block.
    """
    encoder, decoder = codec.encoders[network], codec.decoders[network]
    search = _search(encoder, decoder)
    search.decoder.set_weights(decoder.get_weights())
    weights, length = encoder.get_weights(), codec.code_lengths[network]
    codes, errors = np.zeros((len(blocks), length), np.uint8), np.zeros(len(blocks), np.float32)
    with tqdm(total=len(blocks) * steps, desc="optimize encoder", unit="step", delay=2, leave=False) as bar:
        for i, block in enumerate(blocks):
            search.encoder.set_weights(weights)
            codes[i : i + 1], errors[i : i + 1] = search.best(block[None], steps, learning_rate, bar.update)
    return codes, errors
