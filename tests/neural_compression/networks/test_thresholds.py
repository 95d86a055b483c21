"""Where coefficients are cut, and what bits stand for: by hand, and by the definition of a quantizer."""

import numpy as np
import pytest

from neural_compression.networks.thresholds import Thresholds, levels_of, thresholds_of


def test_thresholds_by_hand():
    """Uniform in ±10 and in ±3: twelve thresholds are five on each side of the one, and one of the other."""
    grid = np.linspace(-1, 1, 100_001)
    cut = thresholds_of(np.stack([10 * grid, 3 * grid], axis=1), 12)
    assert cut.which.tolist() == [0] * 10 + [1] * 2
    assert cut.step == pytest.approx(9.96 / 4.7, rel=1e-4)  # with a larger one, the fifth would be beyond all but 0.2 %
    expected = [s * (i + 0.7) * cut.step for i in range(5) for s in (-1, 1)] + [-0.7 * cut.step, 0.7 * cut.step]
    np.testing.assert_allclose(cut.values, expected, rtol=1e-6)


def test_bits_of_one_coefficient_by_hand():
    """Thresholds -1, 1, -2, 2, 3 of one coefficient, then -1, -2 of another."""
    cut = Thresholds(np.array([0, 0, 0, 0, 0, 1, 1]), np.array([-1, 1, -2, 2, 3, -1, -2.0]), 1.0)
    assert cut.inner().tolist() == [-1, -1, 0, 1, 3, -1, 5]
    assert cut.opposite().tolist() == [-1, 0, 1, 0, 0, -1, -1]


def test_levels_are_the_means_of_what_has_the_same_bits():
    """The least squared error that a quantizer with these cells can have."""
    random = np.random.default_rng(0)
    coefficients = random.laplace(size=(2000, 3)) * [3, 2, 1]
    cut = thresholds_of(coefficients, 20)
    added, zero = levels_of(coefficients, cut)
    bits = coefficients[:, cut.which] * np.sign(cut.values) > np.abs(cut.values)
    for component in range(3):
        own = cut.which == component
        decoded = zero[component] + bits[:, own] @ added[own]
        for cell in np.unique(bits[:, own], axis=0):
            same = (bits[:, own] == cell).all(axis=1)
            assert decoded[same] == pytest.approx(coefficients[same, component].mean(), abs=1e-5)


def test_beyond_the_last_cell_there_may_be_no_block():
    """A cell that no block is in has its inner end, so levels are finite."""
    cut = Thresholds(np.zeros(4, int), np.array([-1.0, 1.0, -2.0, 2.0]), 1.0)
    added, zero = levels_of(np.array([[0.0], [0.5], [3.0]]), cut)
    # Cells below -2, to -1, to 1, to 2, and above: means -2 and -1 for want of blocks, 0.25, 1 likewise, 3.
    np.testing.assert_allclose(added, [-1.25, 0.75, -1, 2])
    np.testing.assert_allclose(zero, [0.25])


def test_what_cannot_be_cut_is_named():
    with pytest.raises(ValueError, match="The blocks are too much alike for codes of 20 bits. Lower --code-lengths"):
        thresholds_of(np.zeros((50, 4)), 20)
