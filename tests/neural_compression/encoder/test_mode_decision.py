"""The choice of networks, by hand and against all choices."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_compression.encoder.mode_decision import by_lagrangian, by_quality, lagrangian


def test_shortest_code_that_reaches_a_psnr_by_hand():
    samples = np.array([[3072, 3072, 3072, 96]])
    limit = 3072 * 65.025  # 30 dB
    errors = np.array([[[199757, 199756, 9e5, 6242]], [[1, 0, 199756, 6243]], [[0, 0, 0, 9]]]).astype(int)
    assert 199756 < limit < 199757 and 6242 < limit / 32 < 6243
    assert by_quality(errors, samples, 30.0).tolist() == [[1, 0, 1, 0]]
    assert by_quality(errors + 10**7, samples, 30.0).tolist() == [[2, 2, 2, 2]]
    assert by_quality(errors * 0, samples, 90.0).dtype == np.uint8


def test_lagrangian_choice_by_hand():
    """Two blocks side by side: network 1 pays only if both have it, as the second then takes 10 bits less."""
    errors = np.array([[[100, 100]], [[96, 96]]])
    costs = np.zeros((2, 2, 2, 1, 2))
    costs[0], costs[1] = 10, 16
    costs[1, 1, :, 0, 1] = 6
    assert lagrangian(np.array([[0, 0]]), errors, costs, 1.0) == 220
    assert lagrangian(np.array([[1, 1]]), errors, costs, 1.0) == 214
    assert lagrangian(np.array([[0, 1]]), errors, costs, 1.0) == 222
    assert by_lagrangian(errors, costs, 1.0).tolist() == [[1, 1]]
    costs[1, 1, :, 0, 1] = 13  # now 221: rather twice network 0
    assert by_lagrangian(errors, costs, 1.0).tolist() == [[0, 0]]
    assert by_lagrangian(errors, costs, 1e-6).tolist() == [[1, 1]]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), weight=st.floats(0.01, 100))
def test_lagrangian_choice_stands_where_no_single_change_helps(seed, weight):
    random = np.random.default_rng(seed)
    errors, costs = random.integers(0, 100, (2, 3, 3)), random.integers(0, 20, (2, 2, 2, 3, 3)).astype(float)
    chosen = by_lagrangian(errors, costs, weight)

    def value(networks):
        total = 0.0
        for r, c in np.ndindex(3, 3):
            n = networks[r, c]
            left, up = int(c > 0 and networks[r, c - 1] == n), int(r > 0 and networks[r - 1, c] == n)
            total += errors[n, r, c] + weight * costs[n, left, up, r, c]
        return total

    least = value(chosen)
    assert lagrangian(chosen, errors, costs, weight) == pytest.approx(least)
    for r, c in np.ndindex(3, 3):
        changed = chosen.copy()
        changed[r, c] ^= 1
        assert value(changed) >= least - 1e-9
    for n in (0, 1):
        assert value(np.full((3, 3), n)) >= least - 1e-9
    best = min(value(np.reshape(bits, (3, 3))) for bits in itertools.product((0, 1), repeat=9))
    assert best <= least + 1e-9
