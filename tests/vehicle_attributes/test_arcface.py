"""ArcFace's layer and loss, by hand and against plain cross-entropy."""

import keras
import numpy as np
import pytest

from tests.helpers import float64_allowed, value_and_gradients
from vehicle_attributes.arcface import ArcFace, CosineDense


def value_and_gradient(loss, labels, cosines):
    points = keras.Variable(cosines)
    value, (gradient,) = value_and_gradients(lambda: loss(labels, points.value), [points])
    return value, gradient


def test_cosines_to_the_centers_whatever_the_lengths():
    layer = CosineDense(2)
    layer.build((None, 2))
    layer.centers.assign([[0.0, 3.0], [1.0, 1.0]])
    cosines = keras.ops.convert_to_numpy(layer(np.array([[2.0, 0.0], [0.0, 0.1], [0.0, 0.0]], "float32")))
    half = 0.5**0.5
    np.testing.assert_allclose(cosines, [[0, half], [1, half], [0, 0]], rtol=1e-6)
    again = CosineDense.from_config(layer.get_config())
    assert again.units == 2 and again.compute_output_shape((None, 5)) == (None, 2)


def test_many_centers_in_float64():
    with float64_allowed():
        wide = CosineDense(1000, dtype="float64")
        cosines = keras.ops.convert_to_numpy(wide(keras.ops.convert_to_tensor([[3.0, 4.0, 0.0]], "float64")))
        centers = keras.ops.convert_to_numpy(wide.centers)
    expected = centers @ [0.6, 0.8, 0] / np.linalg.norm(centers, axis=1)
    # Keras' `matmul` makes float32 of it on PyTorch.
    np.testing.assert_allclose(cosines, [expected], rtol=0, atol=1e-6 if keras.backend.backend() == "torch" else 1e-14)
    assert np.std(centers) == pytest.approx(0.05, rel=0.1) and abs(np.mean(centers)) < 0.005


def test_arcface_by_hand():
    """Angles 60° and 90° to the centers, class 0, margin 30°, scale 2: logits 2 cos 90° = 0 and 0."""
    cosines = np.array([[0.5, 0.0]], "float32")
    value, gradient = value_and_gradient(ArcFace(margin=np.pi / 6, scale=2.0), [0], cosines)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-6)
    # d cos(θ + m) / d cos θ = cos m + cos θ sin m / sin θ = √3/2 + 1/(2√3)
    np.testing.assert_allclose(gradient, [[-(3**0.5 / 2 + 0.5 / 3**0.5), 1.0]], rtol=1e-5)


def test_arcface_beyond_pi_by_hand():
    """Angles of 170° and 140° with a margin of 30°: the first is beyond 180°, and the other one, at 170°, is not."""
    far, near = np.cos(np.radians([170, 140]))
    # The last one is at 0°, where the sine is at its floor of a thousandth.
    cosines = np.array([[far, 0.25], [0.25, near], [0.25, far], [1, 0.25]], "float32")
    beyond = far - np.pi / 6 * 0.5  # cos θ - m sin m
    shifted = [beyond, np.cos(np.radians(170)), beyond, np.cos(np.pi / 6) - 0.5e-3]
    expected = [np.log1p(np.exp(4 * (0.25 - logit))) for logit in shifted]
    each = ArcFace(np.pi / 6, 4.0, reduction=None)(np.array([[0], [1], [1], [0]]), cosines)
    np.testing.assert_allclose(each, expected, rtol=1e-5)
    np.testing.assert_allclose(ArcFace(np.pi / 6, 4.0)([0, 1, 1, 0], cosines), np.mean(expected), rtol=1e-5)
    # 120° and 60° are 180°, which is not above.
    value = ArcFace(np.pi / 3, 1.0)([0], np.array([[-0.5, 0.0]], "float32"))
    np.testing.assert_allclose(value, np.log1p(np.e), rtol=1e-5)


def test_default_margin_and_scale_are_those_of_the_model():
    assert (ArcFace().margin, ArcFace().scale) == (0.5, 30.0)


def test_arcface_in_float64():
    """The true class at 60°, with a margin of 30° at 90°."""
    with float64_allowed():
        cosines = keras.ops.convert_to_tensor([[0.5, 0.5]], "float64")
        each = ArcFace(np.pi / 6, 1.0, reduction=None, dtype="float64")(np.array([0]), cosines)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(each), [np.log1p(np.exp(0.5))], rtol=1e-14)


def test_arcface_without_a_margin_is_cross_entropy():
    random = np.random.default_rng(0)
    cosines, labels = random.uniform(-1, 1, (6, 4)).astype("float32"), np.array([0, 1, 2, 3, 0, 1])
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, 30 * cosines)
    np.testing.assert_allclose(ArcFace(margin=0.0)(labels, cosines), expected, rtol=1e-5)


def test_arcface_orders_angles_beyond_pi_and_has_finite_gradients_everywhere():
    cosines = np.stack([np.linspace(-1, 1, 201), np.zeros(201)], axis=1).astype("float32")
    each = ArcFace(margin=0.5, scale=10.0, reduction=None)(np.zeros(201), cosines)
    assert np.all(np.diff(keras.ops.convert_to_numpy(each)) < 0)
    _, gradient = value_and_gradient(ArcFace(margin=0.5, scale=10.0, reduction="sum"), np.zeros(201), cosines)
    assert np.isfinite(gradient).all()


def test_arcface_saves_its_arguments_and_refuses_bad_ones():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ArcFace(0.3, 16.0)))
    assert (again.margin, again.scale) == (0.3, 16.0)
    ArcFace(np.pi / 2, 1e-3)
    for margin, scale in ((-0.1, 30.0), (2.0, 30.0), (0.5, 0.0)):
        with pytest.raises(ValueError, match="margin must be from 0 to π/2 and scale above zero"):
            ArcFace(margin, scale)
