"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.experiments import entry
from common.experiments.config import from_json
from common.report import tables

from .config import LOSSES, PRESETS, TASKS, Config
from .paper_results import LEFT_OUT, LISTED, PAPER, ROWS

HERE = Path(__file__).parent

GROWTH = (
    "Accuracy on test images of new and of old classes against the exemplars of each new class: the gallery grows and "
    "the network is frozen (a line per loss), or a classifier is trained anew. Means over the seeds and deviations."
)
# Published run -> its figures in the README, with their captions.
FIGURES = {
    "demo": {
        "confusion_type.png": "Test images by their type and that of the nearest exemplar.",
        "nearest_type.png": (
            "Test images (orange) and the nearest exemplars, of the same type (green) or another (red). Photographs: "
            "Zenodo 6634554, CC BY 4.0."
        ),
    },
    "mobilenet_open_set": {"growth.png": GROWTH},
}
# Published run -> heading of its section.
_TITLES = {
    "mobilenet": "Photographs of six vehicle types, MobileNet 0.25",
    "mobilenet_open_set": "Photographs of six vehicle types: two of them added without retraining",
    "demo": "The embedded photographs, `make train-vehicle_attributes`",
    "demo_open_set": "The embedded photographs: two types added without retraining",
}
_COLUMNS = (
    "accuracy (%)",
    "each seed (%)",
    "macro (%)",
    "vote of 5 (%)",
    "class means (%)",
    "classifier accuracy (%)",
    "exemplars",
)


def _cells(records: Sequence[dict[str, Any]], attribute: str) -> list[Any]:
    """The cells of `_COLUMNS` over trainings that differ by their seed."""
    numbers = [record[attribute] for record in records]

    def percent(name: str) -> str | None:
        return tables.mean_std([100 * values[name] for values in numbers if values.get(name) is not None])

    each = " ".join(f"{100 * values['accuracy']:.1f}" for values in numbers)
    names = ("macro_accuracy", "accuracy_of_vote", "accuracy_of_class_means", "accuracy_of_classifier")
    return [percent("accuracy"), each, *map(percent, names), f"{numbers[0]['exemplars']:,}"]


def run_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table «paper | this run» of one run."""
    rows = []
    for attribute in config.attributes:
        for loss in config.losses:
            chosen = [record for record in records if record["loss"] == loss]
            if chosen:
                in_paper = config.dataset == "veri_wild" and len(config.attributes) == 1
                paper = PAPER.get(attribute, {}).get(loss) if in_paper else None
                rows.append([attribute, LOSSES[loss], paper, *_cells(chosen, attribute)])
    return tables.table(["attribute", "loss", "accuracy, paper (%)", *_COLUMNS], rows)


def open_set_series(config: Config, records: Sequence[dict[str, Any]], part: str) -> dict[str, list[list[float]]]:
    """Way -> for each number of `config.added` the accuracies (%) of its seeds on "old", "new" or "all" test images."""
    series: dict[str, list[list[float]]] = {}
    for loss in config.losses:
        for way, title in (
            ("gallery", "gallery"),
            ("class_means", "class means"),
            ("last_layer", "last layer trained anew"),
        ):
            of_loss = [record[way] for record in records if record["loss"] == loss and way in record]
            if of_loss:
                series[f"{LOSSES[loss]}, {title}"] = [[100 * r[str(k)][part] for r in of_loss] for k in config.added]
    retrained = [record["retrained"] for record in records if "retrained" in record]
    values = [[100 * r[str(k)][part] for r in retrained if str(k) in r] for k in config.added]
    return series | {"classifier trained anew": values}


def open_set_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """Accuracies on old and on new classes by the number of exemplars of each new class."""
    series = {part: open_set_series(config, records, part) for part in ("new", "old")}
    rows = [
        [way, *(tables.mean_std(series[part][way][i], 1) for part in series for i in range(len(config.added)))]
        for way in series["new"]
    ]
    columns = [f"{part}, {k}" for part in series for k in config.added]
    return tables.table(["accuracy (%) on classes, exemplars of each new one", *columns], rows)


def unknown_table(records: Sequence[dict[str, Any]]) -> str:
    """How well the distance to the nearest exemplar separates vehicles of classes that the gallery lacks."""
    rows = []
    for loss in dict.fromkeys(record["loss"] for record in records if "unknown" in record):
        numbers = [record["unknown"] for record in records if record["loss"] == loss and "unknown" in record]
        names = ("auc", "accepted_old", "rejected_new")
        rows.append([LOSSES[loss], *(tables.mean_std([100 * n[name] for n in numbers], 1) for name in names)])
    return tables.table(["loss", "ROC AUC (%)", "known ones accepted (%)", "unknown ones rejected (%)"], rows)


def publish(results: entry.Results) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the README's tables."""
    tables.publish(HERE, PRESETS, results.config, results.records)
    tables.copy_figures(results.run, HERE, FIGURES.get(results.config.name, {}))
    renew_readme()


def renew_readme() -> None:
    """Writes the tables of all published runs into the README."""
    results = tables.published(HERE)
    sections = [_paper_table(results), _other_sets_table(results), _left_out()]
    sections += [_run_section(results, name) for name in _TITLES]
    tables.update_between(HERE / "README.md", "results", "\n\n".join(sections))


def _run_section(results: dict[str, Any], name: str) -> str:
    if name not in results:
        return f"**{_TITLES[name]}**: not run."
    config, records = from_json(results[name]["config"], Config), results[name]["trials"]
    seeds = ", ".join(map(str, sorted({record["seed"] for record in records})))
    if config.held_out:
        numbers = [open_set_table(config, records), unknown_table(records)]
    else:
        numbers = [run_table(config, records)]
    return "\n\n".join(
        [f"**{_TITLES[name]}**, preset `{name}`, seeds {seeds}", *numbers, *tables.pictures(FIGURES.get(name, {}))]
    )


def _paper_table(results: dict[str, Any]) -> str:
    def ours(task: str, loss: str, attribute: str) -> str | None:
        name = f"veri_wild_{task}_{loss}"
        return _cells(results[name]["trials"], attribute)[0] if name in results else "not run"

    rows = []
    for loss, title in LOSSES.items():
        cells = [cell for a in PAPER for cell in (PAPER[a].get(loss), ours(a, loss, a), ours("joint", loss, a))]
        rows.append([title, *cells])
    columns = [f"{attribute}, {whose}" for attribute in PAPER for whose in ("paper", "ours", "ours, jointly")]
    table = tables.table(["loss", *columns], rows)
    presets = "Presets `veri_wild_type_…`, `veri_wild_make_…` and `veri_wild_joint_…`, with " + ", ".join(
        f"`{loss}`" for loss in LOSSES
    )
    return f"**Table 3.5: accuracy (%) on VERI-Wild**\n\n{table}\n\n{presets}."


def _left_out() -> str:
    rows = "\n".join(f"- Table {table}, {ROWS[table]} rows: {reason}." for table, reason in LEFT_OUT.items())
    return f"**Tables that no preset fills**\n\n{rows}"


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
    return f"{title}\n\n{tables.table(['preset', 'best in Tables 3.2 to 3.4', 'ours'], rows)}"
