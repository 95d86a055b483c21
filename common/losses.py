"""Metric-learning losses, written in `keras.ops` so that they run on every Keras backend."""

import keras
import numpy as np
from keras import ops

from common.distribution import gathered
from common.layers.normalization import in_range, widened
from common.layers.words import is_symbolic

_LARGE = 1e15  # whose square float32 has


class LabelLoss(keras.losses.Loss):
    """A loss that compares with one integer for each sample, of any size.

    Keras hands labels to a loss as floats, of which those above 2^24 are not all different. Here they go as their
    bytes. On JAX an integer has 32 bits, unless 64 are enabled.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__({"bytes": _bytes_of(y_true, type(self).__name__)}, y_pred, sample_weight)

    def call(self, y_true, y_pred):
        """Loss of each sample, (B,), float32 or wider, of labels (B,) or (B, 1) and what is predicted (B, D)."""
        if not isinstance(y_true, dict):
            y_true = {"bytes": _bytes_of(y_true, type(self).__name__)}
        labels, y_pred = y_true["bytes"], ops.convert_to_tensor(y_pred)
        name, shape, count = type(self).__name__, tuple(y_pred.shape), labels.shape[0]
        if len(shape) != 2 or shape[0] == 0:
            raise ValueError(f"{name} takes predictions (B, D) of one sample or more, got shape {shape}.")
        if None not in (count, shape[0]) and count != shape[0]:
            raise ValueError(f"{name} takes a label for each prediction, got {count} labels of {shape[0]} predictions.")
        return self.of_labels(labels, widened(y_pred))


class _PairLoss(LabelLoss):
    """A loss over all pairs of a batch, with a margin.

    Each of several replicas computes the loss of the samples of all, which are gathered.
    """

    def __init__(self, margin, **kwargs):
        super().__init__(**kwargs)
        self.margin = margin

    def of_labels(self, labels, embeddings):
        """(B,) of the bytes (B, n) of identities and embeddings (B, D)."""
        labels = gathered(labels)
        same = ops.all(ops.equal(labels[:, None], labels[None, :]), axis=-1)  # (B, B)
        embeddings, scale = in_range(gathered(embeddings))
        return self.of_batch(same, embeddings, ops.reshape(scale, ()))

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable(package="common")
class BatchHardTriplet(_PairLoss):
    """Each anchor's farthest positive against its nearest negative (Hermans et al. 2017).

    For anchor a: max(0, d(a, p) - d(a, n) + margin), or softplus(d(a, p) - d(a, n)) for the soft margin, with
    the Euclidean distance d, not squared. An anchor is its own positive at distance zero if it has no
    other; without a negative its loss is zero. Identities are integers (B,) or (B, 1).

    Args:
        margin: a number, or "soft".

    Example:
        >>> import numpy as np
        >>> from common.losses import BatchHardTriplet
        >>> identities, embeddings = np.array([7, 7, 8, 8]), np.array([[0.0], [3.0], [4.0], [10.0]])
        >>> float(BatchHardTriplet(margin=0.5)(identities, embeddings))  # (0 + 2.5 + 5.5 + 0) / 4
        2.0

    Raises:
        ValueError: another string, or a negative margin; labels that are one-hot or no whole numbers.
    """

    def __init__(self, margin="soft", reduction="mean_with_sample_weight", name="batch_hard_triplet", **kwargs):
        super().__init__(margin, name=name, reduction=reduction, **kwargs)
        if margin != "soft" and (isinstance(margin, str) or not margin >= 0):
            raise ValueError(f'margin must be "soft" or a number from zero on, got {margin!r}.')

    def of_batch(self, same, embeddings, scale):
        """(B,) of which pairs have the same identity (B, B), and embeddings (B, D) divided by a scale ()."""
        # The Gram matrix mines; the chosen distances are computed from differences, which do not cancel. Nor does the
        # matrix once the mean is taken off: a batch far from the origin would be mined by rounding errors.
        centered = embeddings - ops.mean(embeddings, axis=0)
        squares = ops.sum(ops.square(centered), axis=1)
        products = ops.matmul(centered, ops.transpose(centered))  # (B, B)
        distances = squares[:, None] + squares[None, :] - 2 * products
        far = ops.max(ops.abs(distances)) + 1
        positive = ops.argmax(ops.where(same, distances, -far), axis=1)  # (B,)
        negative = ops.argmin(ops.where(same, far, distances), axis=1)
        gap = scale * (_distance(embeddings, positive) - _distance(embeddings, negative))
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

    Example:
        >>> import numpy as np
        >>> from common.losses import LiftedStructured
        >>> identities, embeddings = np.array([0, 0, 1]), np.array([[0.0], [1.0], [3.0]])
        >>> round(float(LiftedStructured()(identities, embeddings)), 4)  # (log(e^-2 + e^-1) + 1)² / 2
        0.0491

    Raises:
        ValueError: a negative margin; labels that are one-hot or no whole numbers.
    """

    def __init__(self, margin=1.0, reduction="mean_with_sample_weight", name="lifted_structured", **kwargs):
        super().__init__(margin, name=name, reduction=reduction, **kwargs)
        if not margin >= 0:
            raise ValueError(f"margin must be a number from zero on, got {margin!r}.")

    def of_batch(self, same, embeddings, scale):
        """Each anchor's share (B,), as of `BatchHardTriplet.of_batch`; their mean is the mean over the pairs."""
        distances = scale * _length(embeddings[:, None] - embeddings[None, :])  # (B, B)
        ones = ops.ones_like(distances)
        positive = ops.where(same, ones, 0.0) - ops.diagflat(ones[0])  # (B, B), 0 or 1
        alone = ops.all(same)  # without negatives
        # The nearest negative is taken out of the exponential, which would vanish where all are far.
        nearest = ops.stop_gradient(ops.min(ops.where(same, float("inf"), distances), axis=1))  # (B,)
        nearest = ops.where(alone, 0.0, nearest)
        terms = ops.exp(ops.where(same, -1e9, nearest[:, None] - distances))  # (B, B)
        negatives = self.margin - nearest + ops.log(ops.where(alone, 1.0, ops.sum(terms, axis=1)))  # (B,)
        pairs = ops.logaddexp(negatives[:, None], negatives[None, :]) + distances  # J, (B, B)
        pairs = ops.relu(pairs)
        # J² / 2, and for distances whose square float32 does not have, the tangent there.
        bounded = ops.where(pairs < _LARGE, pairs, _LARGE)
        pairs = ops.where(alone, 0.0, positive * bounded * (pairs - bounded / 2))
        count = ops.maximum(ops.sum(positive), 1.0)
        return ops.sum(pairs, axis=1) * ops.cast(ops.shape(positive)[0], count.dtype) / count


