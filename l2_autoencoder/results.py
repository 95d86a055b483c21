"""The publication's numbers, this repository's numbers, and the tables that put them side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import report
from common.config import from_json, to_json

from .config import PRESETS, Config

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
# Drawn by evaluating a run of both normalizations on USPS; the README shows it if it is there.
FIGURE = "figures/tsne.png"

# Fields that say where a run lies, with the values that stand for "nowhere".
_PLACE: dict[str, Any] = {"data_dir": None, "runs_dir": ""}

NAMES = {"none": "no normalization", "batch": "batch", "layer": "layer", "l2": "L2"}

# Clustering accuracy in % (Tables 5.1 to 5.3): (data set, architecture, normalization) -> value.
PAPER_ACCURACY = {
    ("mnist", "dense", "none"): 81.43,
    ("mnist", "dense", "l2"): 90.20,
    ("mnist", "convolutional", "none"): 84.83,
    ("mnist", "convolutional", "batch"): 70.67,
    ("mnist", "convolutional", "layer"): 70.83,
    ("mnist", "convolutional", "l2"): 95.11,
    ("usps", "convolutional", "none"): 73.52,
    ("usps", "convolutional", "batch"): 74.95,
    ("usps", "convolutional", "layer"): 75.26,
    ("usps", "convolutional", "l2"): 91.35,
}

# ROC AUC on MNIST (Table 5.4): abnormal digit -> CAE reconstruction, CAE cluster, CAE L2 cluster.
PAPER_AUC = {
    0: (0.7025, 0.7998, 0.9615),
    1: (0.0782, 0.8871, 0.9673),
    2: (0.8790, 0.7512, 0.9790),
    3: (0.8324, 0.8449, 0.9382),
    4: (0.7149, 0.4988, 0.7825),
    5: (0.8359, 0.7635, 0.9136),
    6: (0.6925, 0.7896, 0.9497),
    7: (0.5767, 0.7421, 0.9100),
    8: (0.8912, 0.9200, 0.9237),
    9: (0.5140, 0.8944, 0.7495),
}


# Heading, normalization in training, score of `anomaly_scores`, column of PAPER_AUC.
_SCORES = (
    ("CAE recons", "none", "reconstruction", 0),
    ("CAE L2 recons", "l2", "reconstruction", None),
    ("CAE cluster", "none", "cluster", 1),
    ("CAE cluster, cosine", "none", "cluster_cosine", None),
    ("CAE L2 cluster", "l2", "cluster", 2),
)


def run_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table «paper | this run» of one run."""
    return (_anomaly_table if config.abnormal_digits else _clustering_table)(config, records)


def _clustering_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    rows = []
    for normalization in config.normalizations:
        chosen = [record for record in records if record["normalization"] == normalization]
        if chosen:
            paper = PAPER_ACCURACY.get((config.dataset, config.architecture, normalization))
            rows.append([NAMES[normalization], None if paper is None else f"{paper:.2f}", *_clustering_cells(chosen)])
    columns = ["normalization", "accuracy, paper (%)", "accuracy (%)", "each seed (%)", "NMI", "ARI", "MSE"]
    return report.table(columns, rows)


def _clustering_cells(records: Sequence[dict[str, Any]]) -> list[str | None]:
    """Accuracy, accuracy of each seed, NMI, ARI and mean squared error."""
    percent = [100 * record["accuracy"] for record in records]
    return [
        report.mean_std(percent),
        " ".join(f"{value:.1f}" for value in percent),
        *(report.mean_std([record[name] for record in records], 3) for name in ("nmi", "ari")),
        report.mean_std([record["reconstruction_error"] for record in records], 4),
    ]


def _anomaly_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    columns, cells = ["abnormal digit", "partitions"], []
    for heading, normalization, score, paper in _SCORES:
        if normalization in config.normalizations:
            if config.dataset == "mnist" and paper is not None:
                columns.append(f"{heading}, paper")
                cells.append(lambda digit, _, column=paper: f"{PAPER_AUC[digit][column]:.4f}")
            columns.append(heading)
            cells.append(
                lambda _, here, normalization=normalization, score=score: report.mean_std(
                    [record[f"auc_{score}"] for record in here if record["normalization"] == normalization], 4
                )
            )
    rows = []
    for digit in config.abnormal_digits:
        here = [record for record in records if record["abnormal_digit"] == digit]
        rows.append([digit, len({record["seed"] for record in here}), *(cell(digit, here) for cell in cells)])
    return report.table(columns, rows)


