"""Normalization of feature vectors."""

import keras
from keras import layers, ops


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
        wide = ops.cast(inputs, "float64" if inputs.dtype == "float64" else "float32")
        squared_length = ops.sum(ops.square(wide), axis=-1, keepdims=True)  # (..., 1)
        # The maximum stands inside the root: outside, the root's infinite slope at 0 makes NaN.
        unit = wide * ops.rsqrt(ops.maximum(squared_length, self.epsilon))  # Eq. 5.5
        return ops.cast(unit, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
