"""Losses against tensorflow-addons' values, values by hand, and where the addons fail."""

import itertools

import keras
import numpy as np
import pytest
from keras import ops

from common.losses import BatchHardTriplet, LiftedStructured
from tests.children import ROOT
from tests.helpers import float64_allowed, value_and_gradients

GOLDEN = np.load(ROOT / "tests/golden/tfa_losses.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN.files})
MARGINS = {"triplet_hard_margin_1": 1.0, "triplet_hard_margin_0.3": 0.3, "triplet_hard_soft": "soft"}
# Without a negative the addons take a positive for one.
WRONG_IN_THE_ADDONS = {"one_class"}


def value_and_gradient(loss, labels, embeddings):
    points = keras.Variable(embeddings)
    value, (gradient,) = value_and_gradients(lambda: loss(labels, points.value), [points])
    return value, gradient


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


@pytest.mark.parametrize(("scale", "origin"), [(1, 0), (1 / 64, 1e4)])  # float32 has no digits for 1e4² + 1 / 64²
def test_triplet_by_hand(scale, origin):
    """Identities on a line: a at 0 and 3, b at 4 and 10, wherever the line is."""
    embeddings = np.array([[0.0], [3.0], [4.0], [10.0]], "float32") * np.float32(scale) + np.float32(origin)
    # Farthest positives 3, 3, 6, 6; nearest negatives 4, 1, 1, 7.
    gaps = scale * np.array([-1.0, 2.0, 5.0, -1.0])
    each = BatchHardTriplet(margin=0.5, reduction=None)([0, 0, 1, 1], embeddings)
    np.testing.assert_allclose(each, np.maximum(gaps + 0.5, 0))
    soft = BatchHardTriplet()([0, 0, 1, 1], embeddings)
    np.testing.assert_allclose(soft, np.log1p(np.exp(gaps)).mean(), rtol=1e-6)


def test_the_only_negative_counts_however_far_it_is():
    """Anchors alone with one negative ten away: 0 - 10 + 10.5; and equal embeddings, with one at distance 0."""
    for loss in (BatchHardTriplet(10.5, reduction=None), BatchHardTriplet(10.5, reduction=None, dtype="float64")):
        each = loss(np.array([[0], [1]]), np.array([[0.0], [10.0]]))  # (B, 1) identities
        np.testing.assert_allclose(each, [0.5, 0.5], rtol=1e-6)
        np.testing.assert_allclose(loss([0, 1, 1], np.zeros((3, 2))), [10.5] * 3, rtol=1e-6)


def test_float64_stays_float64():
    """A hundred millionth of the margin, which float32 does not tell from it."""
    with float64_allowed():
        points = ops.convert_to_tensor([[0.0], [1e-8], [2e-8]], "float64")
        each = BatchHardTriplet(1.0, reduction=None, dtype="float64")([0, 1], points[:2])
        np.testing.assert_allclose(ops.convert_to_numpy(each), [1 - 1e-8] * 2, rtol=1e-14)
        each = ops.convert_to_numpy(LiftedStructured(0.0, reduction=None, dtype="float64")([0, 0, 1], points))
    if keras.backend.backend() == "tensorflow":  # elsewhere Keras' `logaddexp` makes float32 of it
        assert np.all(np.abs(each - np.array([1.5, 1.5, 0]) * (np.log(2) - 0.5e-8) ** 2 / 2) < 1e-15)


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
    value = BatchHardTriplet(margin=0.0)([0, 0, 1, 1], keras.ops.convert_to_tensor(embeddings))
    np.testing.assert_allclose(value, (0 + 0 + 5 + 0) / 4)
    for loss in (BatchHardTriplet(), LiftedStructured()):
        each = loss.call(keras.ops.convert_to_tensor([0, 0, 1, 1]), keras.ops.convert_to_tensor(embeddings))
        assert keras.backend.standardize_dtype(each.dtype) == "float32"


def test_triplet_saves_its_margin_and_refuses_bad_ones():
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(BatchHardTriplet(0.3)))
    assert loss.margin == 0.3
    for margin in ("hard", -1.0, float("nan")):
        with pytest.raises(ValueError, match='margin must be "soft" or a number from zero on'):
            BatchHardTriplet(margin)


# There the addons return NaN, or what float32 leaves of distances between twins.
LIFTED_NOT_IN_THE_ADDONS = {"one_class", "no_positives", "far", "collapsed", "duplicates"}


