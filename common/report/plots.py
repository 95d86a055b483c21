"""Figures for papers, rendered without a display. Each function writes one PNG to `path`.

Figures are at most 8 inches and 1,600 pixels wide, so their text is legible at the 880 pixels of a README.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression
from sklearn.metrics import ConfusionMatrixDisplay
from threadpoolctl import threadpool_limits

from common.files import replacing
from common.report.charts import method_of

MAX_WIDTH = 1600  # pixels
_DPI = 200
_PHOTOGRAPHS = 120  # of figures that are photographs: these have no more pixels, and take megabytes otherwise
_INCHES = MAX_WIDTH / _DPI
# Okabe and Ito, "Color Universal Design" (2008), without the yellow, which is faint on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#000000", "#56b4e9", "#cc79a7", "#e69f00")
RIGHT, WRONG, NEUTRAL = PALETTE[0], PALETTE[1], "#777777"
MARKERS = "osD^vP*"
_MOST_LABELS = 8  # of lines that are named at their ends


def save(figure: Figure, path: Path, dots_per_inch: int = _DPI) -> None:
    """Writes a figure as PNG, in one rename, with fewer dots per inch where it would be too wide."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    margin = 0.1
    dpi = min(dots_per_inch, (MAX_WIDTH - 8) / (figure.get_tightbbox().width + 2 * margin))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format="png", bbox_inches="tight", pad_inches=margin)


