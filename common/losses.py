"""Metric-learning losses, written in `keras.ops` so that they run on every Keras backend."""

import keras
from keras import ops

from common.distribution import gathered
from common.layers.normalization import widened


class _PairLoss(keras.losses.Loss):
    """A loss over all pairs of a batch, with a margin.

    Each of several replicas computes the loss of the samples of all, which are gathered. Keras hands identities to a
    loss as float32: number them from zero, or at least below 2^24.
    """

    def __init__(self, margin, **kwargs):
        super().__init__(**kwargs)
        self.margin = margin

    def call(self, y_true, y_pred):
        """Loss of each anchor, (B,), float32 or wider, of identities (B,) or (B, 1) and embeddings (B, D)."""
        identities = gathered(ops.reshape(y_true, (-1,)))  # (B,)
        return self.of_batch(identities, gathered(widened(y_pred)))

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable(package="common")
class BatchHardTriplet(_PairLoss):
    """Each anchor's farthest positive against its nearest negative (Hermans et al. 2017).

    For anchor a: max(0, d(a, p) - d(a, n) + margin), or softplus(d(a, p) - d(a, n)) for the soft margin, with
    the Euclidean distance d, not squared. An anchor is its own positive at distance zero if it has no
    other; without a negative its loss is zero. Number identities from zero, or at least below 2^24.

    Args:
        margin: a number, or "soft".

    Raises:
        ValueError: another string, or a negative margin.
    """

    def __init__(self, margin="soft", reduction="mean_with_sample_weight", name="batch_hard_triplet", **kwargs):
        super().__init__(margin, name=name, reduction=reduction, **kwargs)
        if margin != "soft" and (isinstance(margin, str) or not margin >= 0):
            raise ValueError(f'margin must be "soft" or a number from zero on, got {margin!r}.')

    def of_batch(self, identities, embeddings):
        """(B,) of identities (B,) and embeddings (B, D)."""
        # The Gram matrix mines; the chosen distances are computed from differences, which do not cancel. Nor does the
        # matrix once the mean is taken off: a batch far from the origin would be mined by rounding errors.
        centered = embeddings - ops.mean(embeddings, axis=0)
        squares = ops.sum(ops.square(centered), axis=1)
        products = ops.matmul(centered, ops.transpose(centered))  # (B, B)
        distances = squares[:, None] + squares[None, :] - 2 * products
        same = ops.equal(identities[:, None], identities[None, :])
        far = ops.max(ops.abs(distances)) + 1
        positive = ops.argmax(ops.where(same, distances, -far), axis=1)  # (B,)
        negative = ops.argmin(ops.where(same, far, distances), axis=1)
        gap = _distance(embeddings, positive) - _distance(embeddings, negative)
        loss = ops.softplus(gap) if self.margin == "soft" else ops.relu(gap + self.margin)
        return ops.where(ops.all(same, axis=1), 0.0, loss)


@keras.saving.register_keras_serializable(package="common")
class LiftedStructured(_PairLoss):
    """Each positive pair against all negatives of both its ends (Song et al. 2016, Eq. 4).

    For a positive pair (i, j): J_ij = log(Σ_k exp(margin - D_ik) + Σ_l exp(margin - D_jl)) + D_ij over the negatives k
    of i and l of j; the loss is the mean of max(0, J_ij)² / 2 over the pairs. D is the Euclidean distance, not squared.
    A batch without positive pairs, or without negatives, has a loss of zero.

    Distances are computed from differences, B² · D numbers at once: equal embeddings are exactly at distance zero.
    For several replicas and for the identities the same holds as for `BatchHardTriplet`.

    Args:
        margin: α; negatives count the more, the closer they are.

    Raises:
        ValueError: a negative margin.
    """

    def __init__(self, margin=1.0, reduction="mean_with_sample_weight", name="lifted_structured", **kwargs):
        super().__init__(margin, name=name, reduction=reduction, **kwargs)
        if not margin >= 0:
            raise ValueError(f"margin must be a number from zero on, got {margin!r}.")

    def of_batch(self, identities, embeddings):
        """Each anchor's share (B,), of identities (B,) and embeddings (B, D); their mean is the mean over the pairs."""
        distances = _length(embeddings[:, None] - embeddings[None, :])  # (B, B)
        same = ops.equal(identities[:, None], identities[None, :])
        ones = ops.ones_like(distances)
        positive = ops.where(same, ones, 0.0) - ops.diagflat(ones[0])  # (B, B), 0 or 1
        alone = ops.all(same)  # without negatives
        # The nearest negative is taken out of the exponential, which would vanish where all are far.
        nearest = ops.stop_gradient(ops.min(ops.where(same, float("inf"), distances), axis=1))  # (B,)
        nearest = ops.where(alone, 0.0, nearest)
        terms = ops.exp(ops.where(same, -1e9, nearest[:, None] - distances))  # (B, B)
        negatives = self.margin - nearest + ops.log(ops.where(alone, 1.0, ops.sum(terms, axis=1)))  # (B,)
        pairs = ops.logaddexp(negatives[:, None], negatives[None, :]) + distances  # J, (B, B)
        pairs = ops.where(alone, 0.0, positive * ops.square(ops.relu(pairs)) / 2)
        count = ops.maximum(ops.sum(positive), 1.0)
        return ops.sum(pairs, axis=1) * ops.cast(ops.shape(positive)[0], count.dtype) / count


def _distance(embeddings, others):
    """Euclidean distance of each row to row `others` (B,)."""
    return _length(embeddings - ops.take(embeddings, others, axis=0))


def _length(vectors):
    """Euclidean length (...) of vectors (..., D); its gradient is zero where the length is."""
    squared = ops.sum(ops.square(vectors), axis=-1)
    apart = squared > 0
    return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)
