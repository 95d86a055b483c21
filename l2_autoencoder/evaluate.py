"""Evaluates a run: clustering or anomaly detection, report and figures.

python -m PROJECT.evaluate [RUN] [--publish]
"""

from common.experiments import command
from common.experiments.config import EvaluationArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, EvaluationArguments)

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import (
    adjusted_rand_score,
    confusion_matrix,
    normalized_mutual_info_score,
    roc_auc_score,
    roc_curve,
)
from tqdm import tqdm

from common.datasets import digits
from common.experiments import entry
from common.experiments.checkpoint import BEST_WEIGHTS, is_finished
from common.experiments.config import to_json
from common.experiments.identity import cached_json, settings_of
from common.experiments.run_folder import load_config
from common.files import replacing
from common.metrics import clustering_accuracy, match_clusters
from common.report import plots as common_plots
from common.report import tables
from common.report.page_parts import Slider
from common.statistics import paired_differences

from . import plots
from .clustering import kmeans_starts, normality, unit_length
from .config import Config, Trial, trials
from .data import read, scaled, training_images
from .model import Autoencoder, restore
from .tables import COMPARED, NAMES, anomaly_table, differences_table, run_table
from .tables import publish as publish_tables

TSNE_SAMPLES = 3000
METRICS, OUTPUTS, DIFFERENCES = "metrics.json", "outputs.npz", "differences.json"


@dataclass(frozen=True)
class Outputs:
    """What a trained autoencoder gives for images (N, H, W, 1).

    Attributes:
        embeddings: (N, D).
        errors: (N,) mean squared reconstruction error of each image.
    """

    embeddings: np.ndarray
    errors: np.ndarray


def outputs(autoencoder: Autoencoder, images: np.ndarray) -> Outputs:
    """Embeddings and reconstruction errors of images (N, H, W, 1) that are scaled as in training."""
    embeddings, reconstructions = autoencoder.apply(images)
    return Outputs(embeddings, np.mean(np.square(images - reconstructions), axis=(1, 2, 3)))


def clustering_record(
    trained: Outputs, labels: np.ndarray, restarts: int, seed: int
) -> tuple[dict[str, Any], np.ndarray]:
    """Accuracy (Eq. 5.1), NMI and ARI of k-means on the embeddings, and the clusters (N,)."""
    num_clusters = len(np.unique(labels))
    starts = kmeans_starts(trained.embeddings, num_clusters, restarts=restarts, seed=seed)
    clusters = starts[0].labels_
    after = kmeans_starts(unit_length(trained.embeddings), num_clusters, restarts=restarts, seed=seed)[0]
    accuracies = [clustering_accuracy(labels, start.labels_) for start in starts]
    most_accurate = int(np.argmax(accuracies))
    record = {
        "reconstruction_error": float(trained.errors.mean()),
        "accuracy": accuracies[0],
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
        "accuracy_normalized_after_training": clustering_accuracy(labels, after.labels_),
        # How much the choice of the start decides; the labels would have to be known for the second.
        "accuracy_median_start": float(np.median(accuracies)),
        "accuracy_most_accurate_start": accuracies[most_accurate],
        "inertia_excess_of_most_accurate_start": float(starts[most_accurate].inertia_ / starts[0].inertia_ - 1),
    }
    return record, clusters


def anomaly_record(
    trained: Outputs, tested: Outputs, normal: np.ndarray, num_clusters: int, restarts: int, seed: int
) -> dict[str, Any]:
    """ROC AUC of each score on the test set; normal (N,) is the positive class."""
    best = kmeans_starts(trained.embeddings, num_clusters, restarts=restarts, seed=seed)[0]
    scores = anomaly_scores(tested, best.cluster_centers_)
    return {
        "reconstruction_error": float(trained.errors.mean()),
        **{f"auc_{name}": float(roc_auc_score(normal, score)) for name, score in scores.items()},
        "roc": {name: _thinned_roc(normal, score) for name, score in scores.items()},
    }


