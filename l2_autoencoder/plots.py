"""The figure of anomaly detection."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from sklearn.metrics import RocCurveDisplay

from common.report.plots import panels, save, style


def roc(path: Path, curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> None:
    """ROC curves with the diagonal of chance; title -> curve name -> (false positive rates, true positive rates)."""
    figure, axes = panels(list(curves), columns=2)
    for axis, lines in zip(axes, curves.values()):
        for i, (name, (false_positives, true_positives)) in enumerate(lines.items()):
            display = RocCurveDisplay(fpr=false_positives, tpr=true_positives)
            last = i == len(lines) - 1
            display.plot(ax=axis, name=name, plot_chance_level=last, curve_kwargs={"linewidth": 1.5} | style(i))
        axis.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    save(figure, path)
