"""Statistics of plain features by hand."""

import numpy as np
import pytest

from shufflebits.cryptanalysis import BitStatistics
from shufflebits.cryptanalysis.bit_statistics import ones_of, planes_of


def test_statistics_by_hand():
    statistics = BitStatistics.of(np.array([[1.0, -2.0], [1.5, -2.0], [1.75, 0.0]], np.float32))
    weight = 8  # vectors that all elements together count for; of 6 numbers two are negative, two have bit 22
    assert statistics.marginals[1, 31] == pytest.approx((2 + weight * 2.5 / 7) / (3 + weight))
    assert statistics.marginals[0, 22] == pytest.approx((2 + weight * 2.5 / 7) / (3 + weight))  # 1.5 and 1.75
    pooled = (3 + 0.5 / 512) / 6.5  # all of exponent 127 are of element 0
    assert statistics.heads[0, 127] == pytest.approx(np.log((3 + weight * pooled) / (3 + weight)), rel=1e-6)
    assert statistics.heads[1, 127] == pytest.approx(np.log(weight * pooled / (3 + weight)), rel=1e-6)
    assert statistics.mantissa[127, [21, 22]] == pytest.approx([(1 + 0.5) / 4, (2 + 0.5) / 4])
    assert statistics.squared_length is None and statistics.signs is None
    assert np.exp(statistics.heads).sum(1) == pytest.approx(1, rel=1e-5)


def test_tilts_by_hand():
    """How far above the middle of [1, 2) numbers lie: −1/2, 0 and 1/4 of element 0, −1/4 of element 1; mean −1/8."""
    tilts = BitStatistics.of(np.array([[1.0, 1.25], [1.5, -2.0], [1.75, 0.0]], np.float32)).tilts
    weight = 40  # numbers that all elements together count for
    assert tilts[0, 127] == pytest.approx((-0.25 + 3 / 8) / (3 + weight))
    assert tilts[1, 127] == pytest.approx((-0.25 + 1 / 8) / (1 + weight))
    assert tilts.shape == (2, 512) and np.count_nonzero(tilts) == 2


@pytest.mark.parametrize("elements", [5, 40])
def test_directions_of_signs_are_principal_components(elements):
    """Those of every second vector, 32 at most; their variances are those of the other vectors."""
    random = np.random.default_rng(0)
    sample = random.normal(size=(60, 3)) @ random.normal(size=(3, elements)) + random.normal(size=(60, elements)) / 2
    directions, variances = BitStatistics.of(sample.astype("float32")).signs
    centered = (sample < 0) - (sample < 0).mean(0)
    components = np.linalg.svd(centered[::2])[2][: min(32, elements)]
    number = min(elements, 32, 30)  # 30 vectors have no more components
    for component, direction, variance in zip(components[:number], directions.T[::-1], variances[::-1]):
        assert abs(component @ direction) == pytest.approx(1, abs=1e-6)
        along = centered[1::2] @ component
        assert variance == pytest.approx((along**2).mean() - along.mean() ** 2 + 1e-3, rel=1e-6)
    assert directions.shape == (elements, min(32, elements))


def test_signs_that_tell_nothing():
    signed = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    assert BitStatistics.of(signed).signs is not None
    for sample in (signed[:7], np.abs(signed), -np.abs(signed) - 1):
        assert BitStatistics.of(sample).signs is None


def test_planes_by_hand():
    words = np.array([[1, 2**31], [3, 2**31 + 1]], np.uint32)
    planes = planes_of(words.ravel())
    assert np.flatnonzero(planes.ravel()).tolist() == [0, 32 + 31, 64, 65, 96, 96 + 31]
    ones = ones_of(words)
    assert ones.shape == (2, 32)
    assert {(d, bit): n for (d, bit), n in np.ndenumerate(ones) if n} == {(0, 0): 2, (0, 1): 1, (1, 0): 1, (1, 31): 2}