def anomaly_scores(tested: Outputs, centroids: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (N,) of normality by each method of Table 5.4."""
    return {
        # The publication's is of the network with the L2 constraint (second baseline of section IV-B (pub)).
        "reconstruction": -tested.errors,
        "cluster": normality(tested.embeddings, centroids),  # Eq. 5.6
        # NOTE(paper): whether the column without the constraint divides E(I) by its length is not said, so both are
        # given; under the constraint they are equal.
        "cluster_cosine": normality(unit_length(tested.embeddings), centroids),
    }


def _thinned_roc(normal: np.ndarray, score: np.ndarray, points: int = 101) -> list[list[float]]:
    """[false positive rates, true positive rates] at evenly spaced false positive rates."""
    false_positives, true_positives, _ = roc_curve(normal, score)
    grid = np.linspace(0, 1, points)
    return [np.round(grid, 4).tolist(), np.round(np.interp(grid, false_positives, true_positives), 4).tolist()]


def evaluate_trial(
    config: Config, trial: Trial, data: digits.Digits, folder: Path, arguments: EvaluationArguments
) -> dict[str, Any]:
    """The numbers of one trained autoencoder; cached in its folder.

    For clustering its folder also gets `outputs.npz`: embeddings (N, D), clusters (N,), labels (N,).
    """

    def make() -> dict[str, Any]:
        images, labels = training_images(config, trial, data)
        autoencoder = restore(config, trial, images.shape[1:], folder)
        trained = outputs(autoencoder, images)
        if trial.abnormal_digit is None:
            numbers, clusters = clustering_record(trained, labels, config.kmeans_restarts, trial.seed)
            with replacing(folder / OUTPUTS) as temporary:
                np.savez(temporary, embeddings=trained.embeddings, clusters=clusters, labels=labels)
        else:
            tested = outputs(autoencoder, scaled(data.test_images, config))
            normal = data.test_labels != trial.abnormal_digit
            num_clusters = len(np.unique(labels)) - 1
            numbers = anomaly_record(trained, tested, normal, num_clusters, config.kmeans_restarts, trial.seed)
        return {**asdict(trial), "images": len(images), **numbers}

    written = [folder / OUTPUTS] if trial.abnormal_digit is None else []
    return cached_json(folder / METRICS, [folder / BEST_WEIGHTS], __name__, make, written)


def clustering_differences(results: entry.Results) -> list[dict[str, Any]]:
    """The differences in accuracy between normalizations, over images and seeds: `first`, `second` and the interval.

    A preset of the publication has one normalization. Its run is compared with those in the same folder that differ
    from it in the normalization alone, as far as they have the same seeds. Cached in the run folder.
    """
    files = {name: paths for name in NAMES if (paths := _outputs(results, name))}

    def make() -> dict[str, Any]:
        right = {name: np.stack([_is_right(path) for path in paths]) for name, paths in files.items()}
        return {"differences": paired_differences(right, COMPARED)}

    inputs = [path for paths in files.values() for path in paths]
    return cached_json(results.run / DIFFERENCES, inputs, __name__, make)["differences"]


def _outputs(results: entry.Results, normalization: str) -> list[Path]:
    """The files of the trainings with a normalization, one for each seed; none if not all are there."""
    config, run = results.config, results.run
    if normalization not in config.normalizations:
        name, _, own = config.name.rpartition("_")
        run = run.parent / f"{name}_{normalization}"
        if (own,) != config.normalizations or not _differs_in_normalization_alone(config, run):
            return []
    files = [run / Trial(normalization, seed, None).name / OUTPUTS for seed in config.seeds]
    return files if all(file.exists() for file in files) else []


def _differs_in_normalization_alone(config: Config, run: Path) -> bool:
    """Whether the folder has a run of all the other settings of `config`; seeds and places are none of these."""
    if not (run / "config.json").is_file():
        return False
    ours, theirs = (
        settings_of(to_json(replace(each, normalizations=config.normalizations, seeds=config.seeds)), Config)
        for each in (config, load_config(run, Config))
    )
    return ours == theirs


def _is_right(outputs_file: Path) -> np.ndarray:
    """Which images lie in a cluster that is matched to their digit, (N,) bool."""
    with np.load(outputs_file) as arrays:
        labels, clusters = arrays["labels"], arrays["clusters"]
    digit_of = match_clusters(labels, clusters)
    return labels == [digit_of[cluster] for cluster in clusters]


def report(results: entry.Results) -> tables.Report:
    """Tables and figures of a run."""
    config, figures, sliders = results.config, results.run / "figures", []
    if config.abnormal_digits:
        draw_anomaly(config, results.records, figures / "roc.png")
        captions = {"figures/roc.png": "ROC curves on the test set and their areas, first seed; normal is positive."}
        text = anomaly_table(config, results.records)
    else:
        captions, sliders = draw_clustering(results)
        text = differences_table(clustering_differences(results), "accuracy (points)")
    differences = {"Differences, with 95 % intervals": text} if text else {}
    common_plots.training_curves(results.run, results.trials, {"loss": "mean squared error"})
    captions["figures/loss.png"] = "Training loss (Eqs. 5.4, 5.5)."
    return tables.Report(
        f"{config.name}: {config.architecture} autoencoder on {config.dataset}, {config.epochs} epochs",
        {results.heading: run_table(config, results.records), **differences},
        captions,
        parts=sliders,
    )


def draw_clustering(results: entry.Results) -> tuple[dict[str, str], list[Slider]]:
    """Figures of the first seed: t-SNE (pub Fig. 1), confusion, reconstructions; their captions, and a slider."""
    run, config = results.run, results.config
    first = [trial for trial in results.trials if trial.seed == results.trials[0].seed]
    images, labels = training_images(config, first[0], results.data)
    chosen = np.random.default_rng(0).permutation(len(images))[:TSNE_SAMPLES]
    panels, confusions, rows = {}, {}, {"input": images[:12]}
    for trial in first:
        name = NAMES[trial.normalization]
        with np.load(run / trial.name / OUTPUTS) as arrays:
            panels[name] = arrays["embeddings"][chosen]
            confusions[name] = _matched_confusion(labels, arrays["clusters"])
        if trial.normalization == "none":
            panels[f"{name}, L2 after training"] = unit_length(panels[name])
        rows[name] = restore(config, trial, images.shape[1:], run / trial.name).apply(images[:12])[1]
    if config.pixel_range == "-1..1":
        rows = {name: (row + 1) / 2 for name, row in rows.items()}
    planes = {name: common_plots.in_plane(vectors, cosine=False) for name, vectors in tqdm(panels.items(), "t-SNE")}
    common_plots.embeddings(run / "figures/tsne.png", planes, labels[chosen])
    common_plots.confusion(run / "figures/confusion.png", confusions, "cluster, matched to digit", "digit")
    common_plots.image_rows(run / "figures/reconstructions.png", rows)
    captions = {
        "figures/tsne.png": f"t-SNE of the embeddings of {len(chosen):,} images (publication, Fig. 1).",
        "figures/confusion.png": "Digits against clusters after matching (Eq. 5.1).",
        "figures/reconstructions.png": "Images and their reconstructions.",
    }
    return captions, [Slider.of_rows("Reconstructions", captions["figures/reconstructions.png"], rows)]


def _matched_confusion(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(K, K) counts: digits against clusters, each cluster in the column of its digit."""
    digit_of = match_clusters(labels, clusters)
    return confusion_matrix(labels, [digit_of[cluster] for cluster in clusters])


def draw_anomaly(config: Config, records: list[dict[str, Any]], path: Path) -> None:
    """ROC curves of the first seed, one panel a digit."""
    panels: dict[str, dict[str, Any]] = {}
    for record in records:
        if record["seed"] == config.seeds[0]:
            lines = panels.setdefault(f"abnormal digit {record['abnormal_digit']}", {})
            for score in ("reconstruction", "cluster"):
                name = f"{NAMES[record['normalization']]}, {score}: {record[f'auc_{score}']:.3f}"
                lines[name] = tuple(np.array(rates) for rates in record["roc"][score])
    plots.roc(path, panels)


def publish(results: entry.Results) -> None:
    """Writes a run's numbers, and how they differ, to `results.json`, and renews the pages."""
    publish_tables(results, [] if results.config.abnormal_digits else clustering_differences(results))


evaluate = entry.Evaluation(__package__, Config, trials, read, is_finished, evaluate_trial, report, publish)
main = evaluate.main