def _bytes_of(labels, name):
    """The bytes (B, n) of integers, as floats that half precision has; floats (B, 1) in a graph as they are.

    Raises:
        ValueError: another shape than (B,) or (B, 1), or floats that are no whole numbers or not all exact.
    """
    if not (ops.is_tensor(labels) or is_symbolic(labels)):
        labels = np.asarray(labels)
    if "int" not in str(labels.dtype) and not is_symbolic(labels):
        labels = _whole(labels if isinstance(labels, np.ndarray) else ops.convert_to_numpy(labels), name)
    # TensorFlow no longer knows the axes where a model got labels (B,) first and (B, 1) then.
    known = getattr(labels.shape, "rank", 0) is not None
    shape = tuple(labels.shape) if known else (None,)
    if len(shape) not in (1, 2) or len(shape) == 2 and shape[1] not in (1, None):
        raise ValueError(
            f"{name} takes one integer for each sample, (B,) or (B, 1), got labels of shape {shape}; of one-hot labels "
            "pass argmax(labels, -1)."
        )
    library = np if isinstance(labels, np.ndarray) else ops
    labels = library.reshape(labels, (-1, 1))
    kind = keras.backend.standardize_dtype(labels.dtype)
    if "int" not in kind:
        return labels
    if library is np:
        return labels.astype("int64").view("uint8").astype("float32")  # (B, 8)
    if kind in ("int8", "int16"):  # which have no 255, or no shift
        labels, kind = ops.cast(labels, "int32"), "int32"
    shifts = np.arange(0, int(kind.lstrip("uint")), 8)
    return ops.cast(ops.bitwise_and(ops.right_shift(labels, ops.cast(shifts, kind)), 255), "float32")


def index_of(labels):
    """(B,) int32 of the bytes (B, n) of labels, or -1 for those below 0 or from 2^24 on."""
    index = ops.cast(labels[:, 0], "int32")
    for n in range(1, min(3, labels.shape[1])):
        index += 2 ** (8 * n) * ops.cast(labels[:, n], "int32")
    return ops.where(ops.all(labels[:, 3:] == 0, axis=1), index, -1)


def _whole(labels, name):
    """Labels that are floats as integers."""
    kind = labels.dtype.kind
    if kind not in "biuf" or (kind == "f" and not (np.isfinite(labels).all() and (labels == np.round(labels)).all())):
        raise ValueError(f"{name} takes whole numbers as labels, got {labels.dtype}; number the identities.")
    largest = 2 ** (np.finfo(labels.dtype).nmant + 1) if kind == "f" else np.inf
    if labels.size and np.abs(labels).max() >= largest:
        raise ValueError(
            f"{name} got labels as {labels.dtype}, in which numbers from {largest} on are not all different; pass "
            "integers."
        )
    return labels.astype("int64")


def _distance(embeddings, others):
    """Euclidean distance of each row to row `others` (B,)."""
    return _length(embeddings - ops.take(embeddings, others, axis=0))


def _length(vectors):
    """Euclidean length (...) of vectors (..., D); its gradient is zero where the length is."""
    squared = ops.sum(ops.square(vectors), axis=-1)
    apart = squared > 0
    return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)
