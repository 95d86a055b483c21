"""The publication's numbers, this repository's numbers, and the tables that put them side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import report
from common.config import from_json, to_json
from common.reid import SCORE_COLUMNS, interval_cell, score_cells

from .config import PRESETS, ROWS, Config

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"

# Fields that say where a run and its files lie, with the values that stand for "nowhere".
_PLACE: dict[str, Any] = {"data_dir": None, "runs_dir": "", "weights": "none"}

# mAP and CMC rank-1 in % (Table 2.2 and Table III (pub)): row -> data set -> values.
PAPER = {
    "minimal": {"market1501": (28.3, 60.0), "duke": (28.7, 49.9), "msmt17": (11.4, 34.0)},
    "triplet": {"market1501": (79.9, 92.0), "duke": (68.8, 82.2), "msmt17": (44.0, 70.9)},
    "regional": {"market1501": (81.3, 93.3), "duke": (71.2, 84.2), "msmt17": (47.9, 74.2)},
    "erasing": {"market1501": (85.8, 94.4), "duke": (76.6, 87.0), "msmt17": (54.1, 77.0)},
    "clipping": {"market1501": (86.8, 94.3), "duke": (78.1, 87.6), "msmt17": (56.5, 78.4)},
    "baseline": {"market1501": (87.2, 94.6), "duke": (78.9, 88.0), "msmt17": (57.7, 79.1)},
    "adaptive": {"market1501": (88.3, 95.3), "duke": (79.9, 88.9), "msmt17": (59.4, 79.6)},
    "adaptive_resnet101": {"market1501": (88.6, 94.8), "duke": (80.6, 89.2), "msmt17": (61.9, 81.3)},
    "adaptive_resnet152": {"market1501": (88.9, 95.6), "duke": (81.0, 90.2), "msmt17": (62.2, 81.7)},
}
PAPER_RERANKED = {"market1501": (94.4, 96.0), "duke": (90.7, 92.2), "msmt17": (76.7, 84.9)}  # of the last row

FIGURES = {
    "factors.png": "Median factor of each category on drawn people (Fig. 2.2a).",
    "factor_histogram.png": "Factors after the last epoch (Fig. 2.2b).",
    "ranked_lists.png": "Queries (orange) and the nearest images, right (green) or wrong (red) (pub Fig. 5).",
}

NAMES = {"none": "no L2", "constant": "constant L2", "adaptive": "adaptive L2"}
# What makes a training a row of the publication.
_SWITCHES = ("backbone", "triplet", "regional_branches", "random_erasing", "clipping", "image_size")


def _paper(config: Config, regularization: str, reranked: bool) -> tuple[float, float] | None:
    """The publication's mAP and rank-1 for a training, if it has such a one."""
    for row, (_, known) in ROWS.items():
        alike = all(getattr(known, name) == getattr(config, name) for name in _SWITCHES)
        if alike and known.regularizations == (regularization,) and config.dataset in PAPER[row]:
            if not reranked:
                return PAPER[row][config.dataset]
            return PAPER_RERANKED[config.dataset] if row == "adaptive_resnet152" else None
    return None


def run_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table «paper | this run» of one run."""
    rows = []
    for regularization in config.regularizations:
        for prefix in ("", "reranked_"):
            chosen = [r for r in records if r["regularization"] == regularization and f"{prefix}mAP" in r]
            if chosen:
                paper = _paper(config, regularization, bool(prefix)) or (None, None)
                name = NAMES[regularization] + (", re-ranked" if prefix else "")
                rows.append([name, *paper, *score_cells(chosen, prefix), interval_cell(chosen[0], prefix)])
    columns = ["regularization", "mAP, paper", "rank-1, paper", *SCORE_COLUMNS, "95 % interval of mAP"]
    return report.table(columns, rows)


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
    sections = [*(_paper_table(results, dataset) for dataset in PAPER_RERANKED), _cpu_table(results), _demo(results)]
    report.update_between(HERE / "README.md", "results", "\n\n".join(sections))


def _demo(results: dict[str, Any]) -> str:
    """The run on drawn people, with its figures."""
    if "demo" not in results:
        return "**Drawn people**: not run."
    config = from_json({**results["demo"]["config"], **_PLACE}, Config)
    pictures = "\n\n".join(f"![{caption}](figures/{name})\n\n*{caption}*" for name, caption in FIGURES.items())
    return f"**Drawn people, `make train-adaptive_l2`**\n\n{run_table(config, results['demo']['trials'])}\n\n{pictures}"


def _paper_table(results: dict[str, Any], dataset: str) -> str:
    rows = []
    for row, (description, _) in ROWS.items():
        name = f"{dataset}_{row}"
        paper = [f"{value:.1f}" for value in PAPER[row][dataset]]
        ours = score_cells(results[name]["trials"])[:2] if name in results else ["not run", None]
        rows.append([f"`{name}`", description, paper[0], ours[0], paper[1], ours[1]])
    columns = ["preset", "row", "mAP, paper", "mAP, ours", "rank-1, paper", "rank-1, ours"]
    return f"**Tables 2.2 and III (pub): {dataset}**\n\n{report.table(columns, rows)}"


def _cpu_table(results: dict[str, Any]) -> str:
    """The ablation at a CPU's scale; rows that nobody ran are left out."""
    rows = []
    for name, (description, preset) in reversed(PRESETS.items()):
        if name.startswith("mobilenet_") and name in results:
            found = results[name]
            epochs = f"{found['config']['epochs']} of {preset.epochs}"
            each = " ".join(f"{100 * record['mAP']:.1f}" for record in found["trials"])
            part = description.partition(": ")[2].partition(", ")[0].partition(";")[0]
            rows.append([f"`{name}`", part, *score_cells(found["trials"]), each, epochs])
    if not rows:
        return "**The same ablation on a part of Market-1501 with MobileNet 0.25**: not run."
    columns = ["preset", "row", *SCORE_COLUMNS, "mAP of each seed", "epochs"]
    return f"**The same ablation on a part of Market-1501 with MobileNet 0.25**\n\n{report.table(columns, rows)}"
