"""Tables that put the publication's numbers and this repository's side by side."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.experiments import entry
from common.experiments.config import from_json
from common.report import pages, tables
from common.report.pages import Finding
from common.statistics import Interval, bootstrap

from .config import PRESETS, Config
from .paper_results import BORROWED_ACCURACY, BORROWED_AUC, PAPER_ACCURACY, PAPER_AUC

HERE = Path(__file__).parent
FIGURE_1 = "mnist_figure1"
NAMES = {"none": "no normalization", "batch": "batch", "layer": "layer", "l2": "L2"}
_SHORT = {"convolutional": "CAE", "dense": "DAE"}  # the chapter's names of the autoencoders

# Heading, normalization in training, score of `anomaly_scores`, column of PAPER_AUC. The publication's "CAE recons" is
# the second baseline of section IV-B (pub): "again we train the auto-encoder with l2 normalization constraint".
_SCORES = (
    ("CAE L2 recons", "l2", "reconstruction", 0),
    ("CAE recons", "none", "reconstruction", None),
    ("CAE cluster", "none", "cluster", 1),
    ("CAE cluster, cosine", "none", "cluster_cosine", None),
    ("CAE L2 cluster", "l2", "cluster", 2),
)
# What is compared: normalizations, and scores of Table 5.4.
COMPARED = (("l2", "none"), ("l2", "batch"), ("l2", "layer"), ("layer", "none"), ("batch", "none"))
_COMPARED_SCORES = (
    ("CAE L2 cluster", "CAE cluster"),
    ("CAE L2 cluster", "CAE cluster, cosine"),
    ("CAE L2 cluster", "CAE L2 recons"),
)
_PAIRS = (
    "The publication's *CAE recons* is of the autoencoder with the constraint (section IV-B (pub)), so it stands next "
    "to ours with it. AE and VAE are methods of others, trained on normal images alone."
)


def run_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table «paper | this run» of one run."""
    return (_anomaly_table if config.abnormal_digits else _clustering_table)(config, records)


def _clustering_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    borrowed = BORROWED_ACCURACY.get((config.dataset, config.architecture), {})
    rows = [[method, f"{value:.2f}", *[None] * 5] for method, value in borrowed.items()]
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
            if config.dataset == "mnist" and PAPER_AUC and paper is not None:
                columns.append(f"{heading}, paper")
                cells.append(lambda digit, _, column=paper: f"{PAPER_AUC[digit][column]:.4f}")
            columns.append(heading)
            cells.append(
                lambda _, here, normalization=normalization, score=score: tables.mean_std(
                    [record[f"auc_{score}"] for record in here if record["normalization"] == normalization], 4
                )
            )
    if config.dataset == "mnist" and BORROWED_AUC:
        for column, method in enumerate(("AE", "VAE")):
            columns.append(f"{method} recons, paper")
            cells.append(lambda digit, _, column=column: f"{BORROWED_AUC[digit][column]:.3f}")
    rows = []
    for digit in config.abnormal_digits:
        here = [record for record in records if record["abnormal_digit"] == digit]
        rows.append([digit, len({record["seed"] for record in here}), *(cell(digit, here) for cell in cells)])
    return tables.table(columns, rows) + (f"\n\n{_PAIRS}" if config.dataset == "mnist" else "")


def differences_table(values: Sequence[dict[str, Any]], of: str) -> str:
    """The Markdown table of differences between normalizations, or between scores; empty without any."""
    return tables.differences_table(values, NAMES, f"difference in {of}")


def anomaly_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of `anomaly_differences`."""
    values = list(anomaly_differences(config, records))
    return differences_table(values, "ROC AUC (points), over digits and partitions")


def anomaly_differences(config: Config, records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The differences in ROC AUC between scores, with intervals over abnormal digits and partitions."""

    def areas(heading: str) -> np.ndarray:
        """(S, digits); NaN where there is no such training."""
        _, normalization, score, _ = next(row for row in _SCORES if row[0] == heading)
        known = {
            (record["seed"], record["abnormal_digit"]): record[f"auc_{score}"]
            for record in records
            if record["normalization"] == normalization
        }
        return np.array([[known.get((s, d), np.nan) for d in config.abnormal_digits] for s in config.seeds])

    for first, second in _COMPARED_SCORES:
        gains = areas(first) - areas(second)
        if np.sum(~np.isnan(gains).all(axis=0)) > 1:
            yield {"first": first, "second": second, **vars(bootstrap(gains))}


