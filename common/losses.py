"""Metric-learning losses, written in `keras.ops` so that they run on every Keras backend."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="common")
class BatchHardTriplet(keras.losses.Loss):
    """Each anchor's farthest positive against its nearest negative (Hermans et al. 2017).

    For anchor a: max(0, d(a, p) - d(a, n) + margin), or softplus(d(a, p) - d(a, n)) for the soft margin, with
    the Euclidean distance d, not squared. An anchor is its own positive at distance zero if it has no
    other; without a negative its loss is zero.

    Under `tf.distribute` a loss sees the batch of its own replica: P identities × K images must be split into
    whole identities. Keras hands identities to a loss as float32: number them from zero, or at least below 2^24.

    Args:
        margin: a number, or "soft".

    Raises:
        ValueError: another string, or a negative margin.
    """

    def __init__(self, margin="soft", reduction="mean_with_sample_weight", name="batch_hard_triplet", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        if margin != "soft" and (isinstance(margin, str) or not margin >= 0):
            raise ValueError(f'margin must be "soft" or a number from zero on, got {margin!r}.')
        self.margin = margin

    def call(self, y_true, y_pred):
        """Loss of each anchor.

        Args:
            y_true: (B,) or (B, 1) identities.
            y_pred: (B, D) embeddings.

        Returns:
            (B,), float32 or wider.
        """
        identities = ops.reshape(y_true, (-1,))  # (B,)
        embeddings = ops.cast(y_pred, "float64" if y_pred.dtype == "float64" else "float32")
        # The Gram matrix mines; the chosen distances are computed from differences, which do not cancel.
        squares = ops.sum(ops.square(embeddings), axis=1)
        distances = (
            squares[:, None] + squares[None, :] - 2 * ops.matmul(embeddings, ops.transpose(embeddings))
        )  # (B, B)
        same = ops.equal(identities[:, None], identities[None, :])
        far = ops.max(ops.abs(distances)) + 1
        positive = ops.argmax(ops.where(same, distances, -far), axis=1)  # (B,)
        negative = ops.argmin(ops.where(same, far, distances), axis=1)
        gap = _distance(embeddings, positive) - _distance(embeddings, negative)
        loss = ops.softplus(gap) if self.margin == "soft" else ops.relu(gap + self.margin)
        return ops.where(ops.all(same, axis=1), 0.0, loss)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


def _distance(embeddings, others):
    """Euclidean distance of each row to row `others` (B,); its gradient is zero where the distance is."""
    squared = ops.sum(ops.square(embeddings - ops.take(embeddings, others, axis=0)), axis=1)
    apart = squared > 0
    return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)
