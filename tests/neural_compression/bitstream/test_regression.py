"""The logistic regression of all bits: its gradient, its steps by hand, and when it stops."""

import math

import numpy as np
import pytest

from neural_compression.bitstream import regression


def test_gradient_is_that_of_the_loss():
    generator = np.random.default_rng(0)
    features = np.pad(generator.choice([-1, 1], (50, 9)), ((0, 0), (0, 1)), constant_values=1).astype(np.float64)
    weights = generator.normal(0, 0.3, (3, 10))
    weights[:, :3] = np.tril(weights[:, :3], -1)
    gradient = regression.gradient(weights, features, regression.visible_features(3, 10))
    for k, j in np.ndindex(gradient.shape):
        if j < 3 and j >= k:
            assert gradient[k, j] == 0
            continue
        step = np.zeros_like(weights)
        step[k, j] = 1e-5
        above, below = (regression.loss_of(weights + s, features, 3) for s in (step, -step))
        assert gradient[k, j] == pytest.approx((above - below) / 2e-5 * 3 * math.log(2), abs=1e-4)


def regression_features(number, seed):
    features = np.random.default_rng(seed).choice(np.int8([-1, 1]), (number, 8))
    features[:, -1] = 1
    features[: number // 3, 0] = 1
    return features


def test_steps_of_the_regression():
    """Adam with 0.9 and 0.99 and a rate that falls on a cosine, from bits that are independent, with the penalty."""
    features, checked = regression_features(40, 0), regression_features(30, 1)
    options = {"epochs": 4, "batch_size": 40, "learning_rate": 0.3, "l2": 0.5}
    weights, loss, epoch = regression.logistic_regression(features, checked, 3, np.random.default_rng(0), **options)
    ones = (features[:, :3] == 1).sum(0)
    expected, mean, square, ends = np.zeros((3, 8)), 0.0, 0.0, []
    expected[:, -1] = np.log((ones + 1) / (40 - ones + 1))
    mask = np.hstack([np.tri(3, k=-1), np.ones((3, 5))])
    for step in range(1, 5):
        p = 1 / (1 + np.exp(-features @ expected.T))
        slope = ((p - (features[:, :3] == 1)).T @ features / 40) * mask + 0.5 * expected
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        rate = 0.3 * (1 + np.cos(np.pi * step / 4)) / 2
        expected = expected - rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
        logits = checked @ expected.T
        ends.append((np.log2(1 + np.exp(-checked[:, :3] * logits)).mean(), expected))
    best = int(np.argmin([value for value, _ in ends]))
    assert epoch == best + 1 and loss == pytest.approx(ends[best][0], rel=1e-4)
    np.testing.assert_allclose(weights, ends[best][1], atol=1e-3)


def test_loss_of_many_blocks():
    """In parts, each block once."""
    features, weights = regression_features(5000, 2), np.random.default_rng(3).normal(size=(3, 8)).astype("float32")
    expected = np.log2(1 + np.exp(-features[:, :3] * (features @ weights.T))).mean()
    assert regression.loss_of(weights, features, 3) == pytest.approx(expected, rel=1e-6)
    start = regression.logistic_regression(features, features, 3, np.random.default_rng(0), epochs=0)
    assert start[1:] == (np.inf, 0) and not start[0][:, :-1].any()


def test_regression_stops_when_nothing_improves_and_gives_the_best(monkeypatch):
    features, epochs, totals, slopes = regression_features(1025, 0), [], [], []
    gradient_of = regression.gradient

    def gradient(*arguments):
        slopes.append(gradient_of(*arguments))
        return slopes[-1]

    class Adam(regression.Adam):
        def __init__(self, weights, rate, total):
            super().__init__(weights, rate, total)
            totals.append((rate, total))

        def apply(self, slope):
            np.testing.assert_allclose(slope - slopes[-1], 1e-5 * self.weights, atol=5e-8)  # the penalty
            super().apply(slope)

    def loss_of(weights, *_):
        epochs.append(weights.copy())
        return [3, 2, 2.5, 2.1, 2, 2.2, 1][len(epochs) - 1]

    monkeypatch.setattr(regression, "Adam", Adam)
    monkeypatch.setattr(regression, "gradient", gradient)
    monkeypatch.setattr(regression, "loss_of", loss_of)
    weights, loss, epoch = regression.logistic_regression(features, features, 3, np.random.default_rng(0))
    assert (loss, epoch, len(epochs)) == (2, 2, 6)  # four epochs without a better one
    np.testing.assert_array_equal(weights, epochs[1])
    assert totals == [(0.02, 20 * 2)]  # batches of 1024
