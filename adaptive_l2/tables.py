"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.experiments import entry
from common.experiments.config import from_json
from common.experiments.learning_curve import curve_cell
from common.experiments.reid.figures import EMBEDDINGS, RETRIEVAL, SIMILARITY
from common.experiments.reid.report import LISTS, TRAINING_TEXT
from common.experiments.reid.report import publish as publish_run
from common.experiments.reid.scores import SCORE_COLUMNS, interval_cell, score_cells
from common.experiments.reid.study import UNTRAINED_NAME, difference_table, finding
from common.report import pages, tables
from common.report.pages import Finding

from .config import CONTROLS, PRESETS, ROWS, Config
from .paper_results import PAPER, PAPER_RERANKED

HERE = Path(__file__).parent

FIGURES = {
    "factors.png": "Median factor of each category on synthetic people (Fig. 2.2a).",
    "factor_histogram.png": "Factors after the last epoch (Fig. 2.2b).",
    "ranked_lists.png": f"{LISTS} Synthetic people (pub Fig. 5).",
    "retrieval.png": f"{RETRIEVAL} Synthetic people.",
    "embeddings.png": f"{EMBEDDINGS.format(12)} Synthetic people.",
    "similarity.png": f"{SIMILARITY} Synthetic people.",
    "loss.png": TRAINING_TEXT,
}

RERANKED = "adaptive_resnet152"  # the row that the publication also has re-ranked
NAMES = {
    "none": "no L2",
    "constant": "constant L2",
    "shared": "one learned factor for all weights",
    "adaptive": "adaptive L2",
}
# What is compared: regularizations of one run, and rows that are runs of their own.
PAIRS = (("adaptive", "constant"), ("adaptive", "shared"), ("shared", "constant"), ("constant", "none"))
ROW_PAIRS = (
    *(("adaptive", "baseline"), ("adaptive", "shared"), ("shared", "baseline"), ("baseline", "clipping")),
    *(("clipping", "erasing"), ("erasing", "regional"), ("regional", "triplet"), ("triplet", "minimal")),
)
# Row -> its description, from the plainest network on, as Table III (pub) has them.
_ROW_TEXTS = {row: text for row, (text, _) in reversed((ROWS | CONTROLS).items())}
# What makes a training a row of the publication.
_SWITCHES = ("backbone", "triplet", "regional_branches", "random_erasing", "clipping", "image_size")


def _paper(config: Config, regularization: str, reranked: bool) -> tuple[float, float] | None:
    """The publication's mAP and rank-1 for a training, if it has such a one."""
    for row, (_, known) in ROWS.items():
        alike = all(getattr(known, name) == getattr(config, name) for name in _SWITCHES)
        if alike and known.regularizations == (regularization,) and config.dataset in PAPER.get(row, {}):
            if not reranked:
                return PAPER[row][config.dataset]
            return PAPER_RERANKED[config.dataset] if row == RERANKED else None
    return None


def run_table(config: Config, records: Sequence[dict[str, Any]], untrained: dict[str, Any] | None = None) -> str:
    """The Markdown table «paper | this run» of one run."""
    rows = []
    if untrained:
        rows.append([UNTRAINED_NAME, None, None, *score_cells([untrained]), interval_cell(untrained)])
    for regularization in config.regularizations:
        for prefix in ("", "reranked_"):
            chosen = [r for r in records if r["regularization"] == regularization and f"{prefix}mAP" in r]
            if chosen:
                paper = _paper(config, regularization, bool(prefix)) or (None, None)
                name = NAMES[regularization] + (", re-ranked" if prefix else "")
                rows.append([name, *paper, *score_cells(chosen, prefix), interval_cell(chosen[0], prefix)])
    columns = ["regularization", "mAP, paper", "rank-1, paper", *SCORE_COLUMNS, "95 % interval of mAP"]
    return tables.table(columns, rows)


