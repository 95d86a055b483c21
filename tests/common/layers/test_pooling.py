"""Generalized-mean pooling against values by hand, its limits, and its gradients."""

import keras
import numpy as np
import pytest
from keras import ops

from common.layers import GeMPooling2D
from tests.common.layers.test_layers import gradient

# One image, two rows of three places, two channels: 1, 2, 3, 4, 5, 9 and 0, 0, 0, 0, 0, 6.
MAPS = np.array([[[[1, 0], [2, 0], [3, 0]], [[4, 0], [5, 0], [9, 6]]]], "float32")


def pooled(maps, **options):
    return ops.convert_to_numpy(GeMPooling2D(**options)(maps))


@pytest.mark.parametrize(
    "power, expected",
    [
        (1, [4, 1]),
        (2, [np.sqrt(136 / 6), np.sqrt(6)]),  # 1 + 4 + 9 + 16 + 25 + 81, and 36, over 6
        (3, [np.cbrt(159), np.cbrt(36)]),  # 1 + 8 + 27 + 64 + 125 + 729, and 216, over 6
        (100, [9 * 6**-0.01, 6 * 6**-0.01]),  # nearly the maximum; 9^100 is no float32
    ],
)
def test_known_values(power, expected):
    """Of one image and another that is twice as bright, upright and turned."""
    both = np.concatenate([MAPS, 2 * MAPS])
    for maps in (both, both.swapaxes(1, 2)):
        np.testing.assert_allclose(pooled(maps, power=power), [expected, 2 * np.array(expected)], rtol=2e-5)


def test_by_default_it_is_the_average():
    np.testing.assert_allclose(pooled(MAPS), [[4, 1]], rtol=1e-5)
    assert GeMPooling2D().compute_output_shape((7, 2, 3, 5)) == (7, 5)


def test_features_are_raised_to_the_floor():
    zero = np.zeros((1, 2, 2, 1), "float32")
    np.testing.assert_allclose(pooled(zero, power=3, epsilon=0.5), [[0.5]], rtol=1e-6)
    np.testing.assert_allclose(pooled(zero - 5), [[1e-6]], rtol=1e-4)


def test_gradient_of_the_features():
    """∂/∂x_i = x_i^(p-1) / (N y^(p-1)), p = 2: x_i / (6 √(136 / 6)); nothing flows to the floor but by ties."""
    layer = GeMPooling2D(power=2)
    output = gradient(layer, MAPS[..., :1])[0, :, :, 0]
    np.testing.assert_allclose(output, MAPS[0, :, :, 0] / (6 * np.sqrt(136 / 6)), rtol=1e-5)
    assert np.isfinite(gradient(layer, np.zeros((1, 2, 2, 1), "float32"))).all()


def test_gradient_of_the_power_is_that_of_a_difference_and_finite_at_zero():
    image = keras.Input((2, 3, 2))
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
    """With the power in bfloat16, 0.10009765625, the results would be 2 % smaller."""
    layer = GeMPooling2D(power=0.1004, epsilon=1e-30, dtype=keras.DTypePolicy("mixed_bfloat16"))
    maps = np.tile(np.float32([[[[0.0]], [[1.0]]]]), (1, 8, 8, 1))
    output = layer(maps)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(layer.trained_power.dtype) == "float32"
    expected = ((1 + 1e-30**0.1004) / 2) ** (1 / 0.1004)
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(output, "float32")), [[expected]], rtol=2**-8)


def test_the_power_is_float32_in_whatever_layer():
    layer = GeMPooling2D(power=1.7, dtype="bfloat16")
    layer.build((None, 2, 3, 2))
    assert keras.backend.standardize_dtype(layer.trained_power.dtype) == "float32"
    assert float(ops.convert_to_numpy(layer.trained_power)) == np.float32(1.7)


def test_survives_saving(tmp_path):
    image = keras.Input((2, 3, 2))
    model = keras.Model(image, GeMPooling2D(power=2, epsilon=0.1)(image))
    model.layers[1].trained_power.assign(2.5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(MAPS), model(MAPS))
    assert (loaded.layers[1].power, loaded.layers[1].epsilon) == (2, 0.1)


def test_bad_powers_are_reported():
    for power, epsilon in ((0, 0.5), (2, 0), (-1, 0.5), (float("inf"), 0.5), (2, float("nan"))):
        with pytest.raises(
            ValueError, match=f"power must be 0.01 or more and epsilon above zero, got {power} and {epsilon}"
        ):
            GeMPooling2D(power=power, epsilon=epsilon)
