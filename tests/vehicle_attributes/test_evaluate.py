"""Every number of an evaluation against a program of its own: the network is a known function of a color, an angle."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from common.datasets.image_folder import LabeledImages
from common.experiments import entry
from common.experiments.config import EvaluationArguments
from common.experiments.run_folder import open_run
from common.report import plots
from tests.helpers import assert_figures
from tests.vehicle_attributes.colors import (
    CLASSES,
    CONFIG,
    MAKES,
    SHIFT,
    TYPES,
    by_logits,
    by_means,
    neighbors_of,
    points,
    rows_of,
    share,
    trained,
    write_cars,
)
from vehicle_attributes import evaluate as evaluation
from vehicle_attributes import recognizer
from vehicle_attributes.config import Trial, trials
from vehicle_attributes.data import read
from vehicle_attributes.differences import CORRECT
from vehicle_attributes.evaluate import METRICS, NEIGHBORS, evaluate
from vehicle_attributes.export.__main__ import export
from vehicle_attributes.gallery.voting import choose_gallery

pytestmark = pytest.mark.filterwarnings("ignore:.* the published set:UserWarning")


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    return write_cars(tmp_path_factory.mktemp("cars"))


def expected(data, loss, attribute):
    """The record of an attribute, the rows of the five nearest exemplars, and the classes of the nearest one."""
    labels, true = data.train[attribute].to_numpy(), data.test[attribute].to_numpy()
    rows = choose_gallery(labels, 13, 2)
    queries, gallery = (points(table, SHIFT[loss]) for table in (data.test, data.train.iloc[rows]))
    nearest = rows[neighbors_of(queries, gallery, 5)[1]]
    first = labels[nearest[:, 0]]
    hits = pd.Series(first == true).groupby(true).mean().to_dict()
    votes = [Counter(row).most_common(1)[0][0] for row in labels[nearest]]  # of equally frequent ones the first
    record = {
        "accuracy": share(true, first),
        "macro_accuracy": np.mean(list(hits.values())),
        "accuracy_of_vote": share(true, votes),
        "accuracy_of_class_means": share(true, by_means(queries, gallery, labels[rows])),
        "accuracy_of_classifier": None,
        "class_accuracies": hits,
        "exemplars": len(rows),
    }
    if loss == "cross_entropy":
        record["accuracy_of_classifier"] = share(true, by_logits(data.test, CLASSES[attribute]))
    return record, nearest, first


def flat(record):
    return {**record, "class_accuracies": None, **record["class_accuracies"]}


@pytest.fixture(scope="module")
def run(cars, tmp_path_factory):
    """An evaluated run, its data, and what was plotted, the arguments of each figure."""
    config = replace(CONFIG, data_dir=cars, runs_dir=tmp_path_factory.mktemp("runs"))
    folder, plotted = open_run(config, "vehicle_attributes"), {}
    for trial in trials(config):
        (folder / trial.name).mkdir()
        recognizer.save(trained(trial.loss, CLASSES), folder / trial.name)
        (folder / trial.name / "log.csv").write_text("epoch,loss,test_accuracy\n1,2.0,0.5\n2,1.0,0.625\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("confusion", "ranked_lists", "embeddings"):
            draw = getattr(plots, name)
            patch.setattr(
                plots, name, lambda path, *a, draw=draw, **o: plotted.update({path.stem: a}) or draw(path, *a, **o)
            )
        evaluate(folder)
    return folder, read(config), plotted


@pytest.mark.parametrize("loss", CONFIG.losses)
def test_every_number_of_a_training(run, loss):
    folder, data, _ = run
    metrics = json.loads((folder / f"{loss}-seed2" / METRICS).read_text())
    assert {name: metrics.pop(name) for name in ("loss", "seed", "retrained_with")} == {
        "loss": loss,
        "seed": 2,
        "retrained_with": 0,
    }
    assert (metrics.pop("curve"), metrics.pop("converged")) == ({"1": 0.5, "2": 0.625}, False)
    assert metrics.keys() == {"type", "make", "made_from"}
    with np.load(folder / f"{loss}-seed2" / CORRECT) as file:
        correct = dict(file)
    assert correct.keys() == {
        f"{attribute}_{way}"
        for attribute in ("type", "make")
        for way in ("nearest", *(["classifier"] if loss == "cross_entropy" else []))
    }
    for attribute in ("type", "make"):
        record, nearest, first = expected(data, loss, attribute)
        assert flat(metrics[attribute]) == pytest.approx(flat(record), abs=1e-9)
        assert record["exemplars"] == {"type": 39, "make": 52}[attribute]
        with np.load(folder / f"{loss}-seed2" / NEIGHBORS) as file:
            np.testing.assert_array_equal(file[attribute], nearest)
            assert file[f"{attribute}_distances"].shape == nearest.shape
            assert (np.diff(file[f"{attribute}_distances"]) >= 0).all()
        true = data.test[attribute].to_numpy()
        np.testing.assert_array_equal(correct[f"{attribute}_nearest"], first == true)
        if loss == "cross_entropy":
            classified = by_logits(data.test, CLASSES[attribute])
            np.testing.assert_array_equal(correct[f"{attribute}_classifier"], classified == true)
        if attribute == "type":  # each class of the test is in the gallery
            macro = balanced_accuracy_score(data.test["type"], first)
            assert metrics["type"]["macro_accuracy"] == pytest.approx(macro)
        else:  # and here one is not, which is an error
            assert metrics["make"]["class_accuracies"]["Zastava"] == 0


def test_every_cell_of_the_report(run):
    folder, data, _ = run
    text = (folder / "report.md").read_text()
    assert text.startswith("# run: resnet50 on compcars, 120 epochs\n")
    records = {(a, loss): expected(data, loss, a)[0] for a in ("type", "make") for loss in CONFIG.losses}
    titles = {"cross_entropy": "cross-entropy loss", "triplet": "triplet loss"}
    names = ("macro_accuracy", "accuracy_of_vote", "accuracy_of_class_means", "accuracy_of_classifier")
    assert rows_of(text, "Paper and this run (2 of 2 trainings)") == [
        [
            *(attribute, titles[loss], "–", f"{100 * record['accuracy']:.2f}", f"{100 * record['accuracy']:.1f}"),
            *("–" if record[name] is None else f"{100 * record[name]:.2f}" for name in names),
            str(record["exemplars"]),
            "1: 50.0, 2: 62.5" if attribute == "make" else "–",  # it is the last attribute that is looked at
        ]
        for (attribute, loss), record in records.items()
    ]
    assert rows_of(text, "Paper and this run (2 of 2 trainings)", 0)[0] == [
        *("attribute", "loss", "accuracy, paper (%)", "accuracy (%)", "each seed (%)", "macro (%)", "vote of 5 (%)"),
        *("class means (%)", "classifier accuracy (%)", "exemplars", "% by epoch"),
    ]
    for attribute in ("type", "make"):
        assert rows_of(text, f"Accuracy (%) by {attribute}", 0)[0] == [
            *(attribute, "training images", "exemplars", "test images", "cross_entropy", "triplet"),
        ]
        shares = [records[attribute, loss]["class_accuracies"] for loss in CONFIG.losses]
        order = sorted(shares[0], key=lambda name: sum(of_loss[name] for of_loss in shares))
        counts = [Counter(table[attribute]) for table in (data.train, data.test)]
        assert rows_of(text, f"Accuracy (%) by {attribute}") == [
            [
                *(name, str(counts[0][name]), str(min(counts[0][name], 13)), str(counts[1][name])),
                *(f"{100 * of_loss[name]:.1f}" for of_loss in shares),
            ]
            for name in order
        ]
    numbers = json.loads((folder / "report.json").read_text())
    assert [flat(trial["type"])["accuracy"] for trial in numbers["trials"]] == [
        pytest.approx(records["type", loss]["accuracy"]) for loss in CONFIG.losses
    ]


def test_figures_show_the_neighbors(run):
    folder, data, plotted = run
    assert_figures(folder, "loss", "confusion_type", "confusion_make", "nearest_type", "nearest_make")
    for attribute, names in (("type", TYPES), ("make", MAKES)):
        true, of_losses = data.test[attribute], {loss: expected(data, loss, attribute) for loss in CONFIG.losses}
        matrices, x_label, y_label, shown = plotted[f"confusion_{attribute}"]
        assert (x_label, y_label, list(shown)) == (f"{attribute} of the nearest exemplar", attribute, names)
        for loss, (_, _, first) in of_losses.items():
            np.testing.assert_array_equal(
                matrices[f"{loss}-seed2"], confusion_matrix(true, first, labels=names), err_msg=loss
            )
        _, nearest, first = max(of_losses.values(), key=lambda values: values[0]["accuracy"])
        (columns,) = plotted[f"nearest_{attribute}"]
        assert list(columns) == ["recognized", "not recognized"]
        for ranked in (each for lists in columns.values() for each in lists):
            row, match = ranked.images, ranked.right
            assert [image.shape for image in row] == [(96, 96, 3)] * 6
            # Each image is flat, as its box is; the query is told by its color.
            colors = [tuple(image[48, 48]) for image in row]
            assert all((image == image[48, 48]).all() for image in row)
            (i,) = [i for i, path in enumerate(data.test["path"]) if middle(data.test, i) == colors[0]]
            assert colors[1:] == [middle(data.train, j) for j in nearest[i]]
            np.testing.assert_array_equal(match, data.train[attribute].to_numpy()[nearest[i]] == true[i])
            assert ranked.title == true[i] and len(ranked.distances) == len(match)
        right, wrong = ([bool(ranked.right[0]) for ranked in lists] for lists in columns.values())
        assert all(right) and 0 < len(right) <= 3 and not any(wrong) and len(right) + len(wrong) <= 6


def test_the_page_of_a_run_in_a_browser(run, browser):
    """The nearest exemplars of the most accurate training, wrong ones first, then those with the fewest right ones."""
    folder, data, _ = run
    browser.open_report(folder)
    for part, attribute in enumerate(("type", "make")):
        records = {loss: expected(data, loss, attribute) for loss in CONFIG.losses}
        best = max(records, key=lambda loss: records[loss][0]["accuracy"])
        heading = f"document.querySelectorAll('.lists')[{part}].parentNode.querySelector('h2').textContent"
        assert browser.value(heading) == f"Nearest exemplars by {attribute}, {best}-seed2"
        _, nearest, first = records[best]
        true = data.test[attribute].to_numpy()
        right = data.train[attribute].to_numpy()[nearest] == true[:, np.newaxis]
        order = sorted(range(len(true)), key=lambda i: (right[i].tolist(), i))
        titles = [f"Test image {i}, {true[i]}: recognized as {first[i]}" for i in order[:30]]
        assert browser.shown_lists(part) == titles[:5]
        browser.value(f"document.querySelectorAll('.lists .next')[{part}].click()")
        assert browser.shown_lists(part) == titles[5:10]
        sign = f"document.querySelectorAll('.lists')[{part}].querySelector('article:not([hidden]) .query + figure')"
        assert browser.value(f"{sign}.className") == ("right" if first[order[5]] == true[order[5]] else "wrong")


def test_map_has_the_test_images_by_their_first_attribute(run):
    """All of them, fewer than a thousand; in the order of a seeded shuffle."""
    folder, data, plotted = run
    points, labels = plotted["embeddings"]
    order = np.random.default_rng(0).permutation(len(data.test))
    np.testing.assert_array_equal(labels, data.test["type"].to_numpy()[order])
    assert list(points) == list(CONFIG.losses) and all(p.shape == (len(labels), 2) for p in points.values())
    with np.load(folder / "triplet-seed2" / NEIGHBORS) as file:
        again = recognizer.load(folder / "triplet-seed2").embed(data.test["path"], evaluation.boxes_of(data.test))
        np.testing.assert_allclose(file["embedding"], again["embedding"][order], atol=1e-5)


def middle(table, row):
    """RGB in the middle of the box of an image."""
    path, left, top = table.iloc[row][["path", "left", "top"]]
    return tuple(cv2.imread(path)[top + 10, left + 15, ::-1])


def test_numbers_are_cached_while_network_and_classes_are_the_same(run, tmp_path, monkeypatch):
    run, data, _ = run
    folder = shutil.copytree(run, tmp_path / "copy") / "cross_entropy-seed2"
    before = json.loads((folder / METRICS).read_text())

    def numbers():
        return evaluation.evaluate_trial(CONFIG, Trial("cross_entropy", 2), data, folder, EvaluationArguments())

    with monkeypatch.context() as patch:
        patch.setattr(recognizer, "load", None)
        assert numbers() == before
    swapped = {**CLASSES, "type": CLASSES["type"][::-1]}
    (folder / recognizer.CLASSES).write_text(json.dumps(swapped))
    after = numbers()
    predicted = np.array(swapped["type"])[[CLASSES["type"].index(c) for c in by_logits(data.test, CLASSES["type"])]]
    assert after["type"]["accuracy_of_classifier"] == pytest.approx(share(data.test["type"], predicted))
    assert after["make"] == before["make"]
    recognizer.save(trained("triplet", CLASSES), folder)
    assert numbers()["make"]["accuracy"] == pytest.approx(expected(data, "triplet", "make")[0]["accuracy"])


def test_a_table_of_classes_has_the_thirty_least_accurate_ones():
    """Means over the seeds; class 7 is the least accurate one, and equal ones come by name; 30 and 31 are not shown."""
    names = [f"{i:02}" for i in range(32)]
    accuracies = dict.fromkeys(names, 0.4) | {"07": 0.0}
    records = [
        {"loss": "triplet", "type": {"class_accuracies": {n: a + shift for n, a in accuracies.items()}}}
        for shift in (0.1, 0.2)
    ]
    train, test = (pd.DataFrame({"type": np.repeat(names, count)}) for count in (20, 3))
    config = replace(CONFIG, losses=("triplet", "arcface"))
    results = entry.Results(None, config, LabeledImages(train, test), 2, [], records, None)
    rows = rows_of(f"## \n\n{evaluation.class_table('type', results)}", "")
    assert rows[0] == ["07", "20", "13", "3", "15.0"] and rows[1] == ["00", "20", "13", "3", "55.0"]
    assert [row[0] for row in rows] == ["07", *names[:7], *names[8:30]]


def test_shown_queries_are_of_different_classes_and_half_of_them_right():
    """The right ones of a to d: the first of the first, of the middle and of the last class; wrong ones of a and b."""
    true, right = np.array(list("aabbccddab")), np.array([0, 1, 1, 1, 1, 0, 1, 1, 0, 0], bool)
    assert evaluation._spread(true, right) == [1, 2, 6, 0, 9, 5]
    assert evaluation._spread(true, ~right & False) == [0, 2, 4, 6]
    assert evaluation._spread(np.array(list("abcdefgh")), np.zeros(8, bool)) == [0, 1, 2, 4, 5, 7]


def test_figures_are_of_the_first_seed(tmp_path, monkeypatch):
    """A training class that no test image has is no row; the best network is the one whose neighbors are right."""
    plotted = []
    monkeypatch.setattr(plots, "confusion", lambda *arguments: plotted.append(arguments))
    monkeypatch.setattr(plots, "ranked_lists", lambda *arguments: plotted.append(arguments))
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), "uint8"))
    train, test = (pd.DataFrame({"path": [str(tmp_path / "a.png")] * 3, "type": list(t)}) for t in ("0ab", "baa"))
    planned = [Trial("triplet", 3), Trial("triplet", 4), Trial("arcface", 3)]
    for trial, nearest in zip(planned, ([[2, 0], [1, 0], [0, 1]], [[2, 0], [1, 0], [1, 0]], [[1, 0], [1, 2], [0, 1]])):
        (tmp_path / trial.name).mkdir()
        np.savez(tmp_path / trial.name / NEIGHBORS, type=nearest, type_distances=[[0.1, 0.2]] * 3)
    results = entry.Results(tmp_path, CONFIG, LabeledImages(train, test), 3, planned, [], None)
    captions = evaluation.draw_attribute("type", results)
    (_, matrices, *_, names), (_, columns) = plotted
    assert {name: matrix.tolist() for name, matrix in matrices.items()} == {
        "triplet-seed3": [[1, 0], [0, 1]],
        "arcface-seed3": [[1, 0], [1, 0]],
    }
    assert list(names) == ["a", "b"] and "triplet-seed3" in captions["figures/nearest_type.png"]
    lists = [each for column in columns.values() for each in column]
    assert [len(each.images) for each in lists] == [3] * 3  # a and b are right, another a is not
    assert [each.right.tolist() for each in columns["recognized"]] == [[True, False], [True, False]]
    assert [each.right.tolist() for each in columns["not recognized"]] == [[False, True]]
    assert all(list(each.distances) == [0.1, 0.2] for each in lists)


@pytest.mark.tensorflow
def test_a_run_leaves_as_a_savedmodel_with_its_classes(run, tmp_path):
    import tensorflow as tf

    folder, data, _ = run
    trial = next(trials(CONFIG))
    written = export(folder, trial=trial.name, out=tmp_path / "exported")
    assert (written / "classes.json").read_bytes() == (folder / trial.name / "classes.json").read_bytes()
    network = recognizer.load(folder / trial.name).network
    images = np.random.default_rng(0).integers(0, 256, (2, *network.input_shape[1:]), "uint8")
    loaded = tf.saved_model.load(written)  # which holds the weights
    outputs = loaded.recognize(images)
    for name, values in network(images).items():
        np.testing.assert_allclose(outputs[name], values, atol=1e-5)
