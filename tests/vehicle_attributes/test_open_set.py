"""Classes that are held out of the training and added to the gallery."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from common.datasets.image_folder import LabeledImages
from tests.vehicle_attributes.gallery.small_gallery import angles
from tests.vehicle_attributes.test_data import TYPES
from vehicle_attributes import recognizer
from vehicle_attributes.config import PRESETS, Trial, trials
from vehicle_attributes.data import read
from vehicle_attributes.evaluate import evaluate
from vehicle_attributes.gallery.search import nearest
from vehicle_attributes.gallery.validation import unit
from vehicle_attributes.model import build as network
from vehicle_attributes.open_set import measure, split
from vehicle_attributes.recognizer import CLASSES
from vehicle_attributes.train import train

CONFIG = replace(PRESETS["mobilenet_open_set"][1], held_out=2, added=(1, 3), exemplars=4)
LABELS = np.repeat(["a", "b", "c", "d"], 10)


def test_each_class_has_its_turn_to_be_new():
    turns = [split.held_out_classes(CONFIG, seed, LABELS) for seed in range(3)]
    assert turns == [["a", "b"], ["c", "d"], ["a", "b"]]
    with pytest.raises(ValueError, match="Of 4 classes at most 2 can be held out, got 3: two must remain"):
        split.held_out_classes(replace(CONFIG, held_out=3), 0, LABELS)


def test_gallery_grows_by_the_new_classes_alone():
    rows = {k: split.gallery_rows(CONFIG, 1, LABELS, k) for k in (0, 1, 3)}
    counts = {k: dict(zip(*np.unique(LABELS[chosen], return_counts=True))) for k, chosen in rows.items()}
    assert counts == {0: {"a": 4, "b": 4}, 1: {"a": 4, "b": 4, "c": 1, "d": 1}, 3: {"a": 4, "b": 4, "c": 3, "d": 3}}
    assert set(rows[0]) < set(rows[1]) < set(rows[3])


def test_draws_differ_and_balanced_galleries_have_the_same_exemplars_of_new_classes():
    for draw in (0, 1):
        new, balanced = split.gallery_rows(CONFIG, 1, LABELS, 3, draw), split.balanced_rows(1, LABELS, 3, draw)
        assert dict(zip(*np.unique(LABELS[balanced], return_counts=True))) == dict.fromkeys("abcd", 3)
        assert set(balanced) < set(new)  # which has four of each old class
    draws = [set(split.gallery_rows(CONFIG, 1, LABELS, 3, draw)) for draw in range(4)]
    assert all(draws[i] != draws[j] for i in range(4) for j in range(i))


def test_training_lacks_the_new_classes_or_has_just_the_added_exemplars():
    table = pd.DataFrame({"path": np.arange(40).astype(str), "type": LABELS})
    without = split.training_rows(CONFIG, Trial("triplet", 0), table)
    assert set(without["type"]) == {"c", "d"} and len(without) == 20
    assert list(without.columns) == ["path", "type"] and without.index.tolist() == list(range(20))
    again = split.training_rows(CONFIG, Trial("cross_entropy", 0, retrained_with=3), table)
    assert dict(again["type"].value_counts()) == {"c": 10, "d": 10, "a": 3, "b": 3}
    added = set(split.gallery_rows(CONFIG, 0, LABELS, 3)) - set(split.gallery_rows(CONFIG, 0, LABELS, 0))
    assert set(again["path"][again["type"].isin(["a", "b"])]) == {str(i) for i in added}
    assert split.training_rows(replace(CONFIG, held_out=0), Trial("triplet", 0), table) is table


def last_layer(gallery, names, queries):
    """Classes by a softmax regression that SciPy fits: C = 10 times the cross-entropy, classes alike, and ½ ‖W‖²."""
    kinds, classes = np.unique(names, return_inverse=True)
    number, count = len(names), len(kinds)
    weights = number / (count * np.bincount(classes))[classes]
    design = np.concatenate([gallery, np.ones((number, 1))], axis=1)
    shrink = 2 if count == 2 else 1  # scikit-learn has one vector for two classes, the difference of these

    def cost(flat):
        matrix = flat.reshape(design.shape[1], count)
        logits = design @ matrix
        entropy = weights * (logsumexp(logits, axis=1) - logits[np.arange(number), classes])
        slope = design.T @ (weights[:, np.newaxis] * (softmax(logits, axis=1) - np.eye(count)[classes]))
        decay = np.concatenate([matrix[:-1], np.zeros((1, count))])  # not of the bias
        return 10 * entropy.sum() + shrink * np.sum(decay**2) / 2, (10 * slope + shrink * decay).ravel()

    fitted = minimize(cost, np.zeros(design.shape[1] * count), jac=True, tol=1e-9).x.reshape(-1, count)
    return kinds[np.argmax(np.concatenate([queries, np.ones((len(queries), 1))], axis=1) @ fitted, axis=1)]


@pytest.mark.parametrize("kinds", [2, 3])
def test_last_layer_is_a_softmax_regression(kinds):
    """Unbalanced classes on a circle; queries all around it find out where one ends and another begins."""
    points = angles(*range(0, 40, 2), 50, 75, 30, *((80, 100, 150, 61) if kinds == 3 else ())).astype("float32")
    names = np.array(["a"] * 20 + ["b"] * 3 + ["c"] * (4 * (kinds - 2)))
    queries = angles(*np.arange(-20, 180, 0.02)).astype("float32")
    ours, expected = measure._last_layer(points, names, queries), last_layer(points, names, queries)
    assert np.sum(ours != expected) <= kinds - 1  # a query on a border, which C = 11 moves by four


def test_a_vehicle_at_the_threshold_is_accepted():
    """Twenty points of a class with gaps of 1° … 19°: the limit is 19°, at which old and new are accepted."""
    points, names = unit(angles(*np.cumsum(np.arange(20)))), np.array(["a"] * 20)
    limit = np.float32(nearest(points[19:], points[:19], 1)[1][0, 0])
    distances = np.array([limit, 0, np.nextafter(limit, np.float32(2)), limit, 2, np.nextafter(limit, np.float32(2))])
    new = np.array([False, False, False, True, True, True])
    assert measure._rejection(points, names, distances, new) == {
        "auc": (1.5 + 3 + 2.5) / 9,  # pairs in which the new one is farther; equal ones count half
        "threshold": float(limit),
        "accepted_old": pytest.approx(2 / 3),
        "rejected_new": pytest.approx(2 / 3),
    }


@pytest.mark.usefixtures("tiny_backbone")
def test_experiment_from_end_to_end(tmp_path):
    """An untrained network, a trained one and a retrained classifier; what is logged last is what is reported."""
    smoke = PRESETS["smoke"][1]
    config = replace(smoke, name="run", held_out=2, added=(5,), losses=("untrained", "triplet"), runs_dir=tmp_path)
    config = replace(config, exemplars=5, epochs=1, evaluate_every=1, draws=1)
    records = evaluate(train(config))
    ways = set(measure.WAYS)
    assert [set(record) & {*ways, "retrained", "curve"} for record in records] == [
        *(ways, ways | {"curve"}, {"retrained", "curve"}),
    ]
    run = tmp_path / "vehicle_attributes/run"
    classes = [json.loads((run / trial.name / CLASSES).read_text())["type"] for trial in trials(config)]
    assert classes == [["juggernaut", "minibus", "pickup", "truck"]] * 2 + [TYPES]
    assert records[0]["new_classes"] == ["bike", "car"] and records[0]["balanced"].keys() == {"5"}
    assert not (run / "untrained-seed0/log.csv").exists()
    # 40 of the 120 test images are of new types, so the mean over all is that of the parts.
    for record, way in ((records[1], "balanced"), (records[2], "retrained")):
        numbers = record[way]["5"]
        assert record["curve"] == {"1": pytest.approx((2 * numbers["old"] + numbers["new"]) / 3, abs=1e-4)}
    # The page shows the lists of the only draw: their first exemplars are as often right as the record says.
    assert "Nearest exemplars by type, " in (run / "report.html").read_text()
    data, numbers = read(config), records[1]["balanced"]["5"]
    with np.load(run / "triplet-seed0/neighbors.npz") as file:
        right = data.train["type"].to_numpy()[file["type"][:, 0]] == data.test["type"]
        assert np.mean(right) == pytest.approx((2 * numbers["old"] + numbers["new"]) / 3)
        assert file["type_distances"].shape == (120, 5) and (np.diff(file["type_distances"]) >= 0).all()
    # The control is what trainings begin with.
    saved, trained = (recognizer.load(run / trial.name).network for trial in list(trials(config))[:2])
    initial = network(config, Trial("triplet", 0), {"type": 4}).inference_model
    weights = [np.concatenate([np.ravel(w) for w in each.get_weights()]) for each in (initial, saved, trained)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert np.mean(weights[0] != weights[2]) > 0.5
    assert "Unknown classes" in (run / "report.md").read_text()


def test_test_images_of_new_classes_are_needed():
    data = LabeledImages(*(pd.DataFrame({"path": classes, "type": classes}) for classes in (LABELS, ["c", "d"])))
    with pytest.raises(ValueError, match=r"must be of new classes and of others, got 0 of \['a', 'b'\] among 2"):
        measure.open_set_record(CONFIG, Trial("triplet", 0), None, data)
