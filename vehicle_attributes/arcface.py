"""ArcFace (Deng et al. 2019), which section 3.2 of the publication names as the next step: its layer and its loss."""

import math

import keras
from keras import layers, ops

from common.layers import L2Normalize
from common.losses import LabelLoss, index_of


@keras.saving.register_keras_serializable(package=__package__)
class CosineDense(layers.Layer):
    """Cosines of the angles between a vector and the centers of classes, which are learned (Deng et al. 2019).

    Args:
        units: C, how many centers.

    Input shape: (B, D), any float dtype; D is known. Output shape: (B, C), in the layer's compute dtype.

    Example:
        >>> import numpy as np
        >>> from vehicle_attributes.arcface import CosineDense
        >>> layer = CosineDense(2)
        >>> layer.build((None, 2))
        >>> layer.set_weights([np.array([[2.0, 0.0], [0.0, 5.0]])])
        >>> np.asarray(layer(np.array([[3.0, 4.0]]))).round(2).tolist()
        [[0.6000000238418579, 0.800000011920929]]

    Raises:
        ValueError: no centers, or vectors whose length is unknown.
    """

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be one or more, got {units}.")
        self.units = units
        self.normalize = L2Normalize(dtype=self.dtype_policy)

    def build(self, input_shape):
        if input_shape[-1] is None:
            raise ValueError(f"CosineDense needs vectors of a known length, got shape {tuple(input_shape)}.")
        # Their lengths do not matter: only directions are learned.
        self.centers = self.add_weight(shape=(self.units, input_shape[-1]), initializer="random_normal", name="centers")

    def call(self, inputs):
        return ops.matmul(self.normalize(inputs), ops.transpose(self.normalize(self.centers)))  # (B, C)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable(package=__package__)
class ArcFace(LabelLoss):
    """Cross-entropy of cosines, with an angle added to the true class's (Deng et al. 2019, Eq. 3).

    -log(e^{s cos(θ_y + m)} / (e^{s cos(θ_y + m)} + Σ_{j ≠ y} e^{s cos θ_j})). Where θ_y + m is above π, which cosines
    no longer order, it is cos θ_y - m sin m, as in the authors' program.

    Labels are classes (B,) or (B, 1) from 0 on, predictions cosines (B, C) of the angles between embeddings and the
    classes' centers, of `CosineDense`. A class that there is no center for makes the loss NaN.

    Args:
        margin: m, an angle in radians.
        scale: s, the radius of the sphere.

    Example:
        >>> import numpy as np
        >>> from vehicle_attributes.arcface import ArcFace
        >>> round(float(ArcFace(margin=0.0, scale=1.0)(np.array([0]), np.array([[1.0, 0.0]]))), 4)  # log(1 + e^-1)
        0.3133

    Raises:
        ValueError: a margin below 0 or above π/2, or a scale that is not above zero; labels that are one-hot.
    """

    def __init__(self, margin=0.5, scale=30.0, reduction="mean_with_sample_weight", name="arcface", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not 0 <= margin <= math.pi / 2 or not scale > 0:
            raise ValueError(f"margin must be from 0 to π/2 and scale above zero, got {margin} and {scale}.")
        self.margin, self.scale = margin, scale

    def of_labels(self, labels, cosines):
        """(B,) of the bytes (B, n) of the classes and cosines (B, C)."""
        classes = ops.arange(cosines.shape[1], dtype="int32")
        true = ops.cast(ops.equal(index_of(labels)[:, None], classes), cosines.dtype)  # (B, C), 0 where no center is
        # The slope of the root is infinite at angles 0 and π; the bound keeps it below a thousand.
        squares = 1 - ops.square(cosines)
        sines = ops.sqrt(ops.where(squares > 1e-6, squares, 1e-6))
        shifted = cosines * math.cos(self.margin) - sines * math.sin(self.margin)  # cos(θ + m)
        beyond = cosines < -math.cos(self.margin)
        shifted = ops.where(beyond, cosines - self.margin * math.sin(self.margin), shifted)
        logits = self.scale * ops.where(true > 0, shifted, cosines)
        loss = ops.logsumexp(logits, axis=1) - ops.sum(true * logits, axis=1)
        return ops.where(ops.any(true > 0, axis=1), loss, float("nan"))

    def get_config(self):
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
