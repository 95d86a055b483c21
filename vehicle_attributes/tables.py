"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.experiments import entry
from common.experiments.config import from_json
from common.experiments.learning_curve import curve_cell
from common.report import pages, tables
from common.report.pages import Finding
from common.statistics import Interval

from .config import ARMS, LOSSES, PRESETS, TASKS, UNTRAINED, Config
from .differences import CLASSIFIER, PAPER_LOSS, differences
from .open_set.measure import RETRAINED
from .open_set.tables import ANEW, GROWTH, differences_table, losses_table, unknown_table, ways_table
from .paper_results import LEFT_OUT, LISTED, PAPER, ROWS

HERE = Path(__file__).parent

DIFFERENCES = "Differences, with 95 % intervals over test images and seeds"
# Published run -> its figures in RESULTS, with their captions.
FIGURES = {
    "mobilenet": {
        "embeddings.png": "t-SNE of the embeddings of test images, by type.",
        "confusion_type.png": "Test images by their type and that of the nearest exemplar.",
        "nearest_type.png": (
            "Test images and the nearest exemplars with cosine distances: ✓ and blue, of the same type; ✗ and "
            "vermilion, of another. Photographs: Zenodo 6634554, CC BY 4.0."
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
# Runs, the better one first -> claim, what of `differences` decides it, and what it expects.
_CLAIMS = {
    ("mobilenet", "demo"): (
        (
            "the nearest exemplar is more accurate than the classifier of the same training",
            {"loss": PAPER_LOSS, "against": CLASSIFIER},
            "higher",
        ),
        (
            "lifted structured loss is more accurate than cross-entropy",
            {"loss": "lifted_structured", "against": PAPER_LOSS},
            "higher",
        ),
    ),
    ("mobilenet_open_set", "demo_open_set"): (
        (
            "five images add a type as well as training the classifier anew",
            {"way": "balanced", "against": RETRAINED, "part": "new", "added": 5},
            "not lower",
        ),
    ),
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
                # Only the last attribute is looked at while a training goes on.
                looks = loss != UNTRAINED and attribute == config.attributes[-1]
                curve = curve_cell(chosen) if looks else ""
                rows.append([attribute, ARMS[loss], paper, *_cells(chosen, attribute), curve or None])
    return tables.table(["attribute", "loss", "accuracy, paper (%)", *_COLUMNS, "% by epoch"], rows)


def run_differences(values: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of `differences` between losses, and between nearest exemplars and classifiers."""
    rows = []
    for value in values:
        interval, loss = Interval.of(value), ARMS[value["loss"]]
        compared = f"{loss} against {ARMS.get(value['against'])}"
        if value["against"] == CLASSIFIER:
            compared = f"{loss}: nearest exemplar against classifier"
        rows.append([value["attribute"], compared, interval.text(), value["trainings"], interval.verdict])
    columns = ["attribute", "compared", "difference in accuracy (points)", "trainings of each", "verdict"]
    return tables.table(columns, rows)


def open_set_sections(
    heading: str, config: Config, records: Sequence[dict[str, Any]], compared: Sequence[dict[str, Any]]
) -> dict[str, str]:
    """Heading -> table of a run with new classes: each way of each loss, differences, and unknown classes."""
    losses = [loss for loss in config.losses if any(record["loss"] == loss for record in records)]
    sections = {heading: losses_table(config, records)}
    sections |= {f"Ways to use one embedding: {ARMS[loss]}": ways_table(config, records, loss) for loss in losses}
    if compared:
        sections[DIFFERENCES] = differences_table(config, compared)
    return sections | {"Unknown classes": unknown_table(records)}


def publish(results: entry.Results) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the project's pages."""
    more = {"differences": differences(results)}
    tables.publish(HERE, PRESETS, results.config, results.records, more=more)
    tables.copy_figures(results.run, HERE, FIGURES.get(results.config.name, {}))
    renew_pages()


def renew_pages() -> None:
    """Writes the findings of all published runs into the README, and their tables into RESULTS."""
    results = tables.published(HERE)
    sections = [*(_run_section(results, name) for name in _TITLES), *_paper_tables(results), _left_out()]
    pages.renew(HERE, findings(results), sections)


def findings(results: dict[str, Any]) -> list[Finding]:
    """What the published runs say of the publication's claims: of photographs, if they are run, else of the demos."""
    rows = []
    for names, claims in _CLAIMS.items():
        name = next((each for each in names if each in results), names[0])
        rows += [_finding(name, results.get(name), *claim) for claim in claims]
    return rows


def _finding(name: str, run: dict[str, Any] | None, claim: str, wanted: dict[str, Any], expected: str) -> Finding:
    """What one run says of a claim that the `wanted` difference decides."""
    on, command = _TITLES[name].partition(",")[0].lower(), pages.command(__package__, name, run)
    nothing = Finding.not_run(claim, on, command)
    if run is None:
        return nothing
    if not run["differences"]:
        return replace(nothing, verdict="undecided: one training")
    value = next((v for v in run["differences"] if wanted.items() <= v.items()), None)
    if value is None:
        return nothing
    if value not in converged(from_json(run["config"], Config), run["trials"], run["differences"])[1]:
        return replace(nothing, verdict="not converged")
    interval, trainings = Interval.of(value), value["trainings"]
    verdict, measured = pages.verdict(interval, trainings, expected), f"{interval.text()} points of accuracy"
    return Finding(claim, verdict, measured, f"{on}, {trainings} trainings of each", command)


def converged(
    config: Config, records: Sequence[dict[str, Any]], compared: Sequence[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """The records and differences of those trainings whose accuracy stood still with all seeds, and names of others.

    All are shown where nobody looked, and of the embedded photographs: one of 120 test images is more than what may
    move.
    """
    if not config.evaluate_every or config.dataset == "embedded":
        return list(records), list(compared), []

    def arm(record: dict[str, Any]) -> tuple[str, int]:
        return record["loss"], record["retrained_with"]

    moving = {arm(record) for record in records if not record.get("converged", True)}
    shown = [record for record in records if arm(record) not in moving]
    decided = [
        value
        for value in compared
        if not moving & {(value["loss"], 0), (value["against"], 0)}
        and not (value["against"] == RETRAINED and (PAPER_LOSS, value["added"]) in moving)
    ]
    names = [ARMS[loss] if not k else f"{ANEW} with {k}" for loss, k in sorted(moving)]
    return shown, decided, names


def _run_section(results: dict[str, Any], name: str) -> str:
    if name not in results:
        return f"**{_TITLES[name]}**: not run."
    config = from_json(results[name]["config"], Config)
    records, compared, moving = converged(config, results[name]["trials"], results[name]["differences"])
    seeds = ", ".join(map(str, sorted({record["seed"] for record in results[name]["trials"]})))
    parts = [f"**{_TITLES[name]}**, preset `{name}`, seeds {seeds}"]
    if config.held_out:
        if any(record["loss"] == PAPER_LOSS and not record["retrained_with"] for record in records):
            parts.append(ways_table(config, records))
        parts += [losses_table(config, records), unknown_table(records)]
    else:
        parts.append(run_table(config, records))
    if compared:
        table = differences_table(config, compared) if config.held_out else run_differences(compared)
        parts += [f"{DIFFERENCES}:", table]
    if moving:
        parts.append(f"Run but not converged, so not shown: {', '.join(moving)}.")
    return "\n\n".join([*parts, *tables.pictures(FIGURES.get(name, {}))])


def _paper_tables(results: dict[str, Any]) -> Iterator[str]:
    """Table 3.5 and the other sets, by the runs that there are; a sentence for the rest."""
    rows, missing = [], []
    for attribute, of_attribute in PAPER.items():
        before = len(rows)
        for loss, title in LOSSES.items():
            names = [f"veri_wild_{task}_{loss}" for task in (attribute, "joint")]
            ours = [_cells(results[n]["trials"], attribute)[0] if n in results else None for n in names]
            if any(ours):
                rows.append([attribute, title, of_attribute.get(loss), *ours])
        missing += [f"`veri_wild_{attribute}_…`"] if len(rows) == before else []
    if rows:
        columns = ["attribute", "loss", "paper", "ours", "ours, jointly"]
        yield f"**Table 3.5: accuracy (%) on VERI-Wild**\n\n{tables.table(columns, rows)}"
    others = []
    for task, listed in LISTED.items():
        done = [f"{task}_{loss}" for loss in LOSSES if f"{task}_{loss}" in results]
        attribute = TASKS[task].attributes[0]
        others += [[f"`{name}`", listed, _cells(results[name]["trials"], attribute)[0]] for name in done]
        missing += [] if done else [f"`{task}_…`"]
    if others:
        columns = ["preset", "best in Tables 3.2 to 3.4", "ours"]
        yield f"**CompCars and MIO-TCD: accuracy (%)**\n\n{tables.table(columns, others)}"
    if missing:
        yield (
            f"**Table 3.5 and the other sets**: {', '.join(missing)} are not run, as their images were not at hand. "
            "The publication's numbers are in [paper_results.py](paper_results.py)."
        )


def _left_out() -> str:
    rows = "\n".join(f"- Table {table}, {ROWS[table]} rows: {reason}." for table, reason in LEFT_OUT.items())
    return f"**Tables that no preset fills**\n\n{rows}" if rows else ""