def run_differences(records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of the differences between the regularizations of one run."""
    by_name = {name: [record for record in records if record["regularization"] == name] for name in NAMES}
    return difference_table(by_name, PAIRS, NAMES)


def publish(results: entry.Results) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the project's pages."""
    publish_run(HERE, PRESETS, results, FIGURES)
    renew_pages()


def renew_pages() -> None:
    """Writes the findings of all published runs into the README, and their tables into RESULTS."""
    results = tables.published(HERE)
    pages.renew(HERE, findings(results), [*_cpu_tables(results), _demo(results), *_paper_tables(results)])


def findings(results: dict[str, Any]) -> list[Finding]:
    """What the published runs say of the publication's claims."""
    better = "a factor for each weight array beats one constant"
    learned = "it is the factors of their own that help, not that they fade"
    claims = []
    demo = results.get("demo", {}).get("trials", [])
    by_name = {name: [record for record in demo if record["regularization"] == name] for name in NAMES}
    if by_name["adaptive"] and by_name["constant"]:
        command = pages.command(__package__, "demo", results["demo"])
        claims.append(finding(better, by_name["adaptive"], by_name["constant"], "synthetic people", command))
    for claim, first, second in ((better, "adaptive", "baseline"), (learned, "adaptive", "shared")):
        each = [results.get(f"mobilenet_{row}", {}).get("trials", []) for row in (first, second)]
        commands = [
            pages.command(__package__, f"mobilenet_{row}", results.get(f"mobilenet_{row}")) for row in (first, second)
        ]
        place = "Market-1501, MobileNet 0.25", ", ".join(commands)
        if all(records and all(record["converged"] for record in records) for records in each):
            claims.append(finding(claim, *each, *place))
        else:
            claims.append(Finding(claim, "undecided: not converged" if all(each) else "not run", "–", *place))
    return claims


def _demo(results: dict[str, Any]) -> str:
    """The run on synthetic people, with its figures."""
    if "demo" not in results:
        return "**Synthetic people**: not run."
    config = from_json(results["demo"]["config"], Config)
    title, records = f"**Synthetic people, `make train-{__package__}`**", results["demo"]["trials"]
    parts = [title, run_table(config, records, results["demo"]["untrained"]), run_differences(records)]
    return "\n\n".join([*parts, *tables.pictures(FIGURES)])


def _paper_tables(results: dict[str, Any]) -> Iterator[str]:
    """The publication's rows that are run, of each data set, and how many are not."""
    missing = 0
    for dataset in PAPER_RERANKED:
        rows = []
        for row, (text, _) in ROWS.items():
            name = f"{dataset}_{row}"
            records = results.get(name, {}).get("trials", [])
            versions = [(text, PAPER[row][dataset], "")]
            if row == RERANKED:
                versions.append((f"{text}, re-ranked", PAPER_RERANKED[dataset], "reranked_"))
            for version, (paper_map, paper_rank1), prefix in versions:
                chosen = [record for record in records if f"{prefix}mAP" in record]
                if chosen:
                    our_map, our_rank1 = score_cells(chosen, prefix)[:2]
                    rows.append([f"`{name}`", version, paper_map, our_map, paper_rank1, our_rank1])
                else:
                    missing += 1
        if rows:
            columns = ["preset", "row", "mAP, paper", "mAP, ours", "rank-1, paper", "rank-1, ours"]
            yield f"**Tables 2.2 and III (pub): {dataset}**\n\n{tables.table(columns, rows)}"
    if missing:
        names = ", ".join(f"`{dataset}_…`" for dataset in PAPER_RERANKED)
        yield (
            f"**Tables 2.2 and III (pub)**: {missing} of their rows are not run, for want of a GPU. Each is a preset, "
            f"{names}, and the publication's numbers are in [paper_results.py](paper_results.py)."
        )


def _cpu_tables(results: dict[str, Any]) -> Iterator[str]:
    """The ablation at a CPU's scale, for each network: of trainings that have converged."""
    for prefix, network in (("mobilenet", "MobileNet 0.25"), ("lite0", "EfficientNet-Lite0")):
        title = f"**The same ablation on Market-1501 with {network}, 128×64 pixels**"
        runs = {row: results[f"{prefix}_{row}"] for row in _ROW_TEXTS if f"{prefix}_{row}" in results}
        shown = {row: run for row, run in runs.items() if all(record["converged"] for record in run["trials"])}
        missing = ", ".join(f"`{prefix}_{row}`" for row in runs if row not in shown)
        if shown:
            yield from _ablation(prefix, title, shown)
            if missing:
                yield f"Run but not converged, so not shown: {missing}."
        elif missing:
            yield f"{title}: run but not converged, so not shown: {missing}."
        elif prefix == "mobilenet":
            yield f"{title}: not run."


def _ablation(prefix: str, title: str, runs: dict[str, Any]) -> Iterator[str]:
    """The scores of the runs of a network, and what their rows gain."""
    records = {row: run["trials"] for row, run in runs.items()}
    untrained = next(iter(runs.values()))["untrained"]
    table = [[None, UNTRAINED_NAME, *score_cells([untrained]), None, None]]
    for row, each in records.items():
        seeds = " ".join(f"{100 * record['mAP']:.1f}" for record in each)
        part = _ROW_TEXTS[row].rpartition(": ")[2].partition(", ")[0]
        table.append([f"`{prefix}_{row}`", part, *score_cells(each), seeds, curve_cell(each)])
    columns = ["preset", "row", *SCORE_COLUMNS, "mAP of each seed", "mAP by epoch"]
    yield f"{title}\n\n{tables.table(columns, table)}"
    if differences := difference_table(records, ROW_PAIRS, {row: f"`{prefix}_{row}`" for row in records}):
        yield differences
