"""ArcFace (Deng et al. 2019), which section 3.2 of the publication names as the next step: its layer and its loss."""

import math

import keras
from keras import layers, ops

from common.layers import L2Normalize
from common.layers.normalization import widened


@keras.saving.register_keras_serializable(package=__package__)
class CosineDense(layers.Layer):
    """Cosines of the angles between a vector and the centers of classes, which are learned (Deng et al. 2019).

    Args:
        units: C, how many centers.

    Input shape: (B, D), any float dtype. Output shape: (B, C), in the layer's compute dtype.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.normalize = L2Normalize(dtype=self.dtype_policy)

    def build(self, input_shape):
        # Their lengths do not matter: only directions are learned.
        self.centers = self.add_weight(shape=(self.units, input_shape[-1]), initializer="random_normal", name="centers")

    def call(self, inputs):
        return ops.matmul(self.normalize(inputs), ops.transpose(self.normalize(self.centers)))  # (B, C)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package=__package__)
class ArcFace(keras.losses.Loss):
    """Cross-entropy of cosines, with an angle added to the true class's (Deng et al. 2019, Eq. 3).

    -log(e^{s cos(θ_y + m)} / (e^{s cos(θ_y + m)} + Σ_{j ≠ y} e^{s cos θ_j})). Where θ_y + m is above π, which cosines
    no longer order, it is cos θ_y - m sin m, as in the authors' program.

    Args:
        margin: m, an angle in radians.
        scale: s, the radius of the sphere.

    Raises:
        ValueError: a margin below 0 or above π/2, or a scale that is not above zero.
    """

    def __init__(self, margin=0.5, scale=30.0, reduction="mean_with_sample_weight", name="arcface", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not 0 <= margin <= math.pi / 2 or not scale > 0:
            raise ValueError(f"margin must be from 0 to π/2 and scale above zero, got {margin} and {scale}.")
        self.margin, self.scale = margin, scale

    def call(self, y_true, y_pred):
        """Loss of each sample.

        Args:
            y_true: (B,) or (B, 1) classes from 0 on.
            y_pred: (B, C) cosines of the angles between embeddings and the classes' centers, of `CosineDense`.

        Returns:
            (B,), float32 or wider.
        """
        cosines = widened(y_pred)
        true = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), cosines.shape[1], dtype=cosines.dtype)
        # The slope of the root is infinite at angles 0 and π; the bound keeps it below a thousand.
        squares = 1 - ops.square(cosines)
        sines = ops.sqrt(ops.where(squares > 1e-6, squares, 1e-6))
        shifted = cosines * math.cos(self.margin) - sines * math.sin(self.margin)  # cos(θ + m)
        beyond = cosines < -math.cos(self.margin)
        shifted = ops.where(beyond, cosines - self.margin * math.sin(self.margin), shifted)
        logits = self.scale * ops.where(true > 0, shifted, cosines)
        return ops.logsumexp(logits, axis=1) - ops.sum(true * logits, axis=1)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
