"""Training for rate and distortion: a model of the bits that learns with the networks, and a loss that weighs both."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from .thresholds import Thresholds

_GAIN = 20.0  # the model of the bits learns so many times as fast as the networks, which begin where they should be
_LIKELIEST = 1e-4  # no bit is expected with less


@keras.saving.register_keras_serializable(package=__package__)
class ExpectedBits(layers.Layer):
    """Codes (B, K) of 0 and 1 -> (B,) bits that a model expects, which learns as the networks do.

    The logit of a bit is linear in the next inner bit of its coefficient, the first one of the other sign, and how many
    bits of each earlier coefficient are set. The model of the file's entropy coder (`bitstream.bit_model`) sees more,
    and is fitted to the final codes. Gradients are those of a cross-entropy that is linear in a bit, so that they are
    what turning the bit changes.

    Args:
        coefficients: (K,) coefficient of each bit, rising.
        inner: (K,) bit one step nearer to zero; -1 if there is none.
        opposite: (K,) first bit of the other sign, if earlier; else -1.
    """

    def __init__(self, coefficients: Sequence[int], inner: Sequence[int], opposite: Sequence[int], **kwargs):
        super().__init__(**kwargs)
        self.coefficients, self.inner, self.opposite = list(coefficients), list(inner), list(opposite)

    def build(self, input_shape):
        length, count = len(self.coefficients), max(self.coefficients) + 1

        def weights(name, *shape, initializer="zeros"):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.bias, self.by_inner, self.by_opposite = (weights(n, length) for n in ("bias", "inner", "opposite"))
        self.by_activity = weights("activity", count, count)  # of coefficient j for c at [j, c], where j < c
        self.share = weights("share", length, initializer="ones")  # of what activity adds, for each bit

    def call(self, codes):
        count = max(self.coefficients) + 1
        activity = np.zeros((len(self.coefficients), count), np.float32)
        activity[np.arange(len(activity)), self.coefficients] = 1
        earlier = np.triu(np.ones((count, count), np.float32), 1)
        added = ops.matmul(ops.matmul(codes, activity), self.by_activity * earlier)  # (B, C)
        logits = self.bias + self.share * ops.take(added, self.coefficients, axis=1)
        padded = ops.pad(codes, [[0, 0], [0, 1]])  # place -1 is a bit that is 0
        for places, weights in ((self.inner, self.by_inner), (self.opposite, self.by_opposite)):
            logits = logits + weights * ops.take(padded, np.array(places) % (len(self.coefficients) + 1), axis=1)
        logits = _GAIN * logits
        return ops.sum(ops.softplus(logits) - codes * logits, axis=1) / math.log(2)

    def start(self, codes: np.ndarray) -> None:
        """Begins with the frequencies of bits in codes (N, K), given their inner and opposite bits."""
        padded = np.pad(codes, ((0, 0), (0, 1)))
        inner, opposite = padded[:, self.inner] > 0, padded[:, self.opposite] > 0

        def logit(where: np.ndarray) -> np.ndarray:
            ones, number = (codes * where).sum(0), where.sum(0)
            share = np.clip((ones + 0.5) / (number + 1), _LIKELIEST, 1 - _LIKELIEST)
            return np.log(share / (1 - share))

        has_inner, has_opposite = np.array(self.inner) >= 0, np.array(self.opposite) >= 0
        # Without its inner bit a bit is never set, and with one of the other sign neither.
        bias = np.where(has_inner, logit(~inner & ~opposite), logit(~opposite))
        by_inner = np.where(has_inner, logit(inner) - bias, 0)
        by_opposite = np.where(has_opposite, np.minimum(logit(opposite) - bias, 0), 0)
        for weight, values in ((self.bias, bias), (self.by_inner, by_inner), (self.by_opposite, by_opposite)):
            weight.assign((values / _GAIN).astype(np.float32))

    def compute_output_shape(self, input_shape):
        return input_shape[:1]

    def get_config(self):
        places = {"coefficients": self.coefficients, "inner": self.inner, "opposite": self.opposite}
        return {**super().get_config(), **places}


def expected_bits(cut: Thresholds, **kwargs) -> ExpectedBits:
    """The layer for codes that thresholds give."""
    return ExpectedBits(*(array.tolist() for array in (cut.which, cut.inner(), cut.opposite())), **kwargs)


class RateDistortion(keras.Model):
    """Blocks -> of each of S networks the squared errors (B / S,) and the bits (B / S,) of its blocks; trains for both.

    The loss is Σ (squared error + λ · bits) / (3072 · scale), each network with its own λ and scale. Logs have every
    network's mean squared error of 8-bit samples and its bits per block.
    """

    def weigh(self, names: Sequence[str], rate_weights: Sequence[float], scales: Sequence[float]) -> "RateDistortion":
        """Sets the names of networks in the logs, λ in squared error of a block in [0, 1], and the scales."""
        self.rate_weights, self.scales = list(rate_weights), list(scales)
        self.errors = [keras.metrics.Mean(name=f"mse_{name}") for name in names]
        self.bits = [keras.metrics.Mean(name=f"bits_{name}") for name in names]
        return self

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = 0.0
        for i, (rate_weight, scale) in enumerate(zip(self.rate_weights, self.scales)):
            errors, bits = y_pred[2 * i], y_pred[2 * i + 1]
            self.errors[i].update_state(errors * (255**2 / 3072))
            self.bits[i].update_state(bits)
            loss = loss + ops.mean(errors + rate_weight * bits) / scale
        return loss / len(self.scales)
