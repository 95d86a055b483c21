"""Ciphers inside a network: float32 features go in, uint32 words come out.

What leaves is uint32 and never float32. A shuffled number may be a NaN or a denormal, and JSON, Python floats, float64,
arithmetic, `relu`, `clip` and TFRecord float lists change the bits of those. Copies, `keras.ops.view`,
`tf.bitcast`, npz, HDF5 and SavedModel keep them. Keras on PyTorch has no uint32; there the words are int64 from 0 on.
"""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from common.bits import SHIFTS, checked_key, inverse_key, swap_masks

# All is computed on int32, which every backend shifts and adds; right shifts bring the sign in, and masks remove it.
_UNITS = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32)).view(np.int32)


@keras.saving.register_keras_serializable(package="common")
class ShuffleBits(layers.Layer):
    """Moves the 32 bits of each number as a key says: b_{f(i)} = a_i (dissertation Eqs. 2.8 to 2.11).

    Bit 0 is the least significant one, bit 31 the sign; see `common.bits`. Exact for all 2^32 patterns. This hides
    features, but it is no cipher: a few vectors give the key away, and with a fresh key each, most of their content.

    With a key at construction, the layer is nine masked swaps with the masks as constants, and whoever can read the
    saved model has the key. Without, the key is a model input: `layer([features, key])`. A graph cannot
    raise an error, so where such a key is no permutation of 0 to 31 all words are zero.

    Args:
        key: (32,) positions, or (D, 32) for a key per element of a vector; None: the key is an input.
        inverse: decrypts, with the same key.

    Input shape: (..., D) float32, or uint32 for `inverse`; and, without a key, (32,) int32 for all or
    (B, 32) int32 for one per row. Output shape: that of the features; uint32, or float32 for `inverse`.

    Raises:
        ValueError: the key has positions twice or outside 0 to 31, or another length; the features are of another type,
            or of another length than the key is for.
    """

    def __init__(self, key: Any = None, inverse: bool = False, **kwargs):
        super().__init__(**{**kwargs, "autocast": False})
        self.key, self.inverse = None if key is None else checked_key(key), inverse
        if key is not None:
            masks = swap_masks(inverse_key(self.key) if inverse else self.key)
            self._swaps = [(shift, mask) for shift, mask in zip(SHIFTS, masks.view(np.int32)) if np.any(mask)]

    def call(self, inputs):
        features, key = self._checked(inputs)
        words = _to_words(features)
        words = self._swapped(words) if key is None else self._moved(words, key)
        return ops.view(words, "float32") if self.inverse else _to_uint32(words)

    def _swapped(self, words):
        for shift, mask in self._swaps:
            changed = ops.bitwise_and(ops.bitwise_xor(ops.right_shift(words, shift), words), mask)
            words = ops.bitwise_xor(ops.bitwise_xor(words, changed), ops.left_shift(changed, shift))
        return words

    def _moved(self, words, key):
        """One bit after the other: the network's masks take too long to find for a single vector."""
        key = ops.cast(key, "int32")
        present = ops.any(ops.equal(ops.expand_dims(key, -1), np.arange(32, dtype="int32")), axis=-2)  # (..., 32)
        valid = ops.all(present, axis=-1, keepdims=True)
        # (1 or B, 1, ..., 1, 32)
        shape = (-1, *[1] * (len(words.shape) - 1), 32)
        targets = ops.reshape(ops.where(valid, ops.take(_UNITS, ops.clip(key, 0, 31)), 0), shape)
        moved = ops.zeros_like(words)
        for i, unit in enumerate(_UNITS):
            target = targets[..., i]
            source, target = (target, unit) if self.inverse else (unit, target)
            is_set = ops.not_equal(ops.bitwise_and(words, source), 0)
            moved = ops.bitwise_or(moved, ops.where(is_set, target, 0))  # Eq. 2.9
        return moved

    def _checked(self, inputs):
        """(features, key or None), or an error."""
        if self.key is not None:
            if isinstance(inputs, (list, tuple)):
                raise ValueError(f"ShuffleBits with a key takes the features alone, got {len(inputs)} inputs.")
            if self.key.ndim == 2 and inputs.shape[-1] != len(self.key):
                raise ValueError(
                    f"ShuffleBits has keys for vectors of {len(self.key)} elements, got features of shape "
                    f"{tuple(inputs.shape)}; make a key for this length."
                )
            features, key = inputs, None
        else:
            if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
                raise ValueError("ShuffleBits without a key takes [features, key]; pass both.")
            features, key = inputs
            shape = tuple(key.shape)
            if len(shape) not in (1, 2) or shape[-1] != 32:
                raise ValueError(f"The key must be of shape (32,) or (B, 32), got {shape}.")
            rows = features.shape[0]
            if len(shape) == 2 and None not in (rows, shape[0]) and shape[0] not in (1, rows):
                raise ValueError(f"There must be one key or as many as rows, got {shape[0]} for {rows}.")
            if "int" not in keras.backend.standardize_dtype(key.dtype):
                raise ValueError(f"The key must be int32, got {keras.backend.standardize_dtype(key.dtype)}.")
        _check_type("ShuffleBits", features, self.inverse)
        return features, key

    def compute_output_spec(self, inputs):
        features, _ = self._checked(inputs)
        return keras.KerasTensor(features.shape, "float32" if self.inverse else "uint32")

    def get_config(self):
        return {
            **super().get_config(),
            "key": None if self.key is None else self.key.tolist(),
            "inverse": self.inverse,
        }


