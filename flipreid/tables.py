"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.experiments import entry
from common.experiments.config import from_json
from common.experiments.reid.figures import EMBEDDINGS, RETRIEVAL, SIMILARITY
from common.experiments.reid.report import LISTS, TRAINING_TEXT
from common.experiments.reid.report import publish as publish_run
from common.experiments.reid.scores import SCORE_COLUMNS, interval_cell, score_cells
from common.experiments.reid.study import UNTRAINED_NAME, difference_table, finding
from common.report import pages, tables
from common.report.pages import Finding

from .config import PRESETS, Config
from .paper_results import PAPER

HERE = Path(__file__).parent

METHODS = {
    "baseline": "baseline",
    "flipreid": "FlipReID without flipping loss",
    "flipping_loss": "FlipReID with flipping loss",
    "aggregator": "FlipReID, learned aggregate",
}
# Row of Table 2.3 -> method, inference. The fourth method is not the publication's.
ROWS = {
    "1.1": ("baseline", "single"),
    "1.2": ("baseline", "double"),
    "2.1": ("flipreid", "single"),
    "2.2": ("flipreid", "double"),
    "3.1": ("flipping_loss", "single"),
    "3.2": ("flipping_loss", "double"),
    "3.3": ("flipping_loss", "reranked"),
    "4.1": ("aggregator", "single"),
    "4.2": ("aggregator", "double"),
    "4.3": ("aggregator", "reranked"),
}
# What is compared: double with single images, and each method with the one before, by the same inference.
PAIRS = (
    *(("1.2", "1.1"), ("2.1", "1.1"), ("2.2", "1.2"), ("3.1", "1.1"), ("3.1", "2.1"), ("3.2", "2.2"), ("3.2", "1.2")),
    *(("3.2", "3.1"), ("3.3", "3.2"), ("4.2", "3.2")),
)
INFERENCES = {"single": "single", "double": "double", "reranked": "double, re-ranked"}

FIGURES = {
    "inference.png": "mAP of each training with each inference on synthetic people (Table 2.3).",
    "ranked_lists.png": f"{LISTS} Synthetic people, row 3.2.",
    "retrieval.png": f"{RETRIEVAL} Synthetic people.",
    "embeddings.png": f"{EMBEDDINGS.format(12)} Synthetic people.",
    "similarity.png": f"{SIMILARITY} Synthetic people.",
    "loss.png": TRAINING_TEXT,
}


def _paper(config: Config, row: str) -> tuple[float, float] | None:
    """The publication's mAP and rank-1 for a row, if it has such a one."""
    table = PAPER.get(config.backbone.removeprefix("torch_"), {}).get(config.dataset)
    if table is None or row not in list(ROWS)[: len(table)] or not config.regional_branches:
        return None
    return table[list(ROWS).index(row)]