@pytest.mark.parametrize("case", [case for case in CASES if case not in LIFTED_NOT_IN_THE_ADDONS])
def test_lifted_structured_equals_the_addons(case):
    embeddings, labels = GOLDEN[f"{case}/embeddings"], GOLDEN[f"{case}/labels"]
    value, gradient = value_and_gradient(LiftedStructured(), labels, embeddings)
    np.testing.assert_allclose(value, GOLDEN[f"{case}/lifted_structured_margin_1/value"], rtol=1e-5, atol=1e-6)
    expected = GOLDEN[f"{case}/lifted_structured_margin_1/gradient"]
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


def test_lifted_structured_where_one_class_is_far_from_two_that_are_near():
    """The two ends of a are 500 from b and c, which are 1 apart: each anchor's own nearest negative counts."""
    points = np.array([[0.0], [1000.0], [500.0], [501.0]], "float32")
    expected = (1 + np.log(2 * np.exp(-500 + 499) + np.exp(-501 + 499) + 1) - 499 + 1000) ** 2 / 2
    value, gradient = value_and_gradient(LiftedStructured(), [0, 0, 1, 2], points)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.isfinite(gradient).all()


def lifted_by_definition(labels, points, margin):
    """Song et al. 2016, Eq. 4, pair by pair in float64."""
    distance = np.linalg.norm(points[:, None].astype("float64") - points, axis=2)
    losses = []
    for i, j in itertools.combinations(range(len(labels)), 2):
        if labels[i] == labels[j]:
            away = np.concatenate([distance[a][labels != labels[i]] for a in (i, j)])
            smallest = away.min()
            log_sum = margin - smallest + np.log(np.sum(np.exp(smallest - away)))
            losses.append(max(0.0, log_sum + distance[i, j]) ** 2 / 2)
    return np.mean(losses)


@pytest.mark.parametrize("case", ["far", "collapsed", "duplicates", "uneven", "regular_1"])
@pytest.mark.parametrize("margin", [0.0, 0.5, 1.0])
def test_lifted_structured_equals_its_definition(case, margin):
    embeddings, labels = GOLDEN[f"{case}/embeddings"], GOLDEN[f"{case}/labels"]
    value, gradient = value_and_gradient(LiftedStructured(margin), labels, embeddings)
    # J is a small difference of distances of hundreds there.
    tolerance = 1e-4 if case == "far" else 1e-5
    np.testing.assert_allclose(value, lifted_by_definition(labels, embeddings, margin), rtol=tolerance)
    assert np.isfinite(gradient).all()


def test_lifted_structured_by_hand():
    """Identities on a line: a at 0 and 1, b at 3; the one pair has negatives at distances 3 and 2."""
    points = np.array([[0.0], [1.0], [3.0]], "float32")
    expected = (np.log(np.exp(1 - 3) + np.exp(1 - 2)) + 1) ** 2 / 2
    value, gradient = value_and_gradient(LiftedStructured(), [0, 0, 1], points)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    # dJ/dD_ij = 1; dJ/dD of a negative is minus its share of the sum: 1/(1 + e) and e/(1 + e).
    j, far, near = np.sqrt(2 * expected), 1 / (1 + np.e), np.e / (1 + np.e)
    np.testing.assert_allclose(gradient[:, 0], [j * (far - 1), j * (1 + near), -j], rtol=1e-5)


@pytest.mark.parametrize("case", ["one_class", "no_positives"])
def test_lifted_structured_is_zero_without_negatives_or_positives(case):
    value, gradient = value_and_gradient(LiftedStructured(), GOLDEN[f"{case}/labels"], GOLDEN[f"{case}/embeddings"])
    assert value == 0 and not gradient.any()


def test_lifted_structured_is_finite_where_a_class_is_together_and_the_others_are_far():
    points = np.float32([[0, 0], [0, 0], [1e4, 0], [1e4, 0]])
    value, gradient = value_and_gradient(LiftedStructured(), [0, 0, 1, 1], points)
    assert value == 0 and not gradient.any()


def test_losses_save_their_arguments_and_refuse_bad_ones():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(LiftedStructured(0.3)))
    assert again.margin == 0.3
    with pytest.raises(ValueError, match="margin must be a number from zero on, got -1.0"):
        LiftedStructured(-1.0)
