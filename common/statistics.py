"""How far a number or a difference can be trusted: intervals over what generalizes, and what chance alone gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_NUMBERS = 2**22  # of draws at once: 32 MiB


@dataclass(frozen=True)
class Interval:
    """An estimate with a percentile interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Interval":
        """From what `vars` of one gives, be there more with it."""
        return cls(values["value"], values["low"], values["high"])

    @property
    def verdict(self) -> str:
        """A difference is "higher" or "lower", or "undecided" where the interval contains zero."""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else "undecided"

    def text(self, decimals: int = 1, factor: float = 100.0, sign: str = "+") -> str:
        """As in `+1.2 (+0.3 to +2.1)`; by default in percentage points, and with a plus as of a difference."""
        value, low, high = (f"{factor * number:{sign}.{decimals}f}" for number in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


def bootstrap(
    values: npt.ArrayLike,
    units: npt.ArrayLike | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean over seeds and items, with a percentile interval over other seeds and other units.

    Items of one unit are alike, as the queries of one person are: whole units are resampled with replacement, as many
    as there are, and seeds independently of them. Resampling items instead would give too narrow an interval. So do few
    seeds: with S of them, their part of the variance comes out S / (S - 1) times too small.

    Args:
        values: (N,) of one training, or (S, N), a row per seed. NaN: no value, such as of a query without a match.
        units: (N,) what is resampled: the identity or class of each item; by default each item for itself.
        level: share of the resampled means inside the interval, in (0, 1).
        resamples: number of draws.
        seed: of the draws.

    Example:
        >>> bootstrap([[0.5, 0.7, 0.6], [0.6, 0.8, 0.7]]).text(sign="")
        '65.0 (53.3 to 76.7)'

    Raises:
        ValueError: shapes do not fit, an option is out of its range, or fewer than two units have values.
    """
    rows = np.atleast_2d(np.asarray(values, "float64"))
    labels = np.arange(rows.shape[-1]) if units is None else np.asarray(units)
    if rows.ndim != 2 or labels.shape != rows.shape[1:]:
        raise ValueError(f"Expected values (S, N) and units (N,), got {rows.shape} and {labels.shape}.")
    if not 0 < level < 1 or resamples < 1:
        raise ValueError(f"level must be in (0, 1) and resamples at least 1, got {level} and {resamples}.")
    valid = ~np.isnan(rows)
    rows, labels, valid = rows[:, valid.any(0)], labels[valid.any(0)], valid[:, valid.any(0)]
    names, place = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"An interval needs at least two units with values, got {len(names)}.")
    sums, sizes = (  # (U, S) each
        np.stack([np.bincount(place, row, len(names)) for row in part], axis=1)
        for part in (np.where(valid, rows, 0), valid.astype(float))
    )
    random = np.random.default_rng(seed)
    equal, step, products = np.full(len(names), 1 / len(names)), max(1, _NUMBERS // len(names)), []
    for start in range(0, resamples, step):
        unit_counts = random.multinomial(len(names), equal, min(step, resamples - start))  # (R', U)
        products.append(np.stack([unit_counts @ sums, unit_counts @ sizes]))
    sums, sizes = np.concatenate(products, axis=1)  # (R, S) each
    seed_counts = random.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), resamples)  # (R, S)
    with np.errstate(invalid="ignore"):  # a draw of units and seeds without any value
        means = (seed_counts * sums).sum(1) / (seed_counts * sizes).sum(1)
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(rows[valid].sum() / valid.sum()), float(low), float(high))


def paired_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, units: npt.ArrayLike | None = None, **options: Any
) -> Interval:
    """How much larger the mean of `first` is than that of `second`, with an interval as of `bootstrap`.

    The same seeds and items stand at the same places of both, so what they share cancels.

    Example:
        >>> paired_difference([0.9, 0.5, 0.8, 0.7], [0.8, 0.3, 0.8, 0.6]).verdict
        'higher'

    Raises:
        ValueError: as of `bootstrap`, or the shapes differ.
    """
    ours, theirs = np.asarray(first, "float64"), np.asarray(second, "float64")
    if ours.shape != theirs.shape:
        raise ValueError(f"Paired values have one shape, got {ours.shape} and {theirs.shape}.")
    return bootstrap(ours - theirs, units, **options)


def paired_differences(values: Mapping[str, npt.ArrayLike], pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The `paired_difference` of each pair of methods that both have values: `first`, `second` and its fields.

    Args:
        values: method -> (N,) or (S, N) as of `bootstrap`.
        pairs: of methods.
    """
    return [
        {"first": first, "second": second, **vars(paired_difference(values[first], values[second]))}
        for first, second in pairs
        if first in values and second in values
    ]


@dataclass(frozen=True)
class Null:
    """What chance alone gives: 95 % of its values lie from `low` to `high`; a share `p` reaches the observed one."""

    mean: float
    low: float
    high: float
    p: float


def permutation_null(
    statistic: Callable[[np.ndarray], float], labels: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> Null:
    """The values of a statistic where labels are dealt out anew among the units, and its one-sided p-value.

    Args:
        statistic: labels -> the number, larger the more is known, such as an accuracy of fixed predictions.
        labels: (N, ...) of N units that are exchangeable if nothing is known, one person's in one row.
        resamples: number of permutations.
        seed: of them.

    Example:
        >>> predicted = np.array([0, 0, 0, 1, 1, 1])
        >>> permutation_null(lambda labels: np.mean(labels == predicted), predicted).p < 0.15  # 2 of 20 orders
        True
    """
    random = np.random.default_rng(seed)
    values = np.array([statistic(labels[random.permutation(len(labels))]) for _ in range(resamples)])
    reached = np.sum(values >= statistic(labels) - 1e-12)
    low, high = np.quantile(values, [0.025, 0.975])
    return Null(float(values.mean()), float(low), float(high), float((1 + reached) / (1 + resamples)))


def is_converged(epochs: npt.ArrayLike, metric: npt.ArrayLike, tolerance: float = 0.005) -> bool:
    """Whether a metric on held-out data moved less than a tolerance over the last sixth of a training.

    Args:
        epochs: (N,) after which it was measured, ascending; the last one is the end of training.
        metric: (N,) its values; NaN where it was not measured.
        tolerance: in units of the metric; 0.5 percentage points of a share.

    Returns:
        False as well if it was not measured before the last sixth began and at the end.

    Example:
        >>> is_converged([10, 20, 30, 40, 50, 60], [0.3, 0.4, 0.5, 0.5, 0.550, 0.553])
        True
    """
    after, values = np.asarray(epochs, "float64"), np.asarray(metric, "float64")
    if not len(after) or np.isnan(values[-1]):
        return False
    after, values = after[~np.isnan(values)], values[~np.isnan(values)]
    before = after <= 5 / 6 * after[-1]
    if not before.any():
        return False
    late = values[before.nonzero()[0][-1] :]
    return bool(late.max() - late.min() < tolerance)
