"""Charts of a page, of which it names the values under the pointer, and those of how trainings went on."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "currentColor")  # of Okabe and Ito
_LEFT, _RIGHT, _BOTTOM, _TOP = 56, 490, 240, 12  # of the axes, in a picture of 500 by 280
_POINTS = 200  # of a line at most
_DOTS = 20  # lines with at most so many points have dots
_FIGURES = ("figures/loss.png",)  # that show the same


@dataclass(frozen=True)
class Line:
    """A line of a chart; those of one group share a color. Where y is NaN it has no point."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    group: str = ""


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis.

    Attributes:
        title: what y is.
        x_label: what x is.
        lines: one or more.
        log_x: whether that axis is logarithmic, for values above zero.
        log_y: the same of the other one.
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False

    def html(self) -> str:
        """The chart with its legend."""
        points = [np.array([line.x, line.y], float) for line in self.lines]
        points = [each[:, ~np.isnan(each[1])] for each in points]
        x, y = np.concatenate(points, axis=1)
        across, up = _axis(x, _LEFT, _RIGHT, self.log_x), _axis(y, _BOTTOM, _TOP, self.log_y, least=0.02)
        grid = "".join(
            f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>'
            for tick, at in up.ticks()
        ) + "".join(
            f'<text x="{at:.1f}" y="{_BOTTOM + 18}" text-anchor="middle">{tick:g}</text>' for tick, at in across.ticks()
        )
        groups = list(dict.fromkeys(line.group or line.name for line in self.lines))
        lines = "".join(
            _line(line.name, values, across, up, _style(groups.index(line.group or line.name)))
            for line, values in zip(self.lines, points)
        )
        legend = "".join(
            '<span><svg viewBox="0 0 28 8" aria-hidden="true">'
            f'<line x2="28" y1="4" y2="4" {_style(place)}/></svg>{escape(group)}</span>'
            for place, group in enumerate(groups)
        )
        return (
            f'<div class="chart"><h3>{escape(self.title)}</h3><svg viewBox="0 0 500 280" role="img" '
            f'aria-label="{escape(self.title)}"><g class="grid">{grid}<text x="{_RIGHT}" y="{_BOTTOM + 36}" '
            f'text-anchor="end">{escape(self.x_label)}</text></g>{lines}<circle class="mark" r="5" '
            f'visibility="hidden"/></svg><output>&nbsp;</output><p class="legend">{legend}</p></div>'
        )


@dataclass(frozen=True)
class Charts:
    """Charts next to each other, a part of a page; `figures` are those of the report whose place it takes."""

    heading: str
    caption: str
    charts: Sequence[Chart]
    figures: Collection[str] = ()

    def html(self) -> str:
        """The caption and the charts."""
        return f'<p>{escape(self.caption)}</p><div class="charts">{"".join(c.html() for c in self.charts)}</div>'


@dataclass(frozen=True)
class _Axis:
    """From values, low to high, to places in a picture."""

    low: float
    high: float
    start: float
    stop: float
    log: bool
    whole: bool

    def __call__(self, values: np.ndarray) -> np.ndarray:
        low, high, at = (np.log(each) if self.log else each for each in (self.low, self.high, values))
        share = (at - low) / (high - low) if high > low else np.full(values.shape, 0.5)
        return np.asarray(self.start + (self.stop - self.start) * share)

    def ticks(self) -> list[tuple[float, float]]:
        """Round values with their places."""
        from matplotlib.ticker import LogLocator, MaxNLocator  # takes a while, which other reports pay not

        if self.log and self.high > 4 * self.low:
            subs = (1.0, 2.0, 5.0) if self.high < 1000 * self.low else (1.0,)
            ticks = LogLocator(subs=subs).tick_values(self.low, self.high)
        else:
            ticks = MaxNLocator(5, integer=self.whole).tick_values(self.low, self.high)
        values = np.array([tick for tick in ticks if self.low <= tick <= self.high])
        return [(float(value), float(at)) for value, at in zip(values, self(values))]


def _axis(values: np.ndarray, start: float, stop: float, log: bool, least: float = 0.0) -> _Axis:
    """The axis for values, not shorter than a share of the largest: else noise would look like a difference."""
    low, high = values.min(), values.max()
    more = max(0.0, least * abs(high) - (high - low)) / 2
    return _Axis(low - more, high + more, start, stop, log, np.array_equal(values, np.round(values)))


def _style(place: int) -> str:
    """Color and dashes of a group: beyond the colors they come again, dashed."""
    dashes = f' stroke-dasharray="{3 + 3 * (place // len(COLORS))} 3"' if place >= len(COLORS) else ""
    return f'stroke="{COLORS[place % len(COLORS)]}"{dashes}'


def _line(name: str, values: np.ndarray, across: _Axis, up: _Axis, style: str) -> str:
    """A line through points (2, N), thinned, with its values for the page's program."""
    rows = np.unique(np.linspace(0, values.shape[1] - 1, min(_POINTS, values.shape[1])).astype(int))
    x, y = values[:, rows]
    places = list(zip(across(x), up(y)))
    texts = ";".join(f"{a:.6g}: {b:.4g}" for a, b in zip(x, y))
    dots = [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" {style}/>' for a, b in places if len(places) <= _DOTS]
    return (
        f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}" {style} data-name="{escape(name)}" '
        f'data-values="{texts}"/>{"".join(dots)}'
    )


def method_of(training: str) -> str:
    """The name of a training without its seed, which all trainings of one method share."""
    return re.sub(r"-seed\d+$", "", training)


def training_charts(run: Path, trainings: Sequence[str]) -> list[Charts]:
    """How trainings went on: their loss, and what they logged of held-out data.

    Args:
        run: folder of the run.
        trainings: names of their folders in it, each with a `log.csv` of its own or of its stages.

    Returns:
        The part with a chart for each stage and each logged column; none without a log.
    """
    lines: dict[tuple[str, str], list[Line]] = {}
    for name in trainings:
        for path in sorted((run / name).rglob("log.csv")):
            log, stage = pd.read_csv(path), path.parent.relative_to(run / name).as_posix()
            for column in log.columns[log.notna().any()]:
                if column == "loss" or column.startswith(("test_", "validation_")):
                    x = log.get("epoch", pd.Series(range(1, len(log) + 1)))
                    y = log[column] * (1 if column == "loss" else 100)
                    line = Line(name, x, y, method_of(name))
                    lines.setdefault((stage, column), []).append(line)
    charts = [
        Chart(
            column.replace("_", " ") + ("" if column == "loss" else " (%)") + ("" if stage == "." else f", {stage}"),
            "epoch",
            of_chart,
            log_y=column == "loss" and min(np.nanmin(line.y) for line in of_chart) > 0,
        )
        for (stage, column), of_chart in sorted(lines.items(), key=lambda item: item[0])
    ]
    caption = "Trainings that differ in the seed alone have one color. Point at a line for its values."
    return [Charts("Training curves", caption, charts, _FIGURES)] if charts else []
