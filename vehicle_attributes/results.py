"""The publication's numbers, this repository's numbers, and the tables that put them side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import figures, report
from common.config import from_json, to_json

from .config import LOSSES, TASKS, Config

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"

# Fields that say where a run and its files lie, with the values that stand for "nowhere".
_PLACE: dict[str, Any] = {"data_dir": None, "runs_dir": "", "weights": "none"}

# Accuracy in % on VERI-Wild (Table 3.5): attribute -> loss -> value.
PAPER = {
    "type": {"cross_entropy": 96.8, "triplet": 97.4, "lifted_structured": 97.7},
    "make": {"cross_entropy": 95.6, "triplet": 95.3, "lifted_structured": 96.2},
}
# The most accurate method that Tables 3.2 to 3.4 list for the other sets, none of them the publication's own.
LISTED = {
    "compcars_type": "63.1 (Yang et al. 2015)",
    "compcars_make": "99.6 (Xiang et al. 2019)",
    "compcars_model": "98.5 (Xiang et al. 2019)",
    "compcars_sv_model": None,
    "mio_tcd_type": "97.9 (Lee and Chung 2017)",
}

FIGURES = {
    "confusion_type.png": "Test images by their type and that of the nearest exemplar.",
    "nearest_type.png": "Test images (orange) and the nearest exemplars, of the same type (green) or another (red).",
    "growth.png": (
        "Accuracy on test images of new and of old classes against the exemplars of each new class: the gallery grows "
        "and the network rests (a line per loss), or a classifier is trained anew. Means over the seeds and deviations."
    ),
}
# Published run -> the figures of it that the README shows.
_KEPT = {"demo": ("confusion_type.png", "nearest_type.png"), "mobilenet_dynamic": ("growth.png",)}
_COLUMNS = ("accuracy (%)", "each seed (%)", "macro (%)", "vote of 5 (%)", "own arg-max (%)", "exemplars")


def _cells(records: Sequence[dict[str, Any]], attribute: str) -> list[Any]:
    """The cells of `_COLUMNS` over trainings that differ by their seed."""
    found = [record[attribute] for record in records]

    def percent(name: str) -> str | None:
        return report.mean_std([100 * values[name] for values in found if values[name] is not None])

    each = " ".join(f"{100 * values['accuracy']:.1f}" for values in found)
    names = ("macro_accuracy", "accuracy_of_vote", "accuracy_of_classifier")
    return [percent("accuracy"), each, *map(percent, names), f"{found[0]['exemplars']:,}"]


def run_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table «paper | this run» of one run."""
    rows = []
    for attribute in config.attributes:
        for loss in config.losses:
            chosen = [record for record in records if record["loss"] == loss]
            if chosen:
                alone = config.dataset == "veri_wild" and len(config.attributes) == 1
                paper = PAPER.get(attribute, {}).get(loss) if alone else None
                rows.append([attribute, LOSSES[loss], paper, *_cells(chosen, attribute)])
    return report.table(["attribute", "loss", "accuracy, paper (%)", *_COLUMNS], rows)


def dynamic_series(config: Config, records: Sequence[dict[str, Any]], part: str) -> dict[str, list[list[float]]]:
    """Way -> for each number of `config.added` the accuracies (%) of its seeds on "old", "new" or "all" test images."""
    found: dict[str, list[list[float]]] = {}
    for loss in config.losses:
        for kind, title in (("gallery", "gallery"), ("last_layer", "last layer trained anew")):
            ours = [r[kind] for r in records if r["loss"] == loss and kind in r]
            values = [[100 * r[str(k)][part] for r in ours] for k in config.added]
            found[f"{LOSSES[loss]}, {title}"] = values
    retrained = [r["retrained"] for r in records if "retrained" in r]
    values = [[100 * r[str(k)][part] for r in retrained if str(k) in r] for k in config.added]
    return found | {"classifier trained anew": values}


def dynamic_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """Accuracies on old and on new classes by the number of exemplars of each new class."""
    series = {part: dynamic_series(config, records, part) for part in ("new", "old")}
    rows = [
        [way, *(report.mean_std(series[part][way][i], 1) for part in series for i in range(len(config.added)))]
        for way in series["new"]
    ]
    columns = [f"{part}, {k}" for part in series for k in config.added]
    return report.table(["accuracy (%) on classes, exemplars of each new one", *columns], rows)