def _records_by_row(records: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows that records have numbers for, with their records."""
    for row, (method, inference) in ROWS.items():
        chosen = [r for r in records if r["method"] == method and f"{inference}_mAP" in r]
        if chosen:
            yield row, chosen


def run_table(config: Config, records: Sequence[dict[str, Any]], untrained: dict[str, Any] | None = None) -> str:
    """The Markdown table «paper | this run» of one run.

    The gap is the mean cosine distance between the features of single and of double images, in thousandths.
    """
    rows = []
    if untrained:
        cells = [*score_cells([untrained]), interval_cell(untrained), None]
        rows.append([None, UNTRAINED_NAME, "single", None, None, *cells])
    for row, chosen in _records_by_row(records):
        method, inference = ROWS[row]
        gap = tables.mean_std([1000 * record["gap"] for record in chosen], 1) if inference == "single" else None
        cells = [*(_paper(config, row) or (None, None)), *score_cells(chosen, f"{inference}_")]
        cells += [interval_cell(chosen[0], f"{inference}_"), gap]
        rows.append([row, METHODS[method], INFERENCES[inference], *cells])
    columns = ["row", "training", "inference", "mAP, paper", "rank-1, paper", *SCORE_COLUMNS]
    return tables.table([*columns, "95 % interval of mAP", "gap (‰)"], rows)


def run_differences(records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of the differences between rows of one run."""
    return difference_table(_scores_by_row(records), PAIRS, {row: f"row {row}" for row in ROWS})


def _scores_by_row(records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Row -> its records, with the scores of its inference as `mAP` and `identity_AP`."""
    return {
        row: [record | {name: record[f"{ROWS[row][1]}_{name}"] for name in ("mAP", "identity_AP")} for record in chosen]
        for row, chosen in _records_by_row(records)
    }


def publish(results: entry.Results) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the project's pages."""
    publish_run(HERE, PRESETS, results, FIGURES)
    renew_pages()


def renew_pages() -> None:
    """Writes the findings of all published runs into the README, and their tables into RESULTS."""
    results = tables.published(HERE)
    sections = [
        _run_section(results, "mobilenet", "Market-1501 with MobileNet 0.25, 128×64 pixels"),
        *_equal_images(results),
        *([_run_section(results, "lite0", "The same with EfficientNet-Lite0")] if "lite0" in results else []),
        _run_section(results, "demo", f"Synthetic people, `make train-{__package__}`", converged=False),
        *(tables.pictures(FIGURES) if "demo" in results else []),
        *_paper_tables(results),
    ]
    pages.renew(HERE, findings(results), sections)


def findings(results: dict[str, Any]) -> list[Finding]:
    """What the published runs say of the publication's claims."""
    claims = (
        ("trained on the mean of image and mirror, double images are better", "2.2", "1.2", "higher"),
        ("with the flipping loss a single image does not get worse", "3.1", "1.1", "not lower"),
        ("with the flipping loss double images stay better", "3.2", "1.2", "higher"),
    )
    rows = []
    for run, data in (("demo", "synthetic people"), ("mobilenet", "Market-1501, MobileNet 0.25")):
        how = pages.command(__package__, run, results.get(run))
        records = results.get(run, {}).get("trials", [])
        by_row = _scores_by_row([r for r in records if run == "demo" or r["converged"]])
        for claim, first, second, expected in claims:
            if first in by_row and second in by_row:
                rows.append(finding(claim, by_row[first], by_row[second], data, how, expected))
            elif run == "demo":
                rows.append(Finding.not_run(claim, data, how))
        if run != "demo" and not by_row:
            verdict = "undecided: not converged" if records else "not run"
            rows.append(Finding("the same on photographs", verdict, "–", data, how))
    return rows


def _paper_tables(results: dict[str, Any]) -> Iterator[str]:
    """The publication's rows that are run, of each data set, and how many are not."""
    columns = ["preset", "row", "training", "inference", "mAP, paper", "mAP, ours", "rank-1, paper", "rank-1, ours"]
    missing, names = 0, []
    for dataset in ("market1501", "duke", "msmt17"):
        rows = []
        for backbone, paper in PAPER.items():
            name = f"{dataset}_{backbone}"
            ours = dict(_records_by_row(results.get(name, {}).get("trials", [])))
            names += [] if ours else [f"`{name}`"]
            for row, (paper_map, paper_rank1) in zip(ROWS, paper[dataset]):
                method, inference = ROWS[row]
                if row in ours:
                    our_map, our_rank1 = score_cells(ours[row], f"{inference}_")[:2]
                    cells = [paper_map, our_map, paper_rank1, our_rank1]
                    rows.append([f"`{name}`", row, METHODS[method], INFERENCES[inference], *cells])
                else:
                    missing += 1
        if rows:
            yield f"**Table 2.3: {dataset}**\n\n{tables.table(columns, rows)}"
    if missing:
        yield (
            f"**Table 2.3**: {missing} of its rows are not run, for want of a GPU; the presets are {', '.join(names)}. "
            "The publication's numbers are in [paper_results.py](paper_results.py)."
        )


def _run_section(results: dict[str, Any], name: str, title: str, converged: bool = True) -> str:
    """The tables of a run that the publication does not have, `converged`: only of methods whose trainings did."""
    if name not in results:
        return f"**{title}**: not run."
    config = from_json(results[name]["config"], Config)
    seeds = f" Seeds {', '.join(map(str, config.seeds))}." if len(config.seeds) > 1 else ""
    records = results[name]["trials"]
    missing = {record["method"] for record in records if converged and not record["converged"]}
    shown = [record for record in records if record["method"] not in missing]
    parts = [f"**{title}**{seeds}", run_table(config, shown, results[name]["untrained"]), run_differences(shown)]
    if missing:
        parts.append(f"Trained but not converged, so not shown: {', '.join(sorted(missing))}.")
    return "\n\n".join(filter(None, parts))


def _equal_images(results: dict[str, Any]) -> Iterator[str]:
    """FlipReID against a baseline that has seen as many images, not as many steps."""
    if not {"mobilenet", "mobilenet_images"} <= results.keys():
        return
    rows = {"3.2": results["mobilenet"]["trials"], "1.2": results["mobilenet_images"]["trials"]}
    chosen = {
        row: [
            record | {"identity_AP": record["double_identity_AP"]}
            for record in records
            if record["method"] == ROWS[row][0] and record["converged"]
        ]
        for row, records in rows.items()
    }
    names = {"3.2": "row 3.2", "1.2": "row 1.2 with twice the steps"}
    yield _run_section(results, "mobilenet_images", "The baseline with as many images as FlipReID")
    yield difference_table(chosen, [("3.2", "1.2")], names)