def panels(titles: Sequence[str], size: float = 4.0, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """Square axes with titles, so many in a row, each of `size` inches or as large as fits."""
    columns = min(columns, len(titles))
    rows = -(-len(titles) // columns)
    size = min(size, _INCHES / columns)
    figure = Figure(figsize=(size * columns, size * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for surplus in axes[len(titles) :]:
        surplus.remove()
    for axis, title in zip(axes, titles):
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_prop_cycle(color=PALETTE)
    return figure, axes[: len(titles)]


def style(number: int) -> dict[str, Any]:
    """Color and dashes of the line of a number: the palette, then the palette again in dashes."""
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": ("-", "--", ":")[number // len(PALETTE) % 3]}


def label_lines(figure: Figure, axis: Axes, lines: Mapping[str, Line2D]) -> None:
    """Names lines at their right ends, spread so that no two names overlap; with a legend if there are many.

    Call it last: names are placed by the limits of the axes.
    """
    if len(lines) > _MOST_LABELS:
        figure.legend(list(lines.values()), list(lines), loc="outside lower center", ncols=3, frameon=False)
        return
    figure.draw_without_rendering()
    ends = np.array([np.asarray(line.get_xydata())[-1] for line in lines.values()])  # (L, 2)
    heights = axis.transAxes.inverted().transform(axis.transData.transform(ends))[:, 1]
    size = 9
    gap = 1.3 * size / 72 / (axis.get_window_extent().height / figure.dpi)
    order, steps = np.argsort(heights, kind="stable"), gap * np.arange(len(ends))
    # The nearest heights, by least squares, of which no two are closer than the gap.
    spread = isotonic_regression(heights[order] - steps).x + steps
    for place, height in zip(order, spread):
        name, line = list(lines.items())[place]
        color = line.get_color()
        thin = {"arrowstyle": "-", "color": color, "linewidth": 0.7, "relpos": (0, 0.5), "shrinkB": 0}
        axis.annotate(
            name, ends[place], (1.06, height), textcoords="axes fraction", color=color, fontsize=size, va="center",
            annotation_clip=False, arrowprops=thin,
        )  # fmt: skip


def confusion(
    path: Path, matrices: Mapping[str, np.ndarray], x_label: str, y_label: str, names: Sequence[str] | None = None
) -> None:
    """Matrices of counts, title -> (C, C), each row shaded by its shares and marked with its counts.

    `x_label` says what the columns are, `y_label` the rows; `names` are those of the C classes, None numbers them.
    """
    columns = 3 if names is None else 2
    figure, axes = panels(list(matrices), columns=columns)
    for number, (axis, counts) in enumerate(zip(axes, matrices.values())):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        display = ConfusionMatrixDisplay(shares, display_labels=names)
        display.plot(
            ax=axis, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1},
            text_kw={"fontsize": 9 if len(counts) <= 6 else 6},
            xticks_rotation="horizontal" if names is None else "vertical",
        )  # fmt: skip
        for text, count, share in zip(display.text_.flat, counts.flat, shares.flat):
            text.set(text=count or "", color="white" if share > 0.5 else "black")
        axis.set(xlabel=x_label, ylabel=y_label)
        if number % columns:
            axis.set(yticklabels=[], ylabel="")
        if number + columns < len(axes):
            axis.set(xticklabels=[], xlabel="")
    save(figure, path)


def image_rows(path: Path, rows: Mapping[str, np.ndarray], titles: Sequence[str] = ()) -> None:
    """Rows of images under each other: name -> (N, H, W) or (N, H, W, C) in [0, 1], N titles above the first row."""
    count = len(next(iter(rows.values())))
    size = min(0.8, 0.8 * _INCHES / count)
    height, width = next(iter(rows.values())).shape[1:3]
    figure = Figure(figsize=(size * count, 1.05 * size * len(rows) * height / width), layout="constrained")
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(axes, rows.items()):
        for axis, image in zip(line, images):
            axis.imshow(np.clip(image.squeeze(), 0, 1), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, title in zip(axes[0], titles):
        axis.set_title(title, fontsize=8)
    save(figure, path, _PHOTOGRAPHS)


def curves(
    path: Path,
    series: Mapping[str, Any],
    x_label: str,
    y_label: str,
    y_scale: str = "log",
    step: int = 1,
) -> None:
    """Values, name -> (N,), or (N, S) of S seeds and their mean, against 1, 2, 3 … times `step`, named at their ends.

    `y_scale` is "log", for values above zero, or "linear".
    """
    figure, (axis,) = panels([""], size=5)
    lines = draw_curves(axis, {name: (step * np.arange(1, len(v) + 1), v) for name, v in series.items()})
    axis.set(xlabel=x_label, ylabel=y_label, yscale=y_scale)
    label_lines(figure, axis, lines)
    save(figure, path)


def draw_curves(axis: Axes, series: Mapping[str, tuple[Any, Any]]) -> dict[str, Line2D]:
    """Name -> x (N,) and y (N,) or (N, S), the seeds thin and their mean thick; returns the lines to name."""
    lines = {}
    for number, (name, (x, y)) in enumerate(series.items()):
        values = np.asarray(y).reshape(len(x), -1)
        if values.shape[1] > 1:
            axis.plot(x, values, **style(number), linewidth=0.5, alpha=0.6)
        (lines[name],) = axis.plot(x, values.mean(axis=1), label=name, **style(number), linewidth=1.5)
    axis.grid(alpha=0.3)
    return lines


def training_curves(run: Path, trials: Sequence[Any], columns: Mapping[str, str] | None = None) -> None:
    """Writes `figures/loss.png` of a run: numbers of each training by epoch, in one color for all its seeds.

    Args:
        run: folder of the run.
        trials: each with its `name`, and a `log.csv` in the folder of that name.
        columns: of the logs, with what they are, by default the loss; those that no log has are left out. Their axis is
            logarithmic, unless they begin with "test_", as the metric of the task does.
    """
    logs: dict[str, list[pd.DataFrame]] = {}
    for trial in trials:
        log = pd.read_csv(run / trial.name / "log.csv", index_col="epoch")
        logs.setdefault(method_of(trial.name), []).append(log)
    series = {}
    for column, label in (columns or {"loss": "loss"}).items():
        of_column = {name: [log[column] for log in seeds if column in log] for name, seeds in logs.items()}
        # An epoch that not all seeds have a value of is of no mean.
        values = {name: pd.concat(seeds, axis=1).dropna() for name, seeds in of_column.items() if seeds}
        if values:
            series[column, label] = {name: (part.index, part) for name, part in values.items()}
    figure, axes = panels([""] * len(series), columns=2)
    labeled = []
    for axis, ((column, label), values) in zip(axes, series.items()):
        labeled.append(draw_curves(axis, values))
        axis.set(xlabel="epoch", ylabel=label, yscale="linear" if column.startswith("test_") else "log")
    for axis, lines in zip(axes, labeled):
        label_lines(figure, axis, lines)
    save(figure, run / "figures/loss.png")


def bars(path: Path, groups: Mapping[str, Sequence[float]], bins: Sequence[str], bin_label: str, label: str) -> None:
    """Lying bars for each of the `bins`, under each other for each group, with their values at the ends.

    `bin_label` says what the bins are, `label` the values.
    """
    figure = Figure(figsize=(6, 1 + 0.17 * (len(groups) + 1) * len(bins)), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    width = 0.85 / len(groups)
    for i, (name, values) in enumerate(groups.items()):
        places = np.arange(len(bins)) + (i - (len(groups) - 1) / 2) * width
        rectangles = axis.barh(places, values, width, label=name, color=style(i)["color"])
        decimals = 1 if isinstance(values[0], float) else 0
        axis.bar_label(rectangles, fmt=f"{{:.{decimals}f}}", fontsize=8, padding=2)
    axis.set(yticks=range(len(bins)), yticklabels=bins, ylabel=bin_label, xlabel=label)
    axis.invert_yaxis()
    axis.margins(x=0.08, y=0.01)
    figure.legend(loc="outside upper center", ncols=len(groups) if len(groups) < 5 else 3, frameon=False, fontsize=9)
    save(figure, path)


@dataclass(frozen=True)
class RankedList:
    """A query and the nearest images of a gallery."""

    images: Sequence[np.ndarray]  # the query's own, then N of the gallery, (H, W, 3) uint8
    right: Sequence[bool]  # (N,) whether they show the same as the query
    distances: Sequence[float]  # (N,) from the query
    title: str = ""  # what stands under the query


def ranked_lists(path: Path, columns: Mapping[str, Sequence[RankedList]]) -> None:
    """Ranked lists under each other, in columns with headings; ✓ and blue are right, ✗ and vermilion are wrong.

    Under each image of the gallery is its distance from the query.
    """
    lists = [each for column in columns.values() for each in column]
    count, rows = max(len(each.images) for each in lists), max(map(len, columns.values()))
    height, width = lists[0].images[0].shape[:2]
    size = min(0.9, 0.95 * _INCHES / (count * len(columns)))  # inches of an image's width
    figure = Figure(figsize=(size * count * len(columns), rows * (size * height / width + 0.22) + 0.3))
    parts = figure.subfigures(1, len(columns), squeeze=False)[0]
    for part, (heading, column) in zip(parts, columns.items()):
        axes = part.subplots(
            rows, count, squeeze=False,
            gridspec_kw={"wspace": 0.1, "hspace": 0.2, "left": 0.02, "right": 0.98, "bottom": 0.05, "top": 0.93},
        )  # fmt: skip
        for axis in axes.flat:
            axis.axis("off")
        for line, ranked in zip(axes, column):
            labels = [f"{'✓' if right else '✗'} {d:.3f}" for right, d in zip(ranked.right, ranked.distances)]
            colors = [NEUTRAL, *(RIGHT if right else WRONG for right in ranked.right)]
            for axis, image, color, text in zip(line, ranked.images, colors, [ranked.title, *labels]):
                axis.imshow(image)
                axis.axis("on")
                axis.set(xticks=[], yticks=[])
                axis.set_xlabel(text, color=color if color != NEUTRAL else "black", fontsize=8, labelpad=2)
                axis.spines[:].set(color=color, linewidth=2)
        axes[0, 0].set_title("query", fontsize=8, pad=3)
        part.suptitle(heading, fontsize=10, y=1.02)
    save(figure, path, _PHOTOGRAPHS)


def in_plane(vectors: np.ndarray, cosine: bool = True) -> np.ndarray:
    """t-SNE of vectors (N, D) by the cosine of their angles, or else by their distances: (N, 2)."""
    from sklearn.manifold import TSNE  # takes a second to load

    if cosine:
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with threadpool_limits(1):  # several threads wait for each other a hundred times as long where cores are busy
        return TSNE(perplexity=min(30, (len(vectors) - 1) / 3), random_state=0).fit_transform(vectors)


def embeddings(path: Path, maps: Mapping[str, np.ndarray], labels: np.ndarray, columns: int = 3) -> None:
    """Points in the plane, title -> (N, 2), each label (N,) with a color and a marker, and one legend."""
    figure, axes = panels(list(maps), columns=columns)
    for axis, points in zip(axes, maps.values()):
        for i, label in enumerate(np.unique(labels)):
            chosen = points[labels == label]
            marker = MARKERS[(i + i // len(PALETTE)) % len(MARKERS)]  # no color has a marker twice
            axis.scatter(
                chosen[:, 0], chosen[:, 1], s=9, linewidths=0, color=style(i)["color"], marker=marker, label=str(label)
            )
        axis.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axis.spines[:].set_visible(True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", markerscale=2, frameon=False)
    save(figure, path)
