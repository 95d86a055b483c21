"""The factors of a network's weights, logged while it trains and by category when it is trained."""

from typing import Any

import keras
import numpy as np
from keras import ops

from common.layers import AdaptiveL2


class FactorLog(keras.callbacks.Callback):
    """Adds the median factor of each category to the logs of each epoch: `factor_conv_kernel` and so on (Fig. 2.2a).

    Place it before the callbacks that write logs; `common.experiments.training.fit` does.

    Args:
        layer: the `AdaptiveL2` to read.
    """

    def __init__(self, layer: AdaptiveL2):
        super().__init__()
        self.layer = layer

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs |= {f"factor_{name}": float(np.median(values)) for name, values in by_category(self.layer).items()}


def by_category(layer: AdaptiveL2) -> dict[str, list[float]]:
    """Category -> the factors λ_n of its weights."""
    factors: dict[str, list[float]] = {}
    for category, factor in zip(layer.categories, ops.convert_to_numpy(layer.factors())):
        factors.setdefault(category, []).append(float(factor))
    return factors