def publish(config: Config, records: Sequence[dict[str, Any]]) -> None:
    """Keeps a run's numbers in `results.json` under the run's name and renews the README's tables."""
    report.publish(RESULTS, config.name, to_json(config), records, left_out=(*_PLACE, "roc"))
    renew_readme()


def renew_readme() -> None:
    """Writes the tables of all published runs into the README."""
    results = report.published(RESULTS)
    caption = "t-SNE of USPS embeddings, seed 1 (publication, Fig. 1)."
    picture = f"![{caption}]({FIGURE})\n\n*{caption}*" if (HERE / FIGURE).exists() else ""
    sections = [_paper_clustering(results), picture, _paper_anomaly(results), _study(results)]
    report.update_between(HERE / "README.md", "results", "\n\n".join(section for section in sections if section))


def _paper_clustering(results: dict[str, Any]) -> str:
    """Tables 5.1 to 5.3; a cell nobody measured says so."""
    rows = []
    for (dataset, architecture, normalization), paper in PAPER_ACCURACY.items():
        name = f"{dataset}_{'conv' if architecture == 'convolutional' else 'dense'}_{normalization}"
        cells: list[Any] = ["not run", *[None] * 5]
        if name in results:
            epochs = f"{results[name]['config']['epochs']} of {PRESETS[name][1].epochs}"
            cells = [*_clustering_cells(results[name]["trials"]), epochs]
        rows.append([f"`{name}`", f"{paper:.2f}", *cells])
    columns = ["preset", "paper (%)", "ours (%)", "each seed (%)", "NMI", "ARI", "MSE", "epochs"]
    return f"**Tables 5.1, 5.2 and 5.3: clustering accuracy**\n\n{report.table(columns, rows)}"


def _paper_anomaly(results: dict[str, Any]) -> str:
    """Table 5.4."""
    if "anomaly_mnist" not in results:
        return "**Table 5.4: anomaly detection on MNIST**: not run."
    found = results["anomaly_mnist"]
    config = from_json({**found["config"], **_PLACE}, Config)
    epochs = f"{config.epochs} of {PRESETS['anomaly_mnist'][1].epochs} epochs"
    return f"**Table 5.4: ROC AUC, anomaly detection on MNIST** ({epochs})\n\n{_anomaly_table(config, found['trials'])}"


def _study(results: dict[str, Any]) -> str:
    """Runs named `study_…`, each preset's below its own: what they change in it, and what comes of it."""
    groups: dict[str, list[list[Any]]] = {}  # preset -> its row and those of its studies
    for name, found in results.items():
        if not name.startswith("study_"):
            continue
        preset = f"{found['config']['dataset']}_conv_{found['config']['normalizations'][0]}"
        if preset not in groups:
            groups[preset] = [_study_row(preset, results[preset], preset)] if preset in results else []
        groups[preset].append(_study_row(name, found, preset))
    rows = [row for group in groups.values() for row in group]
    columns = ["run", "changed", "accuracy (%)", "each seed (%)", "NMI", "MSE"]
    columns += ["most accurate start (%)", "its inertia above the lowest (%)"]
    return (
        f"**What decides the result: one setting changed at a time**\n\n{report.table(columns, rows)}" if rows else ""
    )


def _study_row(name: str, found: dict[str, Any], preset: str) -> list[str | None]:
    """What a run changes in a preset; accuracy, NMI, error; and of each seed's most accurate k-means start."""
    base, records = to_json(PRESETS[preset][1]), found["trials"]
    changes = [
        f"{field} {value}"
        for field, value in found["config"].items()
        if field not in ("name", "seeds") and value != base[field]
    ]
    accuracy, seeds, nmi, _, error = _clustering_cells(records)
    starts = [
        " ".join(f"{100 * record[name]:.{digits}f}" for record in records)
        for name, digits in (("accuracy_most_accurate_start", 1), ("inertia_excess_of_most_accurate_start", 2))
    ]
    return [f"`{name}`", "; ".join(changes) or None, accuracy, seeds, nmi, error, *starts]
