"""Bit models with random weights, codes sampled from them, and the definition in plain Python to compare with."""

import math

import numpy as np

from neural_compression.bitstream.bit_model import BitModel, signs


def random_model(length, seed, scale=40, neighbor_bits=None):
    generator, count = np.random.default_rng(seed), neighbor_bits or length
    own, left, up = (np.rint(generator.normal(0, scale, (length, length))).astype(int) for _ in range(3))
    return BitModel(
        np.tril(own, -1), left[:, :count], up[:, :count], np.rint(generator.normal(0, scale, length)).astype(int)
    )


def random_map(shape, number, seed):
    return np.random.default_rng(seed).integers(0, number, shape).astype(np.uint8)


def random_codes(models, networks, seed):
    """Bits that no model knows of."""
    bits = np.random.default_rng(seed).integers(0, 2, (*networks.shape, max(m.length for m in models)))
    lengths = np.array([model.length for model in models])
    return (bits * (np.arange(bits.shape[-1]) < lengths[networks][..., None])).astype(np.uint8)


def plain_probability(models, networks, codes, r, c, k):
    """By the definition, in whole numbers up to the logistic function: of a 1, in units of 1 / 4096."""
    network = networks[r][c]
    model = models[network]
    units = int(model.bias[k]) + sum(int(model.weights[k, j]) * (2 * int(codes[r][c][j]) - 1) for j in range(k))
    for row, column, weights in ((r, c - 1, model.left), (r - 1, c, model.up)):
        if row >= 0 and column >= 0 and networks[row][column] == network:
            units += sum(int(weights[k, j]) * (2 * int(codes[row][column][j]) - 1) for j in range(model.neighbor_bits))
    return min(4095, max(1, round(4096 / (1 + math.exp(-min(600, max(-600, units)) / 64)))))


def sampled_codes(models, networks, seed):
    """Codes that follow their models."""
    generator, codes = np.random.default_rng(seed), random_codes(models, networks, 0) * 0
    for r, c in np.ndindex(networks.shape):
        model = models[networks[r, c]]
        own = np.zeros(model.length)
        base = model.bias.astype(float)
        for row, column, weights in ((r, c - 1, model.left), (r - 1, c, model.up)):
            if row >= 0 and column >= 0 and networks[row, column] == networks[r, c]:
                base += weights @ (2.0 * codes[row, column, : model.neighbor_bits] - 1)
        for k in range(model.length):
            one = generator.random() < 1 / (1 + np.exp(-(base[k] + model.weights[k] @ own) / 64))
            codes[r, c, k], own[k] = one, 2 * one - 1
    return codes


def bits(models, codes, networks):
    """What all blocks take, from the integer probabilities; the coder adds less than 64 bits."""
    return sum(m.costs(*signs(codes, networks, n, m.length)).sum() for n, m in enumerate(models))
