"""Losses against tensorflow-addons' values, values by hand, and where the addons fail."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.losses import BatchHardTriplet
from tests.helpers import ROOT

GOLDEN = np.load(ROOT / "tests/golden/tfa_losses.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})
MARGINS = {"triplet_hard_margin_1": 1.0, "triplet_hard_margin_0.3": 0.3, "triplet_hard_soft": "soft"}
# Without a negative the addons take a positive for one.
WRONG_IN_THE_ADDONS = {"one_class"}


def value_and_gradient(loss, labels, embeddings):
    points = tf.constant(embeddings)
    with tf.GradientTape() as tape:
        tape.watch(points)
        value = loss(labels, points)
    return value.numpy(), tape.gradient(value, points).numpy()


@pytest.mark.parametrize("case", [case for case in CASES if case not in WRONG_IN_THE_ADDONS])
@pytest.mark.parametrize("name", MARGINS)
def test_triplet_equals_the_addons(case, name):
    embeddings, labels = GOLDEN[f"{case}/embeddings"], GOLDEN[f"{case}/labels"]
    value, gradient = value_and_gradient(BatchHardTriplet(MARGINS[name]), labels, embeddings)
    np.testing.assert_allclose(value, GOLDEN[f"{case}/{name}/value"], rtol=2e-5, atol=1e-6)
    expected = GOLDEN[f"{case}/{name}/gradient"]
    if case == "duplicates":  # twins share a gradient there; here the first one takes it
        gradient, expected = (array.reshape(-1, 2, array.shape[1]).sum(axis=1) for array in (gradient, expected))
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_triplet_by_hand():
    """Identities on a line: a at 0 and 3, b at 4 and 10."""
    embeddings = np.array([[0.0], [3.0], [4.0], [10.0]], "float32")
    # Farthest positives 3, 3, 6, 6; nearest negatives 4, 1, 1, 7.
    gaps = np.array([-1.0, 2.0, 5.0, -1.0])
    each = BatchHardTriplet(margin=0.5, reduction=None)([0, 0, 1, 1], embeddings)
    np.testing.assert_allclose(each, np.maximum(gaps + 0.5, 0))
    soft = BatchHardTriplet()([0, 0, 1, 1], embeddings)
    np.testing.assert_allclose(soft, np.log1p(np.exp(gaps)).mean(), rtol=1e-6)


def test_triplet_gradient_by_hand():
    embeddings = np.array([[0.0], [3.0], [4.0], [10.0]], "float32")
    _, gradient = value_and_gradient(BatchHardTriplet(margin=0.5, reduction="sum"), [0, 0, 1, 1], embeddings)
    # Anchor at 3: |3 - 0| - |3 - 4| gives -1 at 0, 1 + 1 at 3, -1 at 4.
    # Anchor at 4: |4 - 10| - |4 - 3| gives 1 at 10, -1 - 1 at 4, 1 at 3.
    np.testing.assert_allclose(gradient[:, 0], [-1.0, 3.0, -3.0, 1.0])


@pytest.mark.parametrize("margin", [1.0, "soft"])
def test_triplet_is_finite_where_distances_are_zero_huge_or_missing(margin):
    same = np.ones((4, 3), "float32")
    for labels, embeddings in (([0, 0, 1, 1], same), ([0, 0, 0, 0], same), ([0, 0, 1, 1], 1e6 * np.eye(4, 3))):
        value, gradient = value_and_gradient(BatchHardTriplet(margin), labels, np.float32(embeddings))
        assert np.isfinite(value) and np.isfinite(gradient).all()
    alone, gradient = value_and_gradient(BatchHardTriplet(margin), [5, 5, 5, 5], same * np.arange(4)[:, None])
    assert alone == 0 and not gradient.any()


def test_triplet_in_half_precision_mines_in_float32():
    embeddings = np.array([[300.0], [301.0], [303.0], [310.0]], "float16")  # squares overflow in float16
    value = BatchHardTriplet(margin=0.0)([0, 0, 1, 1], tf.constant(embeddings))
    np.testing.assert_allclose(value, (0 + 0 + 5 + 0) / 4)


def test_triplet_saves_its_margin_and_refuses_bad_ones():
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(BatchHardTriplet(0.3)))
    assert loss.margin == 0.3
    for margin in ("hard", -1.0):
        with pytest.raises(ValueError, match='margin must be "soft" or a number from zero on'):
            BatchHardTriplet(margin)
