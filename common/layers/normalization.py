"""Normalization of feature vectors."""

import keras
from keras import layers, ops


def widened(numbers):
    """float64 as it is, other floats as float32, in which squares of half precision neither overflow nor vanish."""
    wide = keras.backend.standardize_dtype(numbers.dtype) == "float64"
    return ops.cast(numbers, "float64" if wide else "float32")


def in_range(numbers, axis=None):
    """Numbers whose squares can be summed in float32, and the scale (…, 1) that they were divided by.

    It is one but for numbers beyond 1e15, and a constant for the gradient: right for what grows with the numbers once
    it is multiplied by the scale, as a length does, and for what does not grow at all.
    """
    largest = ops.stop_gradient(ops.max(ops.abs(numbers), axis=axis, keepdims=True))
    largest = ops.where(largest > 1e30, 1e30 * ops.ones_like(largest), largest)  # whose inverse is a normal number
    scale = ops.where(largest > 1e15, largest, ops.ones_like(largest))
    return numbers / scale, scale


@keras.saving.register_keras_serializable(package="common")
class L2Normalize(layers.Layer):
    """Divides each vector by its Euclidean length: E_c = E / ‖E‖₂ (dissertation Eq. 5.5).

    Differs from `keras.layers.UnitNormalization` where that one returns NaN: the zero vector maps to
    itself with a finite gradient, and half-precision inputs are normalized in float32, in which the
    squares neither overflow nor vanish. Vectors shorter than √epsilon are scaled by 1/√epsilon, and those whose squares
    would overflow in float32 are of unit length, too.

    Args:
        epsilon: lower bound of the squared length.
        axis: of the vector; 1 for maps with channels first.

    Input shape: (..., D), any float dtype. Output shape: the same, in the layer's compute dtype.

    Example:
        >>> import numpy as np
        >>> from common.layers import L2Normalize
        >>> np.asarray(L2Normalize()(np.array([[3.0, 4.0], [0.0, 0.0]]))).round(3).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """

    def __init__(self, epsilon: float = 1e-12, axis: int = -1, **kwargs):
        super().__init__(**kwargs)
        if not epsilon > 0:
            raise ValueError(f"epsilon must be above zero, got {epsilon}.")
        self.epsilon, self.axis = epsilon, axis
        self.supports_masking = True

    def call(self, inputs):
        if 0 in inputs.shape:  # of which Keras takes no maximum
            return ops.cast(inputs, self.compute_dtype)
        wide = in_range(widened(inputs), axis=self.axis)[0]
        squared_length = ops.sum(ops.square(wide), axis=self.axis, keepdims=True)  # (..., 1)
        # The bound stands inside the root: outside, the root's infinite slope at 0 makes NaN. On PyTorch `ops.maximum`
        # of a number would make float32 of float64.
        bounded = ops.where(squared_length > self.epsilon, squared_length, self.epsilon)
        unit = wide * ops.rsqrt(bounded)  # Eq. 5.5
        return ops.cast(unit, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon, "axis": self.axis}
