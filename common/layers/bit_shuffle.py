"""ShuffleBits: a permutation of the bits of each number; see `words`."""

from typing import Any

import keras
import numpy as np
from keras import ops

from common.bit_permutation import SHIFTS, checked_key, inverse_key, swap_masks
from common.layers.words import CipherLayer, to_words

_UNITS = np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32)).view(np.int32)


@keras.saving.register_keras_serializable(package="common")
class ShuffleBits(CipherLayer):
    """Moves the 32 bits of each number as a key says: b_{f(i)} = a_i (dissertation Eqs. 2.8 to 2.11).

    Bit 0 is the least significant one, bit 31 the sign; see `common.bit_permutation`. Exact for all 2^32 patterns.
    This hides features, but it is no cipher: a few vectors give the key away, and with a fresh key each, most of their
    content.

    With a key at construction, the layer is nine masked swaps with the masks as constants, and whoever can read the
    saved model has the key. Without, the key is a model input: `layer([features, key])`. A graph cannot
    raise an error, so where such a key is no permutation of 0 to 31 all words are zero.

    Args:
        key: (32,) positions, or (D, 32) for a key per element of a vector; None: the key is an input.
        inverse: decrypts, with the same key.

    Input shape: (..., D) float32, or uint32 for `inverse`; and, without a key, (32,) int32 for all or
    (B, 32) int32 for one per row. Output shape: that of the features; uint32, or float32 for `inverse`.

    Example:
        >>> import numpy as np
        >>> from common.layers import ShuffleBits
        >>> key = np.random.default_rng(0).permutation(32)
        >>> words = ShuffleBits(key)(np.float32([[1.5, -2.0]]))
        >>> np.asarray(ShuffleBits(key, inverse=True)(words)).tolist()
        [[1.5, -2.0]]

    Raises:
        ValueError: the key has positions twice or outside 0 to 31, or another length; the features are of another type,
            or of another length than the key is for.
    """

    def __init__(self, key: Any = None, inverse: bool = False, **kwargs):
        super().__init__(inverse, **kwargs)
        self.key = None if key is None else checked_key(key)
        if key is not None:
            masks = swap_masks(inverse_key(self.key) if inverse else self.key)
            self._swaps = [(shift, mask) for shift, mask in zip(SHIFTS, masks.view(np.int32)) if np.any(mask)]

    def call(self, inputs):
        features, key = self.checked(inputs)
        words = to_words(features)
        return self.output_of(self._swapped(words) if key is None else self._moved(words, key))

    def _swapped(self, words):
        for shift, mask in self._swaps:
            changed = ops.bitwise_and(ops.bitwise_xor(ops.right_shift(words, shift), words), mask)
            words = ops.bitwise_xor(ops.bitwise_xor(words, changed), ops.left_shift(changed, shift))
        return words

    def _moved(self, words, key):
        """One bit after the other: the network's masks take too long to compute for a single vector."""
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

    def checked(self, inputs):
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
        self.check_type(features)
        return features, key

    def get_config(self):
        return {**super().get_config(), "key": None if self.key is None else self.key.tolist()}
