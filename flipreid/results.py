"""The publication's numbers, this repository's numbers, and the tables that put them side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common import report
from common.config import from_json, to_json
from common.reid import SCORE_COLUMNS, interval_cell, score_cells

from .config import Config

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"

# Fields that say where a run and its files lie, with the values that stand for "nowhere".
_PLACE: dict[str, Any] = {"data_dir": None, "runs_dir": "", "weights": "none"}

TRAININGS = {
    "baseline": "baseline",
    "flipreid": "FlipReID without flipping loss",
    "flipping_loss": "FlipReID with flipping loss",
    "aggregator": "FlipReID, learned aggregate",
}
# Row of Table 2.3 -> training, inference. The fourth training is not the publication's.
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
INFERENCES = {"single": "single", "double": "double", "reranked": "double, re-ranked"}

# mAP and CMC rank-1 in % of rows 1.1 to 3.3 (Table 2.3): backbone -> data set.
PAPER = {
    "resnet50": {
        "market1501": [
            (88.1, 95.0),
            (88.6, 95.0),
            (86.2, 94.7),
            (88.5, 95.5),
            (87.6, 95.2),
            (88.5, 95.3),
            (94.6, 96.0),
        ],
        "duke": [(78.9, 89.4), (79.5, 89.4), (77.2, 88.9), (79.8, 90.2), (78.9, 89.1), (79.8, 89.4), (90.9, 92.5)],
        "msmt17": [(61.7, 81.5), (62.9, 82.1), (57.1, 79.5), (64.3, 83.6), (61.4, 81.9), (64.3, 83.3), (79.5, 86.3)],
    },
    "ibn_resnet50": {
        "market1501": [
            (88.4, 94.8),
            (88.9, 95.5),
            (86.9, 94.3),
            (88.7, 94.8),
            (87.9, 94.7),
            (88.6, 95.0),
            (94.1, 95.4),
        ],
        "duke": [(79.0, 88.7), (79.6, 88.8), (77.5, 88.7), (79.7, 89.4), (78.8, 88.9), (79.8, 89.6), (89.8, 91.8)],
        "msmt17": [(64.6, 83.4), (65.7, 84.2), (60.4, 81.3), (66.2, 84.4), (63.2, 83.1), (65.9, 84.5), (80.2, 87.3)],
    },
    "resnest50": {
        "market1501": [
            (89.3, 95.8),
            (89.7, 96.2),
            (88.6, 95.2),
            (89.6, 95.7),
            (88.9, 95.2),
            (89.6, 95.5),
            (94.7, 95.8),
        ],
        "duke": [(80.0, 89.6), (80.5, 89.9), (79.9, 90.0), (81.2, 90.7), (80.7, 90.5), (81.5, 90.9), (90.7, 93.0)],
        "msmt17": [(66.0, 84.2), (66.9, 84.5), (64.6, 83.9), (67.6, 85.3), (66.0, 84.6), (68.0, 85.6), (81.3, 87.5)],
    },
}

FIGURES = {
    "inference.png": "mAP of each training with each inference on drawn people (Table 2.3).",
    "ranked_lists.png": "Queries (orange) and the nearest images, right (green) or wrong (red), row 3.2.",
}


def _paper(config: Config, row: str) -> tuple[float, float] | None:
    """The publication's mAP and rank-1 for a row, if it has such a one."""
    table = PAPER.get(config.backbone, {}).get(config.dataset)
    if table is None or row not in list(ROWS)[: len(table)] or not config.regional_branches:
        return None
    return table[list(ROWS).index(row)]


def _chosen(records: Sequence[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows that records have numbers for."""
    for row, (training, inference) in ROWS.items():
        found = [r for r in records if r["training"] == training and f"{inference}_mAP" in r]
        if found:
            yield row, found


def run_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table «paper | this run» of one run.

    The gap is the mean cosine distance between the features of single and of double images, in thousandths.
    """
    rows = []
    for row, found in _chosen(records):
        training, inference = ROWS[row]
        gap = report.mean_std([1000 * record["gap"] for record in found], 1) if inference == "single" else None
        cells = [*(_paper(config, row) or (None, None)), *score_cells(found, f"{inference}_")]
        cells += [interval_cell(found[0], f"{inference}_"), gap]
        rows.append([row, TRAININGS[training], INFERENCES[inference], *cells])
    columns = ["row", "training", "inference", "mAP, paper", "rank-1, paper", *SCORE_COLUMNS]
    return report.table([*columns, "95 % interval of mAP", "gap (‰)"], rows)


def publish(config: Config, records: Sequence[dict[str, Any]], run: Path) -> None:
    """Keeps a run's numbers in `results.json` under the run's name and renews the README's tables.

    Figures are kept of drawn people alone: photographs of people are not ours to hand on.
    """
    report.publish(RESULTS, config.name, to_json(config), records, left_out=_PLACE)
    if config.dataset == "people":
        report.keep_figures(run, HERE, FIGURES)
    renew_readme()


def renew_readme() -> None:
    """Writes the tables of all published runs into the README."""
    results = report.published(RESULTS)
    sections = [
        _run_section(results, "mobilenet", "A part of Market-1501 with MobileNet 0.25"),
        _run_section(results, "demo", f"Drawn people, `make train-{__package__}`"),
    ]
    if "demo" in results:
        sections += [f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in FIGURES.items()]
    sections += [_paper_table(results, dataset) for dataset in ("market1501", "duke", "msmt17")]
    report.update_between(HERE / "README.md", "results", "\n\n".join(sections))


def _paper_table(results: dict[str, Any], dataset: str) -> str:
    rows = []
    for backbone, tables in PAPER.items():
        name = f"{dataset}_{backbone}"
        ours = dict(_chosen(results.get(name, {}).get("trials", [])))
        for row, paper in zip(ROWS, tables[dataset]):
            training, inference = ROWS[row]
            cells = score_cells(ours[row], f"{inference}_")[:2] if row in ours else ["not run", None]
            rows.append(
                [f"`{name}`", row, TRAININGS[training], INFERENCES[inference], paper[0], cells[0], paper[1], cells[1]]
            )
    columns = ["preset", "row", "training", "inference", "mAP, paper", "mAP, ours", "rank-1, paper", "rank-1, ours"]
    return f"**Table 2.3: {dataset}**\n\n{report.table(columns, rows)}"


def _run_section(results: dict[str, Any], name: str, title: str) -> str:
    """The table of a run that the publication does not have."""
    if name not in results:
        return f"**{title}**: not run."
    found = results[name]
    config = from_json({**found["config"], **_PLACE}, Config)
    seeds = f" Seeds {', '.join(map(str, config.seeds))}." if len(config.seeds) > 1 else ""
    return f"**{title}**{seeds}\n\n{run_table(config, found['trials'])}"
