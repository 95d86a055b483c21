"""Intervals against closed forms, SciPy's bootstrap and enumeration."""

import math
from itertools import permutations

import numpy as np
import pytest
import scipy.stats

from common import statistics
from common.statistics import Interval, bootstrap, is_converged, paired_difference, permutation_null


def test_an_interval_over_items_is_scipys():
    values = np.random.default_rng(0).gamma(2.0, size=60)
    ours = bootstrap(values, resamples=20_000)
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert ours.value == pytest.approx(values.mean())
    # Each end is a quantile of 20,000 draws: its own standard error is about 0.01 of a standard deviation of the mean.
    spread = values.std() / math.sqrt(60)
    np.testing.assert_allclose([ours.low, ours.high], theirs.confidence_interval, atol=0.06 * spread)


def test_whole_units_are_resampled():
    """Items of a unit are copies of one number: many of them tell no more than one."""
    values = np.random.default_rng(1).normal(size=40)
    single, copied = bootstrap(values), bootstrap(np.repeat(values, 25), np.repeat(np.arange(40), 25))
    assert vars(copied) == pytest.approx(vars(single))
    apart = bootstrap(np.repeat(values, 25))
    assert (apart.high - apart.low) < 0.3 * (copied.high - copied.low)  # a fifth, as 25 times as many would give


def test_units_count_by_their_items():
    assert bootstrap([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]).value == 0.75


def test_seeds_widen_an_interval_by_their_own_variance():
    """Rows differ by a constant, so the variance is that over units plus that over seeds."""
    items, seeds = np.random.default_rng(2).normal(size=50), np.array([-1.0, 0.0, 1.0])
    interval = bootstrap(items + seeds[:, None], resamples=20_000)
    deviation = math.sqrt(items.var() / 50 + seeds.var() / 3)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * deviation, rel=0.05)


def test_items_without_a_value_do_not_count():
    expected = bootstrap([[0.2, 0.4, 0.9]], [0, 1, 2])
    assert bootstrap([[0.2, np.nan, 0.4, 0.9]], [0, 7, 1, 2]) == expected
    assert bootstrap([[0.2, np.nan, 0.4], [0.0, 0.6, np.nan]]).value == pytest.approx(1.2 / 4)


def test_blocks_of_draws_do_not_change_an_interval(monkeypatch):
    values, units = np.random.default_rng(4).normal(size=(3, 40)), np.arange(40) // 2
    whole = bootstrap(values, units, resamples=300)
    monkeypatch.setattr(statistics, "_NUMBERS", 7 * 20)
    assert vars(bootstrap(values, units, resamples=300)) == pytest.approx(vars(whole), rel=1e-12)


def test_what_pairs_share_cancels():
    shared = 100 * np.random.default_rng(3).normal(size=(3, 30))
    difference = paired_difference(shared + 0.5, shared)
    np.testing.assert_allclose([difference.low, difference.value, difference.high], 0.5)
    assert difference.verdict == "higher"
    assert paired_difference(shared, shared + 0.5).verdict == "lower"


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.1), (0.0, 0.2), (-0.2, 0.0)])
def test_an_interval_that_contains_zero_decides_nothing(low, high):
    assert Interval((low + high) / 2, low, high).verdict == "undecided"


def test_an_interval_as_text():
    assert Interval(0.0123, -0.001, 0.0256).text() == "+1.2 (-0.1 to +2.6)"
    assert Interval(0.5, 0.25, 0.75).text(2, factor=1, sign="") == "0.50 (0.25 to 0.75)"


def test_a_permutation_null_is_that_of_all_orders():
    labels, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 0])
    accuracy = lambda labels: float(np.mean(labels == predicted))  # noqa: E731
    every = np.array([accuracy(labels[list(order)]) for order in permutations(range(5))])
    null = permutation_null(accuracy, labels, resamples=20_000)
    assert null.mean == pytest.approx(every.mean(), abs=0.01)
    assert null.p == pytest.approx(np.mean(every >= accuracy(labels) - 1e-9), abs=0.02)
    assert (null.low, null.high) == pytest.approx(np.quantile(every, [0.025, 0.975]))


def test_rows_of_labels_stay_whole():
    labels = np.array([[0, 10], [1, 11], [2, 12]])
    assert permutation_null(lambda rows: float(np.mean(rows[:, 1] - rows[:, 0] == 10)), labels).low == 1


@pytest.mark.parametrize(
    ("epochs", "metric", "expected"),
    [
        ([10, 20, 30, 40, 50, 60], [0.1, 0.2, 0.3, 0.4, 0.500, 0.504], True),
        ([10, 20, 30, 40, 50, 60], [0.1, 0.2, 0.3, 0.4, 0.500, 0.506], False),
        (range(1, 13), [0.0] * 9 + [0.50, 0.51, 0.502], False),  # 0.51 lies within the last sixth
        ([30, 60], [0.5, 0.502], True),
        ([55, 60], [0.5, 0.5], False),  # nothing is known of where the last sixth began
        ([50, 60], [0.5, np.nan], False),
        ([50, 55, 60], [0.5, np.nan, 0.5], True),
        ([], [], False),
    ],
)
def test_converged_trainings_stand_still_over_their_last_sixth(epochs, metric, expected):
    assert is_converged(list(epochs), metric) is expected


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: bootstrap([1.0, 2.0], [0]), r"Expected values \(S, N\) and units \(N,\), got \(1, 2\) and \(1,\)"),
        (lambda: bootstrap([1.0, 2.0], [0, 0]), "at least two units with values, got 1"),
        (lambda: bootstrap([1.0, np.nan]), "at least two units with values, got 1"),
        (lambda: bootstrap([1.0, 2.0], level=1.0), r"level must be in \(0, 1\)"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), r"have one shape, got \(2,\) and \(1,\)"),
    ],
)
def test_bad_input_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
