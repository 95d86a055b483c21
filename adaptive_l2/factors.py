"""The factors of a network's weights: in the log, by category, and one factor for all as a control."""

from typing import Any

import keras
import numpy as np
from keras import ops

from common.layers import AdaptiveL2, ConstantL2


class SharedFactor(ConstantL2):
    """L2 with one learned factor for all weights: A f(θ) Σ ‖w_n‖₂².

    The control of `AdaptiveL2`: it fades with the sum of the learning rates as adaptive factors do, but no weight has a
    factor of its own. What adaptive factors win over it is won by being adaptive.

    Args:
        network: a model that has its variables.
        amplitude: A, the largest factor.
        c: the hard sigmoid's bound (Eq. 2.4).
    """

    def __init__(self, network: keras.Model, amplitude: float, c: float = 2.5, **kwargs: Any):
        super().__init__(network, amplitude, **kwargs)
        self.c = c
        self.theta = self.add_weight(shape=(), initializer="zeros", name="theta")

    def factors(self):
        """λ for each weight, shape (N,), float32, all alike."""
        return super().factors() * ops.clip(self.theta / (2 * self.c) + 0.5, 0.0, 1.0)


class FactorLog(keras.callbacks.Callback):
    """Adds to the logs of each epoch the `penalty` after it, and of learned factors the median of each category.

    The latter are `factor_conv_kernel` and so on (Fig. 2.2a). Place it before the callbacks that write logs;
    `common.experiments.training.fit` does.

    Args:
        layer: the regularizer to read.
    """

    def __init__(self, layer: ConstantL2):
        super().__init__()
        self.layer = layer

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs["penalty"] = float(self.layer.penalty())
        if isinstance(self.layer, (AdaptiveL2, SharedFactor)):
            logs |= {f"factor_{name}": float(np.median(values)) for name, values in by_category(self.layer).items()}


def by_category(layer: ConstantL2) -> dict[str, list[float]]:
    """Category -> the factors λ_n of its weights."""
    factors: dict[str, list[float]] = {}
    for category, factor in zip(layer.categories, ops.convert_to_numpy(layer.factors())):
        factors.setdefault(category, []).append(float(factor))
    return factors
