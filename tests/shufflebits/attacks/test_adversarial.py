"""Two networks that learn in turns, against steps derived by hand."""

import keras
import numpy as np
import pytest

from common.datasets.batches import endless, feed
from common.experiments import training
from shufflebits.attacks.adversarial import AdversarialTraining


def build(weight=0.5, generator=2.0, discriminator=(1.0, 3.0), normalized=False, spectral=False):
    """Generates g·c from c, where the truth is t; the discriminator scores d₀·sample + d₁·c."""
    condition, truth, sample = (keras.Input((1,), name=name) for name in ("condition", "truth", "sample"))
    made = keras.layers.Dense(1, use_bias=False, name="generator")(condition)
    if normalized:
        made = keras.layers.BatchNormalization(momentum=0.5, epsilon=0, name="normalized")(made)
    outputs = {"sample": made, "truth": truth, "difference": made - truth}
    pairs = keras.Model({"condition": condition, "truth": truth}, outputs)
    merged = keras.layers.Concatenate()([sample, condition])
    score = keras.layers.Dense(1, use_bias=False, name="score")
    judge = keras.Model(
        [sample, condition],
        (keras.layers.SpectralNormalization(score, name="score_normalized") if spectral else score)(merged),
    )
    pairs.get_layer("generator").set_weights([np.array([[generator]])])
    score.set_weights([np.array(discriminator).reshape(2, 1)])
    model = AdversarialTraining(pairs, judge, "condition", weight)
    model.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.01))
    return model


def data(conditions, truths):
    columns = {"condition": np.float32(conditions)[:, None], "truth": np.float32(truths)[:, None]}
    return endless(lambda epoch, step: (columns, columns["truth"]), 1)


def inputs(condition, truth):
    return {"condition": keras.ops.array([[condition]]), "truth": keras.ops.array([[truth]])}


def test_one_step_by_hand():
    """The discriminator sees the first sample, the generator the second and the new discriminator.

    First sample c = 1, t = 4: made 2; scores 1·4 + 3 = 7 and 1·2 + 3 = 5; loss (6² + 5²) / 2 = 30.5; gradients of d₀
    6·4 + 5·2 = 34 and of d₁ 6 + 5 = 11, so d = (1 − 0.34, 3 − 0.11) = (0.66, 2.89).
    Second sample c = 2, t = 5: made 4; difference −1; score 0.66·4 + 2.89·2 = 8.42; loss 1 + 0.5·7.42²; gradient of g
    2·(−1)·2 + 0.5·2·7.42·0.66·2 = 5.7944, so g = 2 − 0.57944.
    """
    model = build()
    logs = model.fit(feed(data([1, 2], [4, 5])), steps_per_epoch=1, verbose=0, shuffle=False).history
    np.testing.assert_allclose(model.discriminator.get_weights()[0].ravel(), [0.66, 2.89], rtol=1e-6)
    np.testing.assert_allclose(model.pairs.get_weights()[0], [[2 - 0.57944]], rtol=1e-6)
    expected = {"loss": 1 + 0.5 * 7.42**2, "difference": 1, "adversarial": 7.42**2, "discriminator": 30.5}
    assert {name: values[0] for name, values in logs.items()} == pytest.approx(expected, rel=1e-5)


def test_without_weight_the_generator_learns_from_its_own_loss_alone():
    model = build(weight=0.0)
    model.fit(feed(data([1, 2], [4, 5])), steps_per_epoch=1, verbose=0, shuffle=False)
    np.testing.assert_allclose(model.pairs.get_weights()[0], [[2 + 0.1 * 2 * 2]], rtol=1e-6)


def test_discriminators_step_takes_the_generators_moving_statistics():
    """c = 1 gives 2, of which the moving mean 1 and variance 4 make (2 - 1) / 2 = 0.5; the batch's own would make 0.

    With t = 4, scores are 1·4 + 3 = 7 and 1·0.5 + 3 = 3.5; loss (6² + 3.5²) / 2. The generator's step then moves the
    mean to (1 + 2) / 2 and the variance to (4 + 0) / 2.
    """
    model = build(normalized=True)
    model.pairs.get_layer("normalized").set_weights([np.array([value]) for value in (1.0, 0.0, 1.0, 4.0)])
    assert float(model._discriminator_step(inputs(1.0, 4.0))) == pytest.approx((6**2 + 3.5**2) / 2)
    statistics = [model.pairs.get_layer("normalized").get_weights()[2:]]
    model._generator_step(inputs(1.0, 4.0))
    statistics.append(model.pairs.get_layer("normalized").get_weights()[2:])
    np.testing.assert_allclose(np.ravel(statistics), [1, 4, 1.5, 2])


def test_generators_step_leaves_the_discriminator_alone():
    """Spectral normalization divides a kernel in each step of its own, here (3, 4) by its length 5."""
    model = build(discriminator=(3.0, 4.0), spectral=True)
    score = model.discriminator.get_layer("score_normalized").layer
    model._generator_step(inputs(1.0, 4.0))
    np.testing.assert_array_equal(score.get_weights()[0].ravel(), [3, 4])


def test_discriminators_step_normalizes_its_kernel():
    """(3, 4) / 5 = (0.6, 0.8); scores 0.6·4 + 0.8 = 3.2 and 0.6·2 + 0.8 = 2, gradients 2.2·4 + 2·2 and 2.2 + 2."""
    model = build(discriminator=(3.0, 4.0), spectral=True)
    model._discriminator_step(inputs(1.0, 4.0))
    score = model.discriminator.get_layer("score_normalized").layer
    np.testing.assert_allclose(score.get_weights()[0].ravel(), [0.6 - 0.128, 0.8 - 0.042], rtol=1e-5)


def test_resumed_equals_uninterrupted(tmp_path):
    """Both optimizers have moments that must be restored, and spectral normalization its vectors."""

    def train(folder, epochs):
        keras.utils.set_random_seed(0)
        model = build(spectral=True)
        model.compile(keras.optimizers.Adam(0.1), keras.optimizers.Adam(0.01))
        batches = data(np.arange(8), np.arange(8) * 3)
        training.fit(model, lambda epoch: batches, steps_per_epoch=2, epochs=epochs, folder=folder, monitor=None)
        return [*model.pairs.get_weights(), *model.discriminator.get_weights()]

    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "stopped", 2)
    for expected, resumed in zip(whole, train(tmp_path / "stopped", 4)):
        np.testing.assert_array_equal(resumed, expected)
