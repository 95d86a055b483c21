import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from keras import ops

from common.layers import L2Normalize
from tests.helpers import float64_allowed, value_and_gradients


def gradient(layer, x):
    """d sum(w · layer(x)) / dx with w = 1, 2, 3 …, by the backend's own differentiation."""
    weights, point = np.arange(1, x.shape[-1] + 1, dtype="float32"), keras.Variable(x)
    return value_and_gradients(lambda: ops.sum(ops.multiply(layer(point.value), weights)), [point])[1][0]


def test_known_vectors():
    vectors = np.array([[3.0, 4.0], [0.0, -2.0]], "float32")
    np.testing.assert_allclose(ops.convert_to_numpy(L2Normalize()(vectors)), [[0.6, 0.8], [0.0, -1.0]], rtol=1e-6)
    y = L2Normalize()(vectors[:, np.newaxis])  # (2, 1, 2): the last axis is that of a vector
    np.testing.assert_allclose(ops.convert_to_numpy(y), [[[0.6, 0.8]], [[0.0, -1.0]]], rtol=1e-6)


def test_float64_is_normalized_in_float64():
    with float64_allowed():
        y = L2Normalize(dtype="float64")(ops.convert_to_tensor([[1.0, 2.0]], "float64"))
        np.testing.assert_allclose(ops.convert_to_numpy(y), [[5**-0.5, 2 * 5**-0.5]], rtol=1e-15)


def test_gradient_is_the_projection_on_the_tangent_plane():
    # d(x/‖x‖)/dx = (I − u uᵀ) / ‖x‖ with u = (0.6, 0.8), ‖x‖ = 5; times w = (1, 2): (w − u (u·w)) / 5.
    np.testing.assert_allclose(
        gradient(L2Normalize(), np.array([[3.0, 4.0]], "float32")),
        [[(1 - 0.6 * 2.2) / 5, (2 - 0.8 * 2.2) / 5]],
        rtol=1e-5,
    )


def test_masks_pass_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        units = L2Normalize()(keras.layers.Masking()(np.array([[[3.0, 4.0], [0.0, 0.0]]], "float32")))
    np.testing.assert_allclose(ops.convert_to_numpy(units), [[[0.6, 0.8], [0, 0]]], rtol=1e-6)


def test_zero_vector_stays_zero_with_finite_gradient():
    zero = np.zeros((1, 3), "float32")
    assert np.array_equal(ops.convert_to_numpy(L2Normalize()(zero)), zero)
    np.testing.assert_allclose(L2Normalize()(np.array([[0, 1e-7]], "float32")), [[0, 0.1]], rtol=1e-5)  # by 1e-12
    # Below √epsilon the layer is linear with slope 1/√epsilon.
    np.testing.assert_allclose(gradient(L2Normalize(epsilon=1e-4), zero), [[100, 200, 300]], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_half_precision_neither_overflows_nor_vanishes(scale):
    # In float16, 10⁴ squared is infinite and 10⁻⁴ squared is zero.
    layer = L2Normalize(dtype=keras.DTypePolicy("mixed_float16"))
    y = layer(np.full((1, 4), scale, "float16"))
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    np.testing.assert_allclose(ops.convert_to_numpy(y), np.full((1, 4), 0.5), atol=1e-3)


@given(arrays("float32", (3, 5), elements=st.floats(-1e3, 1e3, width=32)))
def test_length_is_one_and_direction_is_unchanged(x):
    y = ops.convert_to_numpy(L2Normalize()(x)).astype("float64")
    length = np.linalg.norm(x.astype("float64"), axis=1, keepdims=True)
    expected = x / np.maximum(length, 1e-6)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_saves_and_loads_with_its_settings(tmp_path):
    image = keras.Input((4,))
    model = keras.Model(image, L2Normalize(epsilon=1e-6, name="unit")(image))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("unit").epsilon == 1e-6
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), ops.convert_to_numpy(loaded(x)))


def test_refuses_epsilon_zero():
    with pytest.raises(ValueError, match="epsilon must be above zero, got 0"):
        L2Normalize(epsilon=0)
