"""Figures of embeddings and of anomaly detection. Each function writes one PNG to `path`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import RocCurveDisplay

from common.report.plots import save


def embeddings(path: Path, panels: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
    """Points in the plane, title -> (N, 2), colored by labels (N,), at most ten different integers, with one legend."""
    figure, axes = _panels(list(panels), size=3.2)
    for axis, points in zip(axes, panels.values()):
        for i, label in enumerate(np.unique(labels)):
            chosen = points[labels == label]
            axis.scatter(chosen[:, 0], chosen[:, 1], s=3, linewidths=0, color=colormaps["tab10"](i), label=str(label))
        axis.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", markerscale=3, frameon=False)
    save(figure, path)


def roc(path: Path, panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> None:
    """ROC curves with the diagonal of chance; title -> curve name -> (false positive rates, true positive rates)."""
    figure, axes = _panels(list(panels), size=4)
    for axis, lines in zip(axes, panels.values()):
        for i, (name, (false_positives, true_positives)) in enumerate(lines.items(), 1):
            display = RocCurveDisplay(fpr=false_positives, tpr=true_positives)
            display.plot(ax=axis, name=name, plot_chance_level=i == len(lines), curve_kwargs={"linewidth": 1})
        axis.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    save(figure, path)


def _panels(titles: list[str], size: float) -> tuple[Figure, list[Axes]]:
    """Square axes with titles, five in a row."""
    columns = min(5, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(size * columns, size * rows), layout="constrained")
    axes = [figure.add_subplot(rows, columns, place) for place in range(1, len(titles) + 1)]
    for axis, title in zip(axes, titles):
        axis.set_title(title, fontsize=10)
    return figure, axes
