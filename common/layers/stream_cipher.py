"""ChaCha20: a stream cipher inside a network; see `words`."""

import keras
import numpy as np
from keras import ops

from common.distribution import replica
from common.layers.words import CipherLayer, is_symbolic, to_words, words_dtype

_NAMES = ("key", "nonce", "counter")


@keras.saving.register_keras_serializable(package="common")
class ChaCha20(CipherLayer):
    """The stream cipher of RFC 8439: features, read as little-endian words, XOR the key stream.

    `layer([features, key, nonce, counter])`. Equals the bytes of `cryptography`'s ChaCha20 over the row-major features,
    with the nonce there being the counter in 4 little-endian bytes followed by the 12 of the nonce.

    This is the keystream alone. Two messages under one key and nonce give each other away, and nothing reveals altered
    words: draw a nonce for each message and authenticate what leaves the process, as an authenticated cipher does.
    The layer refuses what it can see: a constant key, nonce or counter in a graph, where it would be in the saved model
    for all to read, and be the same for each batch; and a nonce that another layer of the graph encrypts under. It has
    no record of calls, so it cannot see one pair of key and nonce passed to two of them.

    Under `tf.distribute`, replica r of n begins ⌊2^32 / n⌋ · r blocks behind the counter: each has its part of the
    key stream, whatever the sizes of their batches.

    Args:
        inverse: decrypts.

    Input shapes: (...) float32, or uint32 for `inverse`; (8,) uint32 key; (3,) uint32 nonce; () uint32 counter of
    the first block of 16 words, which must stay below 2^32 / n up to the last block. Output shape: that of the
    features; uint32, or float32 for `inverse`.

    Example:
        >>> import os
        >>> import keras
        >>> import numpy as np
        >>> from common.layers import ChaCha20
        >>> secrets = np.frombuffer(os.urandom(32), "uint32"), np.frombuffer(os.urandom(12), "uint32"), np.uint32(0)
        >>> secrets = [keras.ops.convert_to_tensor(secret) for secret in secrets]
        >>> words = ChaCha20()([np.float32([1.5, -2.0]), *secrets])
        >>> np.asarray(ChaCha20(inverse=True)([words, *secrets])).tolist()
        [1.5, -2.0]

    Raises:
        ValueError: an input is missing, of another type or shape, a constant in a graph, or a nonce is used again.
    """

    def __call__(self, inputs, *args, **kwargs):
        self._refuse_repeats(inputs)  # before Keras makes tensors of constants
        return super().__call__(inputs, *args, **kwargs)

    def call(self, inputs):
        features, key, nonce, counter = self.checked(inputs)
        words = ops.reshape(to_words(features), (-1,))
        size = ops.shape(words)[0]
        key, nonce, counter = (to_words(x) for x in (key, nonce, counter))
        number, count = replica()
        counter = counter + ops.cast(number, "int32") * np.uint32(2**32 // count % 2**32).view(np.int32)
        stream = _key_stream(key, nonce, counter, (size + 15) // 16)
        words = ops.reshape(ops.bitwise_xor(words, stream[:size]), ops.shape(features))
        return self.output_of(words)

    def checked(self, inputs):
        """The inputs, or an error."""
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 4:
            raise ValueError("ChaCha20 takes [features, key, nonce, counter]; pass all four.")
        features, *rest = inputs
        self.check_type(features)
        for name, x, shape in zip(_NAMES, rest, ((8,), (3,), ())):
            kind = keras.backend.standardize_dtype(x.dtype)
            if tuple(x.shape) != shape or kind != words_dtype():
                raise ValueError(f"The {name} must be of shape {shape} and uint32, got {tuple(x.shape)} and {kind}.")
        return inputs

    def _refuse_repeats(self, inputs) -> None:
        features, *rest = inputs if isinstance(inputs, (list, tuple)) else (inputs,)
        for name, x in zip(_NAMES, rest):
            if is_symbolic(features) and not is_symbolic(x):
                raise ValueError(
                    f"ChaCha20 takes no constant {name} in a graph, which would be saved with it and encrypt each "
                    f"batch alike; make the {name} an input."
                )
        if not self.inverse and len(rest) > 1 and keras.utils.is_keras_tensor(rest[1]):
            source = rest[1]._keras_history.operation
            users = [node.operation for node in source._outbound_nodes if rest[1] in node.arguments.keras_tensors]
            if any(isinstance(layer, ChaCha20) and not layer.inverse for layer in users):
                raise ValueError(
                    "Another ChaCha20 layer encrypts under this nonce, with the same key stream; concatenate the "
                    "features first, or make a nonce for each an input."
                )


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