def publish(results: entry.Results, differences: Sequence[dict[str, Any]]) -> None:
    """Writes a run's numbers to `results.json` under the run's name and renews the project's pages."""
    more = {"differences": list(differences)} if differences else None
    tables.publish(HERE, PRESETS, results.config, results.records, omit=("roc",), more=more)
    if results.config.name == FIGURE_1:
        tables.copy_figures(results.run, HERE, ["tsne.png"])
    renew_pages()


def renew_pages() -> None:
    """Writes the findings of all published runs into the README, and their tables into RESULTS."""
    results = tables.published(HERE)
    # Until MNIST is run, the figure of an evaluation of both normalizations on USPS is shown, if it is there.
    images = "MNIST's training split" if FIGURE_1 in results else "USPS, seed 0 of `usps_pair`"
    captions = {"tsne.png": f"t-SNE of the embeddings of {images} (publication, Fig. 1)."}
    pictures = tables.pictures({name: text for name, text in captions.items() if (HERE / "figures" / name).exists()})
    sections = [
        *_demo(results),
        *_paper_clustering(results),
        *_differences(results),
        *pictures,
        _paper_anomaly(results),
        _study(results),
    ]
    pages.renew(HERE, findings(results), sections)


def findings(results: dict[str, Any]) -> list[Finding]:
    """What the published runs say of the publication's claims."""
    return [*_clustering_findings(results), *_anomaly_findings(results)]


def _clustering_findings(results: dict[str, Any]) -> Iterator[Finding]:
    claim = "codes of unit length cluster better than codes of any length"
    for name, place in (("usps_pair", "USPS, all 9,298 images"), ("demo", "5,000 images of MNIST")):
        command = pages.command(__package__, name, results.get(name))
        wanted = (
            d for d in results.get(name, {}).get("differences", []) if (d["first"], d["second"]) == ("l2", "none")
        )
        for difference in wanted:
            trials = results[name]["trials"]
            means = [
                tables.mean_std([100 * trial["accuracy"] for trial in trials if trial["normalization"] == kind], 1)
                for kind in ("l2", "none")
            ]
            interval, trainings = Interval.of(difference), len({trial["seed"] for trial in trials})
            measured = f"{interval.text()} points of accuracy: {means[0]} against {means[1]} %"
            on = f"{place}, {trainings} trainings of each"
            yield Finding(claim, pages.verdict(interval, trainings), measured, on, command)


def _anomaly_findings(results: dict[str, Any]) -> Iterator[Finding]:
    place, command = "MNIST, ten digits", pages.command(__package__, "anomaly_mnist", results.get("anomaly_mnist"))
    better = "the distance to the nearest cluster tells anomalies better"
    claims = {
        "CAE cluster": f"{better} under the constraint",
        "CAE L2 recons": f"{better} than the reconstruction error",
    }
    if "anomaly_mnist" not in results:
        yield from (Finding.not_run(each, place, command) for each in claims.values())
        return
    config, records = from_json(results["anomaly_mnist"]["config"], Config), results["anomaly_mnist"]["trials"]
    on = f"{place}, {len(config.seeds)} partitions, {config.epochs} of {PRESETS['anomaly_mnist'][1].epochs} epochs"
    for difference in anomaly_differences(config, records):
        if difference["second"] in claims:
            interval = Interval.of(difference)
            measured = f"{interval.text()} points of ROC AUC"
            verdict = pages.verdict(interval, len(config.seeds))
            yield Finding(claims[difference["second"]], verdict, measured, on, command)


def _demo(results: dict[str, Any]) -> Iterator[str]:
    """What the first command of the README prints."""
    if "demo" in results:
        config = from_json(results["demo"]["config"], Config)
        title = f"**5,000 images of MNIST, `make train-{__package__}`**: {config.epochs} epochs"
        yield f"{title}\n\n{run_table(config, results['demo']['trials'])}"


def _differences(results: dict[str, Any]) -> Iterator[str]:
    """How the normalizations of the published runs differ in accuracy, over images and seeds."""
    for name, run in results.items():
        if run.get("differences"):
            table = differences_table(run["differences"], "accuracy (points), over images and seeds")
            yield f"**`{name}`: differences, with 95 % intervals**\n\n{table}"


