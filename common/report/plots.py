"""Figures for papers, rendered without a display. Each function writes one PNG to `path`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay

from common.files import replacing

_DPI = 200


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, in one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png", bbox_inches="tight")


def _panels(titles: Sequence[str], size: float = 3.2) -> tuple[Figure, list[Axes]]:
    """Square axes with titles, five in a row."""
    columns = min(5, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(size * columns, size * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for surplus in axes[len(titles) :]:
        surplus.remove()
    for axis, title in zip(axes, titles):
        axis.set_title(title, fontsize=10)
    return figure, axes


def confusion(
    path: Path, panels: Mapping[str, np.ndarray], x_label: str, y_label: str, names: Sequence[str] | None = None
) -> None:
    """Matrices of counts, title -> (C, C), each row shaded by its shares and marked with its counts.

    `x_label` says what the columns are, `y_label` the rows; `names` are those of the C classes, None numbers them.
    """
    figure, axes = _panels(list(panels), size=4)
    for axis, counts in zip(axes, panels.values()):
        display = ConfusionMatrixDisplay(
            counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), display_labels=names
        )
        display.plot(
            ax=axis, cmap="Blues", colorbar=False, im_kw={"vmin": 0, "vmax": 1}, text_kw={"fontsize": 6},
            xticks_rotation="horizontal" if names is None else "vertical",
        )  # fmt: skip
        for text, count in zip(display.text_.flat, counts.flat):
            text.set_text(count or "")
        axis.set(xlabel=x_label, ylabel=y_label)
        axis.tick_params(labelsize=10 if names is None else 7)
    save(figure, path)


def image_rows(path: Path, rows: Mapping[str, np.ndarray]) -> None:
    """Rows of images under each other: name -> (N, H, W) or (N, H, W, C) in [0, 1], all rows with the same N."""
    count = len(next(iter(rows.values())))
    figure = Figure(figsize=(0.8 * count, 0.85 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), count, squeeze=False)
    for line, (name, images) in zip(axes, rows.items()):
        for axis, image in zip(line, images):
            axis.imshow(np.clip(image.squeeze(), 0, 1), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    save(figure, path)


def curves(
    path: Path,
    series: Mapping[str, Sequence[float]],
    x_label: str,
    y_label: str,
    y_scale: str = "log",
    step: int = 1,
    at: Sequence[float] | None = None,
) -> None:
    """Values, name -> (N,), against those of `at`, by default 1, 2, 3 … times `step`, with a legend.

    `y_scale` is "log", for values above zero, or "linear".
    """
    figure, (axis,) = _panels([""], size=4)
    for name, values in series.items():
        axis.plot(step * np.arange(1, len(values) + 1) if at is None else at, values, label=name, linewidth=1)
    axis.set(xlabel=x_label, ylabel=y_label, yscale=y_scale)
    axis.grid(alpha=0.3, which="both")
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)


def loss_curves(run: Path, trials: Sequence[Any], y_label: str = "loss") -> None:
    """Writes `figures/loss.png` of a run: the loss of each training, from its `log.csv`."""
    logs = {trial.name: pd.read_csv(run / trial.name / "log.csv")["loss"] for trial in trials}
    curves(run / "figures/loss.png", logs, "epoch", y_label)


def bars(path: Path, groups: Mapping[str, Sequence[int]], bins: Sequence[str], x_label: str, y_label: str) -> None:
    """Bars of counts for each of the `bins`, side by side for each group, with the counts on top."""
    figure = Figure(figsize=(1.6 * len(bins), 3.6), layout="constrained")
    axis = figure.subplots()
    width = 0.85 / len(groups)
    for i, (name, counts) in enumerate(groups.items()):
        rectangles = axis.bar(np.arange(len(bins)) + (i - (len(groups) - 1) / 2) * width, counts, width, label=name)
        axis.bar_label(rectangles, fontsize=7)
    axis.set(xticks=range(len(bins)), xticklabels=bins, xlabel=x_label, ylabel=y_label)
    axis.margins(y=0.12)
    axis.legend(frameon=False, fontsize=8)
    save(figure, path)


def ranked_lists(path: Path, rows: Sequence[Sequence[np.ndarray]], matches: Sequence[Sequence[bool]]) -> None:
    """Queries with their nearest gallery images: orange query, green match, red error.

    `rows` has the images of each query, its own and then its nearest ones, (H, W, 3) uint8; `matches` says of each of
    those whether it shows the query's identity.
    """
    columns = max(len(row) for row in rows)
    height, width = rows[0][0].shape[:2]
    figure = Figure(figsize=(0.5 * columns, 0.5 * len(rows) * height / width))
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"wspace": 0.12, "hspace": 0.06})
    for axis in axes.flat:
        axis.axis("off")
    for line, images, right in zip(axes, rows, matches):
        colors = ["tab:orange", *("tab:green" if match else "tab:red" for match in right)]
        for axis, image, color in zip(line, images, colors):
            axis.imshow(image)
            axis.axis("on")
            axis.set(xticks=[], yticks=[])
            for side in axis.spines.values():
                side.set(color=color, linewidth=2)
    axes[0, 0].set_title("query", fontsize=6)
    for rank, axis in enumerate(axes[0, 1:], 1):
        axis.set_title(str(rank), fontsize=6)
    save(figure, path)
