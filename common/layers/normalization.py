"""Normalization of feature vectors."""

import keras
from keras import layers, ops


def widened(numbers):
    """float64 as it is, other floats as float32, in which squares of half precision neither overflow nor vanish."""
    wide = keras.backend.standardize_dtype(numbers.dtype) == "float64"
    return ops.cast(numbers, "float64" if wide else "float32")


@keras.saving.register_keras_serializable(package="common")
class L2Normalize(layers.Layer):
    """Divides each vector by its Euclidean length: E_c = E / ‖E‖₂ (dissertation Eq. 5.5).

    Differs from `keras.layers.UnitNormalization` where that one returns NaN: the zero vector maps to
    itself with a finite gradient, and half-precision inputs are normalized in float32, in which the
    squares neither overflow nor vanish. Vectors shorter than √epsilon are scaled by 1/√epsilon.

    Args:
        epsilon: lower bound of the squared length.

    Input shape: (..., D), any float dtype. Output shape: the same, in the layer's compute dtype.
    """

    def __init__(self, epsilon: float = 1e-12, **kwargs):
        super().__init__(**kwargs)
        if epsilon <= 0:
            raise ValueError(f"epsilon must be above zero, got {epsilon}.")
        self.epsilon = epsilon
        self.supports_masking = True

    def call(self, inputs):
        wide = widened(inputs)
        squared_length = ops.sum(ops.square(wide), axis=-1, keepdims=True)  # (..., 1)
        # The bound stands inside the root: outside, the root's infinite slope at 0 makes NaN. On PyTorch `ops.maximum`
        # of a number would make float32 of float64.
        bounded = ops.where(squared_length > self.epsilon, squared_length, self.epsilon)
        unit = wide * ops.rsqrt(bounded)  # Eq. 5.5
        return ops.cast(unit, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
