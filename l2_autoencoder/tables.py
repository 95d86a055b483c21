"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.experiments import entry
from common.experiments.config import from_json, to_json
from common.report import tables

from .config import PRESETS, Config
from .paper_results import PAPER_ACCURACY, PAPER_AUC

HERE = Path(__file__).parent
# Of an evaluation of both normalizations on USPS; the README shows it if it is there.
FIGURES = {"tsne.png": "t-SNE of USPS embeddings, seed 1 (publication, Fig. 1)."}

NAMES = {"none": "no normalization", "batch": "batch", "layer": "layer", "l2": "L2"}

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
    return tables.table(columns, rows)


def _clustering_cells(records: Sequence[dict[str, Any]]) -> list[str | None]:
    """Accuracy, accuracy of each seed, NMI, ARI and mean squared error."""
    percent = [100 * record["accuracy"] for record in records]
    return [
        tables.mean_std(percent),
        " ".join(f"{value:.1f}" for value in percent),
        *(tables.mean_std([record[name] for record in records], 3) for name in ("nmi", "ari")),
        tables.mean_std([record["reconstruction_error"] for record in records], 4),
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
                lambda _, here, normalization=normalization, score=score: tables.mean_std(
                    [record[f"auc_{score}"] for record in here if record["normalization"] == normalization], 4
                )
            )
    rows = []
    for digit in config.abnormal_digits:
        here = [record for record in records if record["abnormal_digit"] == digit]
        rows.append([digit, len({record["seed"] for record in here}), *(cell(digit, here) for cell in cells)])
    return tables.table(columns, rows)


def publish(results: entry.Results) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the README's tables."""
    tables.publish(HERE, results.config, results.records, omit=("roc",))
    renew_readme()


def renew_readme() -> None:
    """Writes the tables of all published runs into the README."""
    results = tables.published(HERE)
    pictures = tables.pictures({name: text for name, text in FIGURES.items() if (HERE / "figures" / name).exists()})
    sections = [_paper_clustering(results), *pictures, _paper_anomaly(results), _study(results)]
    tables.update_between(HERE / "README.md", "results", "\n\n".join(section for section in sections if section))


def _paper_clustering(results: dict[str, Any]) -> str:
    """Tables 5.1 to 5.3; presets without a run say so."""
    rows = []
    for (dataset, architecture, normalization), paper in PAPER_ACCURACY.items():
        name = f"{dataset}_{'conv' if architecture == 'convolutional' else 'dense'}_{normalization}"
        cells: list[Any] = ["not run", *[None] * 5]
        if name in results:
            epochs = f"{results[name]['config']['epochs']} of {PRESETS[name][1].epochs}"
            cells = [*_clustering_cells(results[name]["trials"]), epochs]
        rows.append([f"`{name}`", f"{paper:.2f}", *cells])
    columns = ["preset", "paper (%)", "ours (%)", "each seed (%)", "NMI", "ARI", "MSE", "epochs"]
    return f"**Tables 5.1, 5.2 and 5.3: clustering accuracy**\n\n{tables.table(columns, rows)}"


def _paper_anomaly(results: dict[str, Any]) -> str:
    """Table 5.4."""
    if "anomaly_mnist" not in results:
        return "**Table 5.4: anomaly detection on MNIST**: not run."
    config, records = from_json(results["anomaly_mnist"]["config"], Config), results["anomaly_mnist"]["trials"]
    epochs = f"{config.epochs} of {PRESETS['anomaly_mnist'][1].epochs} epochs"
    return f"**Table 5.4: ROC AUC, anomaly detection on MNIST** ({epochs})\n\n{_anomaly_table(config, records)}"


def _study(results: dict[str, Any]) -> str:
    """Runs named `study_…`, below the preset that they change one setting of."""
    groups: dict[str, list[list[Any]]] = {}  # preset -> its row and those of its studies
    for name, run in results.items():
        if not name.startswith("study_"):
            continue
        preset = f"{run['config']['dataset']}_conv_{run['config']['normalizations'][0]}"
        if preset not in groups:
            groups[preset] = [_study_row(preset, results[preset], preset)] if preset in results else []
        groups[preset].append(_study_row(name, run, preset))
    rows = [row for group in groups.values() for row in group]
    columns = ["run", "changed", "accuracy (%)", "each seed (%)", "NMI", "MSE"]
    columns += ["most accurate start (%)", "its inertia above the lowest (%)"]
    return (
        f"**What decides the result: one setting changed at a time**\n\n{tables.table(columns, rows)}" if rows else ""
    )


def _study_row(name: str, run: dict[str, Any], preset: str) -> list[str | None]:
    """A run's changes of a preset, its accuracy, NMI and error, and the most accurate k-means start of each seed."""
    base, records = to_json(PRESETS[preset][1]), run["trials"]
    changes = [
        f"{field} {value}"
        for field, value in run["config"].items()
        if field not in ("name", "seeds") and value != base[field]
    ]
    accuracy, seeds, nmi, _, error = _clustering_cells(records)
    starts = [
        " ".join(f"{100 * record[name]:.{digits}f}" for record in records)
        for name, digits in (("accuracy_most_accurate_start", 1), ("inertia_excess_of_most_accurate_start", 2))
    ]
    return [f"`{name}`", "; ".join(changes) or None, accuracy, seeds, nmi, error, *starts]