def _paper_clustering(results: dict[str, Any]) -> list[str]:
    """Table 5.1, and Tables 5.2 and 5.3; presets without a run say so."""
    columns = ["method", "preset", "paper (%)", "ours (%)", "each seed (%)", "NMI", "ARI", "MSE", "epochs"]
    columns += ["ours, training split (%)", "each seed (%)", "epochs"]
    sections = []
    for heading, architecture in (
        ("Table 5.1: clustering accuracy, dense autoencoders", "dense"),
        ("Tables 5.2 and 5.3: clustering accuracy, convolutional autoencoders", "convolutional"),
    ):
        rows = []
        for dataset in ("mnist", "usps"):
            borrowed = BORROWED_ACCURACY.get((dataset, architecture), {})
            rows += [
                [f"{name}, {dataset.upper()}", None, f"{paper:.2f}", *[None] * 9] for name, paper in borrowed.items()
            ]
            rows += [
                _paper_row(results, dataset, architecture, normalization, paper)
                for (of, kind, normalization), paper in PAPER_ACCURACY.items()
                if (of, kind) == (dataset, architecture)
            ]
        if rows:
            sections.append(f"**{heading}**\n\n{tables.table(columns, rows)}")
    return [*sections, "A dash stands for what is not run, most of the presets `…_train` among it."] if sections else []


def _paper_row(
    results: dict[str, Any], dataset: str, architecture: str, normalization: str, paper: float
) -> list[str | None]:
    """One of the publication's rows, with ours on all images and on the training split."""
    preset = f"{dataset}_{'conv' if architecture == 'convolutional' else 'dense'}_{normalization}"
    cells: list[str | None] = []
    for name, shown in ((preset, 5), (f"{preset}_train", 2)):
        if name in results:
            epochs = f"{results[name]['config']['epochs']} of {PRESETS[name][1].epochs}"
            cells += [*_clustering_cells(results[name]["trials"])[:shown], epochs]
        else:
            cells += [None] * (shown + 1)
    method = _SHORT[architecture] + ("" if normalization == "none" else f" {NAMES[normalization]}")
    return [f"{method}, {dataset.upper()}", f"`{preset}`", f"{paper:.2f}", *cells]


def _paper_anomaly(results: dict[str, Any]) -> str:
    """Table 5.4."""
    if "anomaly_mnist" not in results:
        return "**Table 5.4: anomaly detection on MNIST**: not run."
    config, records = from_json(results["anomaly_mnist"]["config"], Config), results["anomaly_mnist"]["trials"]
    epochs = f"{config.epochs} of {PRESETS['anomaly_mnist'][1].epochs} epochs"
    parts = [f"**Table 5.4: ROC AUC, anomaly detection on MNIST** ({epochs})", _anomaly_table(config, records)]
    return "\n\n".join([*parts, anomaly_table(config, records)])


def _study(results: dict[str, Any]) -> str:
    """Runs named `study_…`, below the preset that they change one setting of."""
    groups: dict[str, list[list[Any]]] = {}  # preset -> its row and those of its studies
    for name, run in results.items():
        if not name.startswith("study_"):
            continue
        preset = run["preset"]
        if preset not in groups:
            groups[preset] = [_study_row(preset, results[preset])] if preset in results else []
        groups[preset].append(_study_row(name, run))
    rows = [row for group in groups.values() for row in group]
    columns = ["run", "changed", "accuracy (%)", "each seed (%)", "NMI", "MSE"]
    columns += ["most accurate start (%)", "its inertia above the lowest (%)"]
    return (
        f"**What decides the result: one setting changed at a time**\n\n{tables.table(columns, rows)}" if rows else ""
    )


def _study_row(name: str, run: dict[str, Any]) -> list[str | None]:
    """A run's changes of a preset, its accuracy, NMI and error, and the most accurate k-means start of each seed."""
    records = run["trials"]
    changes = [f"{field} {run['config'][field]}" for field in run["changed"] if field != "seeds"]
    accuracy, seeds, nmi, _, error = _clustering_cells(records)
    starts = [
        " ".join(f"{100 * record[name]:.{digits}f}" for record in records)
        for name, digits in (("accuracy_most_accurate_start", 1), ("inertia_excess_of_most_accurate_start", 2))
    ]
    return [f"`{name}`", "; ".join(changes) or None, accuracy, seeds, nmi, error, *starts]
