"""Evaluates a run: recognition by the nearest exemplars, report and figures.

python -m PROJECT.evaluate [RUN] [--publish]
"""

from common.experiments import command
from common.experiments.config import EvaluationArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, EvaluationArguments)

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

from common.datasets.image_folder import LabeledImages
from common.datasets.images import boxes_of, read_image
from common.experiments import entry
from common.experiments.identity import cached_json
from common.experiments.learning_curve import learning_record
from common.files import replacing
from common.report import plots, tables
from common.report.page_parts import Picture, RankedList, RankedLists, Thumbnails, failures_and_spread

from . import recognizer
from .config import UNTRAINED, Config, Trial, trials
from .data import is_finished, read
from .differences import CLASSIFIER, CORRECT, NEAREST, differences
from .gallery.voting import choose_gallery
from .open_set.measure import open_set_record
from .open_set.tables import GROWTH, draw_growth
from .recognition import TEST_ACCURACY, nearest_class_means, nearest_exemplars, scores
from .tables import DIFFERENCES, converged, open_set_sections, publish, run_differences, run_table

METRICS, NEIGHBORS, MAPPED = "metrics.json", "neighbors.npz", "embedding"
_SHOWN = 30  # classes in a figure or a table; with more of them the least accurate ones are shown


def evaluate_trial(
    config: Config, trial: Trial, data: LabeledImages, folder: Path, arguments: EvaluationArguments
) -> dict[str, Any]:
    """The numbers of one trained network; cached in its folder.

    Its folder also gets `correct.npz`, which test images are right, and `neighbors.npz`: for each attribute the rows of
    the training table that are nearest to each test image, and their distances; and unless classes are held out the
    embeddings of some test images, for a map.
    """

    def make() -> dict[str, Any]:
        trained = recognizer.load(folder)
        if config.held_out:
            record, correct, neighbors = open_set_record(config, trial, trained, data)
        else:
            record, correct, neighbors = gallery_record(config, trial, trained, data)
        _save(folder / CORRECT, correct)
        _save(folder / NEIGHBORS, neighbors)
        progress = {} if trial.loss == UNTRAINED else learning_record(folder, TEST_ACCURACY)
        return asdict(trial) | record | progress

    inputs = [folder / recognizer.NETWORK, folder / recognizer.CLASSES]
    return cached_json(folder / METRICS, inputs, __name__, make, [folder / CORRECT, folder / NEIGHBORS])


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def gallery_record(
    config: Config, trial: Trial, trained: recognizer.Recognizer, data: LabeledImages
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The accuracies of each attribute by the nearest exemplars, what is right, and rows and distances (Q, k) of these.

    What is right is (Q,) bool by `ATTRIBUTE_nearest`, and by `ATTRIBUTE_classifier` where the network has one.
    """
    galleries = {a: choose_gallery(data.train[a].to_numpy(), config.exemplars, trial.seed) for a in config.attributes}
    rows = np.unique(np.concatenate(list(galleries.values())))
    exemplars = trained.embed(data.train["path"].iloc[rows], boxes_of(data.train.iloc[rows]))["embedding"]
    outputs = trained.embed(data.test["path"], boxes_of(data.test))
    record, correct = {}, {}
    neighbors = {MAPPED: outputs["embedding"][_mapped_rows(data)]}
    for attribute, gallery in galleries.items():
        features, labels = exemplars[np.isin(rows, gallery)], data.train[attribute].to_numpy()
        true = data.test[attribute].to_numpy()
        indices, neighbors[f"{attribute}_distances"] = nearest_exemplars(outputs["embedding"], features)
        neighbors[attribute] = gallery[indices]  # (Q, k)
        correct[f"{attribute}_{NEAREST}"] = labels[neighbors[attribute][:, 0]] == true
        logits = outputs.get(f"{attribute}_logits")
        if logits is not None:
            classified = np.array(trained.classes[attribute])[np.argmax(logits, axis=1)]
            correct[f"{attribute}_{CLASSIFIER}"] = classified == true
        record[attribute] = scores(
            true,
            labels[neighbors[attribute]],
            nearest_class_means(outputs["embedding"], features, labels[gallery]),
            logits,
            trained.classes[attribute],
        ) | {"exemplars": len(gallery)}
    return record, correct, neighbors


def report(results: entry.Results) -> tables.Report:
    """Tables and figures of a run."""
    config, records = results.config, results.records
    captions, lists = {}, []
    if trained := [trial for trial in results.trials if trial.loss != UNTRAINED]:
        columns = {"loss": "training loss", TEST_ACCURACY: "accuracy on the test images"}
        plots.training_curves(results.run, trained, columns)
        captions["figures/loss.png"] = "Training loss with its L2 penalty, and accuracy while training."
    compared = differences(results)
    if config.held_out:
        sections = open_set_sections(results.heading, config, records, compared)
        draw_growth(results.run / "figures/growth.png", config, converged(config, records, compared)[0])
        captions["figures/growth.png"] = GROWTH
        lists.append(lists_to_browse(config.attributes[0], results))
    else:
        sections = {results.heading: run_table(config, records)}
        if compared:
            sections[DIFFERENCES] = run_differences(compared)
        for attribute in config.attributes:
            sections[f"Accuracy (%) by {attribute}"] = class_table(attribute, results)
            captions |= draw_attribute(attribute, results)
            lists.append(lists_to_browse(attribute, results))
        captions |= draw_map(results)
    return tables.Report(
        f"{config.name}: {config.backbone} on {config.dataset}, {config.epochs} epochs", sections, captions, parts=lists
    )


def class_table(attribute: str, results: entry.Results) -> str:
    """Images of each class and its accuracy with each loss, mean over the seeds; the least accurate classes first."""
    config, data, records = results.config, results.data, results.records
    by_loss = {
        loss: pd.DataFrame([r[attribute]["class_accuracies"] for r in records if r["loss"] == loss]).mean()
        for loss in config.losses
        if any(r["loss"] == loss for r in records)
    }
    table = pd.DataFrame(by_loss)
    train, test = (part[attribute].value_counts() for part in (data.train, data.test))
    rows = []
    for name in table.mean(axis=1).sort_values(kind="stable").index[:_SHOWN]:
        images = int(train.get(name, 0))
        cells = [f"{100 * value:.1f}" for value in table.loc[name]]
        rows.append([name, images, min(images, config.exemplars), int(test[name]), *cells])
    return tables.table([attribute, "training images", "exemplars", "test images", *by_loss], rows)


def draw_attribute(attribute: str, results: entry.Results) -> dict[str, str]:
    """Confusion of the first seed with each loss, and the nearest exemplars of test images with the best of them.

    Returns:
        Their captions.
    """
    run, data = results.run, results.data
    rankings = _rankings(attribute, run, [trial for trial in results.trials if trial.seed == results.trials[0].seed])
    labels, true = data.train[attribute].to_numpy(), data.test[attribute].to_numpy()
    names = list(pd.Series(true).value_counts().index[:_SHOWN].sort_values())
    matrices = {name: confusion_matrix(true, labels[rows[:, 0]], labels=names) for name, (rows, _) in rankings.items()}
    x_label = f"{attribute} of the nearest exemplar"
    plots.confusion(run / f"figures/confusion_{attribute}.png", matrices, x_label, attribute, names)
    best = _most_accurate(rankings, labels, true)
    nearest, distances = rankings[best]
    columns: dict[str, list[plots.RankedList]] = {}
    for i in _spread(true, labels[nearest[:, 0]] == true):
        pictures = [_vehicle(data.test, i), *(_vehicle(data.train, j) for j in nearest[i])]
        ranked = plots.RankedList(pictures, labels[nearest[i]] == true[i], distances[i], true[i])
        columns.setdefault("recognized" if ranked.right[0] else "not recognized", []).append(ranked)
    plots.ranked_lists(run / f"figures/nearest_{attribute}.png", columns)
    return {
        f"figures/confusion_{attribute}.png": f"Test images by their {attribute} and that of the nearest exemplar.",
        f"figures/nearest_{attribute}.png": (
            f"Test images and the nearest exemplars with cosine distances: ✓ and blue, of the same {attribute}; ✗ and "
            f"vermilion, of another; {best}."
        ),
    }


def lists_to_browse(attribute: str, results: entry.Results) -> RankedLists:
    """The nearest exemplars of test images by the most accurate training; those with a wrong nearest one come first."""
    train, test, thumbnails = results.data.train, results.data.test, Thumbnails()
    labels, true = train[attribute].to_numpy(), test[attribute].to_numpy()
    rankings = _rankings(attribute, results.run, results.trials)
    best = _most_accurate(rankings, labels, true)
    nearest, distances = rankings[best]
    matches = labels[nearest] == true[:, np.newaxis]
    failures, spread = failures_and_spread(matches @ 0.5 ** np.arange(matches.shape[1]))

    def picture(table: pd.DataFrame, row: int, detail: str, right: bool) -> Picture:
        source = thumbnails.of(table["path"].iloc[row], _box(table, row))
        return Picture(source, str(table[attribute].iloc[row]), detail, right)

    lists = {}
    for i in sorted({*failures, *spread}):
        title = f"Test image {i}, {true[i]}: recognized as {labels[nearest[i, 0]]}"
        near = [picture(train, *of) for of in zip(nearest[i], (f"{d:.3f}" for d in distances[i]), matches[i])]
        lists[i] = RankedList(title, picture(test, i, "", True), near)
    caption = f"The nearest exemplars by cosine distance: ✓ of the same {attribute}, ✗ of another one."
    heading = f"Nearest exemplars by {attribute}, {best}"
    return RankedLists(heading, caption, lists, failures, spread, [f"figures/nearest_{attribute}.png"])


def _rankings(attribute: str, run: Path, trained: Sequence[Trial]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training -> rows (Q, k) of the nearest exemplars, and their distances; without classifiers trained anew."""
    rankings = {}
    for trial in trained:
        with np.load(run / trial.name / NEIGHBORS) as file:
            if attribute in file:
                rankings[trial.name] = file[attribute], file[f"{attribute}_distances"]
    return rankings


def _most_accurate(rankings: dict[str, tuple[np.ndarray, np.ndarray]], labels: np.ndarray, true: np.ndarray) -> str:
    """The training whose nearest exemplar is of the right class most often."""
    return max(rankings, key=lambda name: np.mean(labels[rankings[name][0][:, 0]] == true))


def _mapped_rows(data: LabeledImages, count: int = 1000) -> np.ndarray:
    """Rows of the test table for a map: all of them, or so many at random."""
    return np.random.default_rng(0).permutation(len(data.test))[:count]


def draw_map(results: entry.Results) -> dict[str, str]:
    """The embeddings of test images in the plane, with each loss of the first seed; returns the caption."""
    attribute, points = results.config.attributes[0], {}
    for trial in results.trials:
        if trial.seed == results.trials[0].seed:
            with np.load(results.run / trial.name / NEIGHBORS) as file:
                points[trial.loss] = plots.in_plane(file[MAPPED])
    labels = results.data.test[attribute].to_numpy()[_mapped_rows(results.data)]
    plots.embeddings(results.run / "figures/embeddings.png", points, labels, columns=2)
    return {"figures/embeddings.png": f"t-SNE of the embeddings of {len(labels):,} test images, by {attribute}."}


def _spread(true: np.ndarray, right: np.ndarray, count: int = 6) -> list[int]:
    """Some test images of different classes, half of them recognized and half not, as far as there are such."""
    chosen: list[int] = []
    for wanted, number in ((True, count // 2), (False, count)):
        firsts = pd.Series(np.flatnonzero(right == wanted)).groupby(true[right == wanted]).first()
        chosen += list(firsts.iloc[np.linspace(0, len(firsts) - 1, min(number, len(firsts))).astype(int)])
    return [int(i) for i in chosen[:count]]


def _vehicle(table: pd.DataFrame, row: int) -> np.ndarray:
    return read_image(table["path"].iloc[row], (96, 96), _box(table, row))


def _box(table: pd.DataFrame, row: int) -> tuple[int, ...] | None:
    boxes = boxes_of(table.iloc[[row]])
    return None if boxes is None else tuple(boxes[0])


evaluate = entry.Evaluation(__package__, Config, trials, read, is_finished, evaluate_trial, report, publish)
main = evaluate.main
