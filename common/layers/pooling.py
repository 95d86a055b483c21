"""Pooling of feature maps."""

import math

import keras
from keras import layers, ops

_SMALLEST_POWER = 0.01  # p → 0 is the geometric mean, and float32 has few digits left for smaller ones


@keras.saving.register_keras_serializable(package="common")
class GeMPooling2D(layers.Layer):
    """Generalized-mean pooling with a trainable power p: (mean of max(x, epsilon)^p)^(1/p) (Radenović et al. 2019).

    p = 1 is the average, p → ∞ the maximum. Computed as a log-sum-exp, so that no power over- or underflows and the
    gradient of p is finite for features of zero; in float32 whatever the compute dtype. Training keeps p at 0.01 or
    more.

    Args:
        power: p at the start.
        epsilon: floor of the features.
        data_format: "channels_last" or "channels_first"; None: that of Keras' settings.

    Input shape: (B, H, W, C), features from zero on, or (B, C, H, W) with channels first; all but C may be unknown.
    Output shape: (B, C), in the layer's compute dtype.

    Example:
        >>> import numpy as np
        >>> from common.layers import GeMPooling2D
        >>> maps = np.array([[[[1.0], [3.0]]]])  # one row of two places
        >>> [round(float(GeMPooling2D(power=p)(maps)[0, 0]), 4) for p in (1, 2)]
        [2.0, 2.2361]

    Raises:
        ValueError: a power below 0.01, a floor that is not above zero, or an unknown data format.
    """

    def __init__(self, power: float = 1.0, epsilon: float = 1e-6, data_format: str | None = None, **kwargs):
        super().__init__(**kwargs)
        if not (_SMALLEST_POWER <= power < math.inf and 0 < epsilon < math.inf):
            raise ValueError(
                f"power must be {_SMALLEST_POWER} or more and epsilon above zero, got {power} and {epsilon}."
            )
        self.power, self.epsilon = power, epsilon
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(f"data_format must be channels_last or channels_first, got {data_format!r}.")
        self.input_spec = layers.InputSpec(ndim=4)

    def build(self, input_shape):
        self.trained_power = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.power),
            constraint=_bounded,
            dtype="float32",
            autocast=False,
            name="power",
        )

    def call(self, inputs):
        if inputs.shape[0] == 0:  # of which Keras takes no maximum
            return ops.zeros(self.compute_output_shape(inputs.shape), self.compute_dtype)
        axes = (1, 2) if self.data_format == "channels_last" else (2, 3)
        power = _bounded(ops.convert_to_tensor(self.trained_power, "float32"))  # whoever has set it
        exponents = power * ops.log(ops.maximum(ops.cast(inputs, "float32"), self.epsilon))
        largest = ops.stop_gradient(ops.max(exponents, axis=axes, keepdims=True))
        mean = ops.mean(ops.exp(exponents - largest), axis=axes)  # (B, C)
        return ops.cast(ops.exp((ops.log(mean) + ops.squeeze(largest, axes)) / power), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3 if self.data_format == "channels_last" else 1])

    def get_config(self):
        config = {"power": self.power, "epsilon": self.epsilon, "data_format": self.data_format}
        return {**super().get_config(), **config}


def _bounded(power):
    return ops.maximum(power, _SMALLEST_POWER)
