"""The factors that a log has, and those of a trained network."""

from unittest.mock import ANY

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from adaptive_l2.factors import FactorLog, SharedFactor, by_category
from common.datasets.batches import shuffled_batches
from common.experiments import training
from common.layers import AdaptiveL2, ConstantL2


def test_factors_are_logged_per_category(tmp_path):
    x = np.random.default_rng(0).normal(size=(16, 2)).astype("float32")
    network = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False)])
    inputs = keras.Input((2,))
    regularizer = AdaptiveL2(network)
    model = keras.Model(inputs, regularizer(inputs))
    model.compile(keras.optimizers.Adam(0.1), "mse", jit_compile=False)
    training.fit(
        model,
        lambda epoch: shuffled_batches(x, 8, seed=0, first_epoch=epoch).map(lambda batch: (batch, batch[:, :1])),
        steps_per_epoch=2,
        epochs=3,
        folder=tmp_path,
        monitor=None,
        callbacks=[FactorLog(regularizer)],
    )
    logged = pd.read_csv(tmp_path / "log.csv")["factor_dense_kernel"]
    assert (np.diff(logged) < 0).all()
    np.testing.assert_allclose(logged.iloc[-1], regularizer.factors()[0], rtol=1e-6)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert events.read_bytes().count(b"factor_dense_kernel") == 3


def test_logged_factors_are_medians():
    """A = 0.02 and c = 2.5: θ of -3, -1 and 0 are 0, 0.006 and 0.01, whose mean is lower."""
    network = keras.Sequential([keras.Input((2,)), *(layers.Dense(2, use_bias=False) for _ in range(3))])
    regularizer, logs = AdaptiveL2(network, 0.02), {"loss": 1.0}
    regularizer.theta.assign([-3.0, 0.0, -1.0])
    FactorLog(regularizer).on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "factor_dense_kernel": pytest.approx(0.006), "penalty": ANY}


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_penalty_is_logged_apart(adaptive):
    """0.02 · (1² + 2²) or half of it, and nothing while the layer is frozen."""
    network = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    network.set_weights([np.array([[1.0]]), np.array([2.0])])
    regularizer, logs = (AdaptiveL2 if adaptive else ConstantL2)(network, 0.02), {}
    FactorLog(regularizer).on_epoch_end(0, logs)
    assert logs["penalty"] == pytest.approx(0.05 if adaptive else 0.1)
    assert any(name.startswith("factor_") for name in logs) == adaptive
    network.layers[0].trainable = False
    FactorLog(regularizer).on_epoch_end(1, logs)
    assert logs["penalty"] == 0


def test_a_shared_factor_is_one_for_all_weights():
    """A = 0.02, c = 5: f(-2) = 0.3. Its gradient is that of all penalties together, A ‖w‖² / 2c."""
    network = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    network.set_weights([np.array([[1.0]]), np.array([2.0])])
    regularizer = SharedFactor(network, 0.02, c=5.0)
    regularizer.theta.assign(-2.0)
    np.testing.assert_allclose(regularizer.factors(), [0.006, 0.006], rtol=1e-6)
    assert float(regularizer.penalty()) == pytest.approx(0.03)
    image = keras.Input((1,))
    model = keras.Model(image, regularizer(image))
    model.compile(keras.optimizers.SGD(1.0), lambda y, out: 0 * keras.ops.sum(out), jit_compile=False)
    model.fit(np.ones((1, 1)), np.ones((1, 1)), verbose=0)
    assert float(regularizer.theta.numpy()) == pytest.approx(-2.0 - 0.02 * 5 / 10)


def test_factors_by_category_by_hand():
    """A = 0.02 and c = 2.5: λ = 0.02 · (0.5 + θ / 5)."""
    network = keras.Sequential([keras.Input((3, 3, 2)), layers.Conv2D(4, 1), layers.Conv2D(2, 1, use_bias=False)])
    regularizer = AdaptiveL2(network, 0.02)
    assert list(regularizer.categories) == ["conv_bias", "conv_kernel", "conv_kernel"]
    regularizer.theta.assign([-2.0, 0.0, -1.0])
    factors = by_category(regularizer)
    np.testing.assert_allclose(factors["conv_kernel"], [0.01, 0.006], rtol=1e-6)
    np.testing.assert_allclose(factors["conv_bias"], [0.002], rtol=1e-5)