def unknown_table(records: Sequence[dict[str, Any]]) -> str:
    """How vehicles of classes that the gallery lacks are told by the distance to their nearest exemplar."""
    rows = []
    for loss in dict.fromkeys(r["loss"] for r in records if "unknown" in r):
        found = [r["unknown"] for r in records if r["loss"] == loss and "unknown" in r]
        names = ("auc", "accepted_old", "rejected_new")
        rows.append([LOSSES[loss], *(report.mean_std([100 * f[name] for f in found], 1) for name in names)])
    return report.table(["loss", "ROC AUC (%)", "known ones accepted (%)", "unknown ones rejected (%)"], rows)


def draw_growth(path: Path, config: Config, records: Sequence[dict[str, Any]]) -> None:
    """The dynamic experiment as a figure: a panel for new and one for old classes."""
    panels = {}
    for part in ("new", "old"):
        series = dynamic_series(config, records, part)
        panels[f"{part} classes"] = {
            way.removesuffix(", gallery"): ([np.mean(v) for v in values], [np.std(v, ddof=len(v) > 1) for v in values])
            for way, values in series.items()
            if "last layer" not in way and all(values)
        }
    figures.error_bars(path, panels, config.added, "exemplars of each new class", "accuracy (%)")


def publish(config: Config, records: Sequence[dict[str, Any]], run: Path) -> None:
    """Keeps a run's numbers in `results.json` under the run's name and renews the README's tables.

    Figures with vehicles are kept of drawn ones alone: photographs are not ours to hand on.
    """
    report.publish(RESULTS, config.name, to_json(config), records, left_out=_PLACE)
    report.keep_figures(run, HERE, _KEPT.get(config.name, ()))
    renew_readme()


def renew_readme() -> None:
    """Writes the tables of all published runs into the README."""
    results = report.published(RESULTS)
    sections = [_paper_table(results), _other_sets_table(results)]
    for name, title in (
        ("mobilenet", "Photographs of six vehicle types, MobileNet 0.25"),
        ("mobilenet_dynamic", "Photographs of six vehicle types: two of them added without retraining"),
        ("demo", "Drawn vehicles, `make train-vehicle_attributes`"),
    ):
        sections.append(_run_section(results, name, title))
    report.update_between(HERE / "README.md", "results", "\n\n".join(sections))


def _run_section(results: dict[str, Any], name: str, title: str) -> str:
    if name not in results:
        return f"**{title}**: not run."
    config = from_json({**results[name]["config"], **_PLACE}, Config)
    records = results[name]["trials"]
    if config.held_out:
        tables = [dynamic_table(config, records), unknown_table(records)]
    else:
        tables = [run_table(config, records)]
    kept = _KEPT.get(name, ())
    pictures = [f"![{FIGURES[figure]}](figures/{figure})\n\n*{FIGURES[figure]}*" for figure in kept]
    return "\n\n".join([f"**{title}**, preset `{name}`, seeds {_seeds(records)}", *tables, *pictures])


def _seeds(records: Sequence[dict[str, Any]]) -> str:
    return ", ".join(map(str, sorted({record["seed"] for record in records})))


def _paper_table(results: dict[str, Any]) -> str:
    def ours(task: str, loss: str, attribute: str) -> str | None:
        name = f"veri_wild_{task}_{loss}"
        return _cells(results[name]["trials"], attribute)[0] if name in results else "not run"

    rows = []
    for loss, title in LOSSES.items():
        cells = [cell for a in PAPER for cell in (PAPER[a].get(loss), ours(a, loss, a), ours("joint", loss, a))]
        rows.append([title, *cells])
    columns = [f"{attribute}, {whose}" for attribute in PAPER for whose in ("paper", "ours", "ours, jointly")]
    table = report.table(["loss", *columns], rows)
    presets = "Presets `veri_wild_type_…`, `veri_wild_make_…` and `veri_wild_joint_…`, with " + ", ".join(
        f"`{loss}`" for loss in LOSSES
    )
    return f"**Table 3.5: accuracy (%) on VERI-Wild**\n\n{table}\n\n{presets}."


def _other_sets_table(results: dict[str, Any]) -> str:
    rows = []
    for task, listed in LISTED.items():
        for loss in LOSSES:
            name = f"{task}_{loss}"
            if name in results:
                attribute = TASKS[task].attributes[0]
                rows.append([f"`{name}`", listed, _cells(results[name]["trials"], attribute)[0]])
    title = "**CompCars and MIO-TCD: accuracy (%)**"
    if not rows:
        names = ", ".join(f"`{task}_…`" for task in LISTED)
        return (
            f"{title}: not run. Presets {names} with the losses as above; Tables 3.2 to 3.4 list other methods there."
        )
    return f"{title}\n\n{report.table(['preset', 'best in Tables 3.2 to 3.4', 'ours'], rows)}"
