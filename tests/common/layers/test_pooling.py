"""Generalized-mean pooling against values by hand, its limits, and its gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from common.layers import GeMPooling2D
from tests.common.layers.test_layers import gradient

# One image, two channels: 1, 2, 3, 6 and 0, 0, 0, 4.
MAPS = np.array([[[[1, 0], [2, 0]], [[3, 0], [6, 4]]]], "float32")


def pooled(maps, **options):
    return ops.convert_to_numpy(GeMPooling2D(**options)(maps))


@pytest.mark.parametrize(
    "power, expected",
    [
        (1, [3, 1]),
        (2, [np.sqrt(50 / 4), 2]),  # 1 + 4 + 9 + 36, and 16, over 4
        (3, [np.cbrt(252 / 4), np.cbrt(16)]),  # 1 + 8 + 27 + 216, and 64
        (100, [6 * 0.25**0.01, 4 * 0.25**0.01]),  # nearly the maximum; 6^100 is no float32
    ],
)
def test_known_values(power, expected):
    np.testing.assert_allclose(pooled(MAPS, power=power), [expected], rtol=2e-5)


def test_features_are_raised_to_the_floor():
    zero = np.zeros((1, 2, 2, 1), "float32")
    np.testing.assert_allclose(pooled(zero, power=3, epsilon=0.5), [[0.5]], rtol=1e-6)
    np.testing.assert_allclose(pooled(zero - 5), [[1e-6]], rtol=1e-4)


def test_gradient_of_the_features():
    """∂/∂x_i = x_i^(p-1) / (N y^(p-1)), p = 2: x_i / (4 √12.5); nothing flows to features on the floor but by ties."""
    layer = GeMPooling2D(power=2)
    output = gradient(layer, MAPS[..., :1])[0, :, :, 0]
    np.testing.assert_allclose(output, MAPS[0, :, :, 0] / (4 * np.sqrt(12.5)), rtol=1e-5)
    assert np.isfinite(gradient(layer, np.zeros((1, 2, 2, 1), "float32"))).all()


def test_gradient_of_the_power_is_that_of_a_difference_and_finite_at_zero():
    image = keras.Input((2, 2, 2))
    for maps in (MAPS, np.zeros_like(MAPS)):
        layer = GeMPooling2D(power=2.0)
        model = keras.Model(image, layer(image))
        # One step of SGD with rate 1 on sum(y) moves the power by its gradient.
        model.compile(keras.optimizers.SGD(1.0), lambda target, y: ops.sum(y, axis=-1), jit_compile=False)
        model.train_on_batch(maps, np.zeros((1, 2), "float32"))
        moved = 2.0 - float(ops.convert_to_numpy(layer.trained_power))
        high, low = (pooled(maps, power=2 + step).astype("float64").sum() for step in (1e-2, -1e-2))
        assert moved == pytest.approx((high - low) / 2e-2, abs=2e-3)


def test_half_precision_keeps_the_power_and_the_sums_whole():
    layer = GeMPooling2D(power=3, dtype=keras.DTypePolicy("mixed_bfloat16"))
    maps = np.random.default_rng(0).random((2, 16, 8, 4), "float32")
    output = layer(maps)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(layer.trained_power.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(output, "float32")), pooled(maps, power=3), rtol=1e-2)


def test_survives_saving(tmp_path):
    image = keras.Input((2, 2, 2))
    model = keras.Model(image, GeMPooling2D(power=2, epsilon=0.1)(image))
    model.layers[1].trained_power.assign(2.5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(MAPS), model(MAPS))
    assert loaded.layers[1].get_config()["epsilon"] == 0.1


def test_bad_powers_are_reported():
    with pytest.raises(ValueError, match="power and epsilon must be above zero, got 0 and"):
        GeMPooling2D(power=0)
