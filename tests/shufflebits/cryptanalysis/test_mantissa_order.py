"""Equations of lengths, and how likely an order of bits makes them, against direct computation."""

import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from shufflebits.cipher.shuffle import encrypt
from shufflebits.cryptanalysis.mantissa_order import (
    errors_and_slopes,
    evidence,
    length_equations,
    length_errors,
    order_mantissa,
    squared_length,
)
from tests.shufflebits.cryptanalysis.sample_features import features

UNITS = 2.0 ** -np.arange(1, 24)


def test_lengths_follow_from_the_weights():
    plain = features(7, 0)
    values, slopes = errors_and_slopes(length_equations(plain.view(np.uint32), 0.5), UNITS[::-1])
    np.testing.assert_allclose(values, 2 * (plain.astype(float) ** 2).sum(1) - 1, rtol=1e-12)
    step = np.zeros(23)
    step[4] = 1e-6
    stepped = length_errors(length_equations(plain.view(np.uint32), 0.5), UNITS[::-1] + step)
    np.testing.assert_allclose((stepped - values) / 1e-6, slopes[:, 4], rtol=1e-5)


def test_evidence_of_a_whole_order_is_the_normal_density():
    equations = length_equations(features(5, 0).view(np.uint32), 1.0)
    orders = np.stack([np.random.default_rng(seed).permutation(23) for seed in range(3)])
    for order, likelihood in zip(orders, evidence(equations, orders, 0.1)):
        values = length_errors(equations, UNITS[np.argsort(order)])
        expected = multivariate_normal(cov=0.01 * np.eye(5)).logpdf(values) + 2.5 * np.log(2 * np.pi)
        assert likelihood == pytest.approx(expected, rel=1e-9)


def test_evidence_of_half_an_order_is_that_of_all_ways_to_end_it():
    """The last 3 planes get their weights in 6 ways: the mean over them is exact, and so is that part's spread."""
    plain = features(5, 0).view(np.uint32)
    equations, order = length_equations(plain, 1.0), np.random.default_rng(0).permutation(23)
    given, free = order[:20], order[20:]
    ends = [[*given, *end] for end in itertools.permutations(free)]
    weights = np.array([UNITS[np.argsort(end)] for end in ends])
    mean = length_errors(equations, weights).mean(0)
    covariance = np.cov(weights.T, bias=True)  # (23, 23), of the free planes
    slopes = errors_and_slopes(equations, weights.mean(0))[1]
    bend = np.einsum("nij,ij->n", equations[2], covariance)  # what the quadratic part adds to the mean
    np.testing.assert_allclose(length_errors(equations, weights.mean(0)) + bend, mean, atol=1e-12)
    noise = 1e-6
    spread = slopes @ covariance @ slopes.T + np.outer(bend, bend) / 4 + np.diag(noise**2 + 1e-2 * bend**2)
    expected = multivariate_normal(cov=spread).logpdf(mean) + 2.5 * np.log(2 * np.pi)
    assert evidence(equations, given[None], noise)[0] == pytest.approx(expected, rel=1e-6)


def test_what_is_no_number_has_no_length():
    """Zero, a denormal, infinity and NaN, next to 3 and to the smallest normal number."""
    plain = np.array([[0, 1, 0x7F800000, 0x7FC00000, 0x40400000, 0x00800000]], np.uint32)
    assert length_errors(length_equations(plain, 2.0), UNITS[::-1]) == pytest.approx([9 / 2 - 1])


@pytest.mark.parametrize(
    "sample, expected",
    [
        ([[3, 4], [5, 0]], (25, 25e-8)),  # a deviation of 1e-8 at least
        ([[3, 4], [5, 1e-2]], (25 + 5e-5, 5e-5)),  # 25 and 25.0001
        ([[3, 4], [5, 3e-2]], None),  # 25 and 25.0009: a deviation of 4.5e-4, more than 1e-5 of 25
        ([[3, 4]], None),
        ([[0, 0], [0, 0]], None),
    ],
)
def test_squared_length_by_hand(sample, expected):
    assert squared_length(np.array(sample, np.float32)) == (expected and pytest.approx(expected, rel=1e-5))


@pytest.mark.parametrize("wrong", [False, True])
def test_order_is_that_of_the_lengths(wrong):
    """Without other knowledge; where exponents are wrong, the start is left as it is."""
    plain, key = features(60, 0), np.random.default_rng(0).permutation(23)
    shuffled = encrypt(plain, [*key, *range(23, 32)])
    if wrong:
        shuffled = shuffled + np.uint32(2 << 23)  # numbers of four times the size
    order, residual = order_mantissa(shuffled, np.zeros((23, 23)), np.argsort(np.argsort(key)), 1.0, 1e-7)
    assert order.tolist() == key.tolist()
    assert residual == pytest.approx(15 if wrong else 0, abs=1e-6)
    start = np.random.default_rng(1).permutation(23)
    order, _ = order_mantissa(shuffled, np.zeros((23, 23)), start, 1.0, 1e-7)
    assert (order == start).all() if wrong else (order == key)[4:].all()
