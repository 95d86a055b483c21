"""Logistic regression of every bit of a code on the bits that its decoder knows by then, in floats."""

import math

import numpy as np


def logistic_regression(
    fitted: np.ndarray,
    checked: np.ndarray,
    length: int,
    generator: np.random.Generator,
    *,
    epochs: int = 20,
    patience: int = 4,
    batch_size: int = 1024,
    learning_rate: float = 0.02,
    l2: float = 1e-5,
) -> tuple[np.ndarray, float, int]:
    """All K regressions at once, as one masked matrix, with Adam.

    Args:
        fitted: (N, K + 2M + 1) int8 bits as ±1 or 0: own, M of the left block, M of the upper block; then 1.
        checked: (N', K + 2M + 1) the same of other images; decides which epoch is the best, and when to stop.
        length: K.
        generator: of the order of blocks.
        epochs: most passes; the learning rate falls to zero over them.
        patience: passes without an improvement until it stops.
        batch_size: blocks per step.
        learning_rate: of the first step.
        l2: of the weights, per block and bit.

    Returns:
        (K, K + 2M + 1) float32 weights, natural logits; their bits per code bit on `checked`; and their epoch.
    """
    weights, mask = _start(fitted, length), visible_features(length, fitted.shape[1])
    best = weights, math.inf, 0
    adam = Adam(weights, learning_rate, epochs * -(-len(fitted) // batch_size))
    for epoch in range(1, epochs + 1):
        order = generator.permutation(len(fitted))
        for start in range(0, len(fitted), batch_size):
            batch = fitted[order[start : start + batch_size]].astype(np.float32)
            adam.apply(gradient(weights, batch, mask) + l2 * weights)
        loss = loss_of(weights, checked, length)
        if loss < best[1]:
            best = weights.copy(), loss, epoch
        elif epoch - best[2] == patience:
            break
    return best


def visible_features(length: int, features: int) -> np.ndarray:
    """(K, K + 2M + 1): which features bit k may see."""
    return np.concatenate((np.tri(length, k=-1), np.ones((length, features - length))), 1).astype(np.float32)


def _start(features: np.ndarray, length: int) -> np.ndarray:
    """(K, K + 2M + 1) float32 weights of bits that are independent."""
    ones, weights = (features[:, :length] > 0).sum(0), np.zeros((length, features.shape[1]), np.float32)
    weights[:, -1] = np.log((ones + 1) / (len(features) - ones + 1))
    return weights


def gradient(weights: np.ndarray, batch: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Of the mean over blocks of the sum over bits of log(1 + exp(-±z)), in nats."""
    own = batch[:, : len(weights)]
    towards = -own * (0.5 - 0.5 * np.tanh(0.5 * own * (batch @ weights.T)))  # the sigmoid of a tanh cannot overflow
    return towards.T @ batch / np.float32(len(batch)) * mask


def loss_of(weights: np.ndarray, features: np.ndarray, length: int) -> float:
    """Bits per code bit of features (N, K + 2M + 1)."""
    total = 0.0
    for start in range(0, len(features), 4096):
        batch = features[start : start + 4096].astype(np.float32)
        total += float(np.logaddexp(0, -batch[:, :length] * (batch @ weights.T)).sum(dtype=np.float64))
    return total / math.log(2) / (len(features) * length)


class Adam:
    """Adam whose rate falls to zero as a cosine; changes `weights` in place."""

    def __init__(self, weights: np.ndarray, rate: float, total: int) -> None:
        self.weights, self.rate, self.total, self.done = weights, rate, total, 0
        self.mean, self.square = np.zeros_like(weights), np.zeros_like(weights)

    def apply(self, gradient: np.ndarray) -> None:
        self.done += 1
        self.mean += 0.1 * (gradient - self.mean)
        self.square += 0.01 * (gradient**2 - self.square)
        rate = self.rate * 0.5 * (1 + np.cos(np.pi * self.done / self.total))
        unbiased = np.sqrt(self.square / (1 - 0.99**self.done)) + 1e-8
        self.weights -= (rate / (1 - 0.9**self.done)) * self.mean / unbiased
