"""Pooling of feature maps."""

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable(package="common")
class GeMPooling2D(layers.Layer):
    """Generalized-mean pooling with a trainable power p: (mean of max(x, epsilon)^p)^(1/p) (Radenović et al. 2019).

    p = 1 is the average, p → ∞ the maximum. Computed as a log-sum-exp, so that no power over- or underflows and the
    gradient of p is finite for features of zero; in float32 whatever the compute dtype.

    Args:
        power: p at the start.
        epsilon: floor of the features.

    Input shape: (B, H, W, C), features from zero on. Output shape: (B, C), in the layer's compute dtype.

    Raises:
        ValueError: a power or a floor that is not above zero.
    """

    def __init__(self, power: float = 1.0, epsilon: float = 1e-6, **kwargs):
        super().__init__(**kwargs)
        if not (power > 0 and epsilon > 0):
            raise ValueError(f"power and epsilon must be above zero, got {power} and {epsilon}.")
        self.power, self.epsilon = power, epsilon

    def build(self, input_shape):
        initializer = keras.initializers.Constant(self.power)
        self.trained_power = self.add_weight(
            shape=(), initializer=initializer, dtype="float32", autocast=False, name="power"
        )

    def call(self, inputs):
        power = ops.convert_to_tensor(self.trained_power, "float32")
        logarithms = ops.log(ops.maximum(ops.cast(inputs, "float32"), self.epsilon))
        count = inputs.shape[1] * inputs.shape[2]
        total = ops.logsumexp(power * logarithms, axis=(1, 2))  # (B, C)
        return ops.cast(ops.exp((total - np.log(count)) / power), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3])

    def get_config(self):
        return {**super().get_config(), "power": self.power, "epsilon": self.epsilon}
