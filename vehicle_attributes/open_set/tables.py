"""Tables and the figure of classes that are added to the gallery."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.experiments.learning_curve import curve_cell
from common.report import plots, tables
from common.statistics import Interval

from ..config import ARMS, UNTRAINED, Config
from ..differences import PAPER_LOSS
from .measure import RETRAINED, WAYS

GROWTH = (
    "Accuracy on test images of new and of old classes against the exemplars of each new one: with the embedding of "
    "the cross-entropy in several ways, with an untrained one, and of classifiers that are trained anew. Means over "
    "the seeds and their deviations."
)
PARTS = ("new", "old", "macro")
ANEW = "classifier trained anew"

Records = Sequence[dict[str, Any]]


def series(config: Config, records: Records, loss: str, way: str, part: str) -> list[list[float]]:
    """For each number of `config.added` the accuracies (%) of its seeds, on "old" or "new" classes or "macro"."""
    chosen = [record[way] for record in records if record["loss"] == loss and way in record]
    return [[100 * numbers[str(k)][part] for numbers in chosen if str(k) in numbers] for k in config.added]


def _cells(config: Config, records: Records, loss: str, way: str) -> list[Any]:
    """Means and deviations over the seeds: columns of `_columns`."""
    return [tables.mean_std(values, 1) for part in PARTS for values in series(config, records, loss, way, part)]


def _columns(config: Config) -> list[str]:
    return [f"{part}, {k}" for part in PARTS for k in config.added]


def ways_table(config: Config, records: Records, loss: str = PAPER_LOSS) -> str:
    """A row for each way to use the embedding of one loss, and one for classifiers that are trained anew."""
    rows = [[title, *_cells(config, records, loss, way)] for way, title in WAYS.items()]
    rows.append([ANEW, *_cells(config, records, PAPER_LOSS, RETRAINED)])
    return tables.table([f"{ARMS[loss]}: accuracy (%)", *_columns(config)], rows)


def losses_table(config: Config, records: Records) -> str:
    """A row for each loss, with as many exemplars of each class, and how it came there."""
    rows = []
    for loss in config.losses:
        chosen = [record for record in records if record["loss"] == loss and "balanced" in record]
        if chosen:
            curve = curve_cell(chosen) if loss != UNTRAINED else None
            rows.append([ARMS[loss], *_cells(config, chosen, loss, "balanced"), curve or None])
    header = f"{WAYS['balanced']}: accuracy (%)"
    return tables.table([header, *_columns(config), f"% by epoch, {config.exemplars} of each"], rows)


def differences_table(config: Config, values: Records) -> str:
    """A row for each pair, with 95 % intervals in points; bold where they do not contain zero."""
    cells = {(v["loss"], v["way"], v["against"], v["part"], v["added"]): _cell(v) for v in values}
    rows = []
    for loss, way, against in dict.fromkeys(key[:3] for key in cells):
        other = ARMS.get(against, ANEW if against == RETRAINED else WAYS.get(against))
        name = ARMS[loss] if against == UNTRAINED else WAYS[way]
        columns = [cells.get((loss, way, against, part, k)) for part in ("new", "old") for k in config.added]
        rows.append([f"{name} **against** {other}", *columns])
    header = [f"{part}, {k}" for part in ("new", "old") for k in config.added]
    return tables.table(["difference in accuracy (points), bold where decided", *header], rows) if rows else ""


def _cell(value: dict[str, Any]) -> str:
    interval = Interval.of(value)
    text = interval.text()
    if interval.verdict == "undecided":
        return text
    head, _, tail = text.partition(" ")
    return f"**{head}** {tail}"


def unknown_table(records: Records) -> str:
    """How well the distance to the nearest exemplar separates vehicles of classes that the gallery lacks."""
    rows = []
    for loss in dict.fromkeys(record["loss"] for record in records if "unknown" in record):
        numbers = [record["unknown"] for record in records if record["loss"] == loss and "unknown" in record]
        names = ("auc", "accepted_old", "rejected_new")
        rows.append([ARMS[loss], *(tables.mean_std([100 * n[name] for n in numbers], 1) for name in names)])
    return tables.table(["loss", "ROC AUC (%)", "known ones accepted (%)", "unknown ones rejected (%)"], rows)


def draw_growth(path: Path, config: Config, records: Records) -> None:
    """The open-set experiment as a figure: a panel for new and one for old classes."""
    trained = [loss for loss in config.losses if loss != UNTRAINED]
    main = PAPER_LOSS if PAPER_LOSS in trained else config.losses[-1]
    lines = [(main, way, title) for way, title in WAYS.items()]
    if trained and UNTRAINED in config.losses:
        lines.append((UNTRAINED, "balanced", f"untrained: {WAYS['balanced']}"))
    lines.append((PAPER_LOSS, RETRAINED, ANEW))
    figure, axes = plots.panels(["new classes", "old classes"])
    for axis, part in zip(axes, ("new", "old")):
        for number, (loss, way, label) in enumerate(lines):
            values = series(config, records, loss, way, part)
            if all(values):
                means, deviations = zip(*((np.mean(v), np.std(v, ddof=len(v) > 1)) for v in values))
                marks = {"linewidth": 1.5, "marker": plots.MARKERS[number], "markersize": 5, "capsize": 2}
                axis.errorbar(config.added, means, deviations, label=label, **marks, **plots.style(number))
        axis.set(xscale="log", xticks=config.added, xticklabels=config.added)
        axis.set(xlabel="exemplars of each new class", ylabel="accuracy (%)")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    plots.save(figure, path)