@keras.saving.register_keras_serializable(package="common")
class ChaCha20(layers.Layer):
    """The stream cipher of RFC 8439: features, read as little-endian words, XOR the key stream.

    `layer([features, key, nonce, counter])`. Equals the bytes of `cryptography`'s ChaCha20 over the row-major features,
    with the nonce there being the counter in 4 little-endian bytes followed by the 12 of the nonce. Two messages under
    one key and nonce give each other away, so take the nonce from `shufflebits.sender.Sender`. Nothing tells
    altered words: where someone may alter them, seal what leaves the process with an authenticated cipher too.

    Args:
        inverse: decrypts.

    Input shapes: (...) float32, or uint32 for `inverse`; (8,) uint32 key; (3,) uint32 nonce; () uint32 counter of
    the first block of 16 words, which must stay below 2^32 up to the last block. Output shape: that of the features;
    uint32, or float32 for `inverse`.

    Raises:
        ValueError: an input is missing, or of another type or shape.
    """

    def __init__(self, inverse: bool = False, **kwargs):
        super().__init__(**{**kwargs, "autocast": False})
        self.inverse = inverse

    def call(self, inputs):
        features, key, nonce, counter = self._checked(inputs)
        words = ops.reshape(_to_words(features), (-1,))
        size = ops.shape(words)[0]
        stream = _key_stream(*(_to_words(x) for x in (key, nonce, counter)), (size + 15) // 16)
        words = ops.reshape(ops.bitwise_xor(words, stream[:size]), ops.shape(features))
        return ops.view(words, "float32") if self.inverse else _to_uint32(words)

    def _checked(self, inputs):
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 4:
            raise ValueError("ChaCha20 takes [features, key, nonce, counter]; pass all four.")
        features, *rest = inputs
        _check_type("ChaCha20", features, self.inverse)
        for name, x, shape in zip(("key", "nonce", "counter"), rest, ((8,), (3,), ())):
            found = keras.backend.standardize_dtype(x.dtype)
            if tuple(x.shape) != shape or found != _unsigned():
                raise ValueError(f"The {name} must be of shape {shape} and uint32, got {tuple(x.shape)} and {found}.")
        return inputs

    def compute_output_spec(self, inputs):
        features, *_ = self._checked(inputs)
        return keras.KerasTensor(features.shape, "float32" if self.inverse else "uint32")

    def get_config(self):
        return {**super().get_config(), "inverse": self.inverse}


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


def _check_type(name, features, inverse):
    found = keras.backend.standardize_dtype(features.dtype)
    if inverse and found != _unsigned():
        raise ValueError(f"{name} decrypts uint32, got {found}; pass the words as they came.")
    if not inverse and found != "float32":
        raise ValueError(
            f"{name} encrypts float32, got {found}; cast to float32 yourself, and know what precision is lost."
        )


def _unsigned() -> str:
    return "int64" if keras.backend.backend() == "torch" else "uint32"


def _to_words(x):
    """float32 or uint32 -> the same bits as int32."""
    is_wide = keras.backend.standardize_dtype(x.dtype) == "int64"
    return ops.cast(x, "int32") if is_wide else ops.view(x, "int32")


def _to_uint32(words):
    if _unsigned() == "int64":
        return ops.bitwise_and(ops.cast(words, "int64"), 0xFFFFFFFF)
    return ops.view(words, "uint32")
