"""ChaCha20: a stream cipher inside a network; see `words`."""

import keras
import numpy as np
from keras import ops

from common.layers.words import CipherLayer, to_words, words_dtype


@keras.saving.register_keras_serializable(package="common")
class ChaCha20(CipherLayer):
    """The stream cipher of RFC 8439: features, read as little-endian words, XOR the key stream.

    `layer([features, key, nonce, counter])`. Equals the bytes of `cryptography`'s ChaCha20 over the row-major features,
    with the nonce there being the counter in 4 little-endian bytes followed by the 12 of the nonce. Two messages under
    one key and nonce give each other away, so never use a nonce twice. Nothing reveals
    altered words: where someone may alter them, seal what leaves the process with an authenticated cipher too.

    Args:
        inverse: decrypts.

    Input shapes: (...) float32, or uint32 for `inverse`; (8,) uint32 key; (3,) uint32 nonce; () uint32 counter of
    the first block of 16 words, which must stay below 2^32 up to the last block. Output shape: that of the features;
    uint32, or float32 for `inverse`.

    Raises:
        ValueError: an input is missing, or of another type or shape.
    """

    def call(self, inputs):
        features, key, nonce, counter = self.checked(inputs)
        words = ops.reshape(to_words(features), (-1,))
        size = ops.shape(words)[0]
        key, nonce, counter = (to_words(x) for x in (key, nonce, counter))
        stream = _key_stream(key, nonce, counter, (size + 15) // 16)
        words = ops.reshape(ops.bitwise_xor(words, stream[:size]), ops.shape(features))
        return self.output_of(words)

    def checked(self, inputs):
        """The inputs, or an error."""
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 4:
            raise ValueError("ChaCha20 takes [features, key, nonce, counter]; pass all four.")
        features, *rest = inputs
        self.check_type(features)
        for name, x, shape in zip(("key", "nonce", "counter"), rest, ((8,), (3,), ())):
            kind = keras.backend.standardize_dtype(x.dtype)
            if tuple(x.shape) != shape or kind != words_dtype():
                raise ValueError(f"The {name} must be of shape {shape} and uint32, got {tuple(x.shape)} and {kind}.")
        return inputs


def _key_stream(key, nonce, counter, num_blocks):
    """RFC 8439 section 2.3 for all blocks at once: (16 · num_blocks,) int32."""
    counters = counter + ops.arange(num_blocks, dtype="int32")
    constants = np.frombuffer(b"expand 32-byte k", "<i4")
    every = ops.zeros_like(counters)
    start = [  # the rows of the 4 × 4 state, (4, num_blocks) each
        ops.expand_dims(constants, 1) + every,
        ops.expand_dims(key[:4], 1) + every,
        ops.expand_dims(key[4:], 1) + every,
        ops.concatenate([ops.expand_dims(counters, 0), ops.expand_dims(nonce, 1) + every]),
    ]
    # A loop, not 20 rounds in the graph: XLA would compute the rounds anew for each of the rows.
    end = ops.fori_loop(0, 10, lambda _, rows: _double_round(rows), tuple(start))
    return ops.reshape(ops.transpose(ops.concatenate([x + y for x, y in zip(end, start)])), (-1,))


def _double_round(rows):
    """A round of the columns, then one of the diagonals, which are columns while the rows are turned."""
    a, b, c, d = _quarter_rounds(*rows)
    a, b, c, d = _quarter_rounds(a, _turned(b, 1), _turned(c, 2), _turned(d, 3))
    return a, _turned(b, 3), _turned(c, 2), _turned(d, 1)


def _quarter_rounds(a, b, c, d):
    a = a + b
    d = _rotated(ops.bitwise_xor(d, a), 16)
    c = c + d
    b = _rotated(ops.bitwise_xor(b, c), 12)
    a = a + b
    d = _rotated(ops.bitwise_xor(d, a), 8)
    c = c + d
    b = _rotated(ops.bitwise_xor(b, c), 7)
    return a, b, c, d


def _turned(row, count):
    return ops.concatenate([row[count:], row[:count]])


def _rotated(words, count):
    low = ops.bitwise_and(ops.right_shift(words, 32 - count), (1 << count) - 1)
    return ops.bitwise_or(ops.left_shift(words, count), low)
