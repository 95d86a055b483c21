"""Classes that are held out of the training and added to the gallery."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from common.datasets.vehicles import VehicleData
from vehicle_attributes import dynamic, results
from vehicle_attributes.config import PRESETS, Trial, trials
from vehicle_attributes.evaluate import evaluate
from vehicle_attributes.recognizer import Recognizer
from vehicle_attributes.train import train

CONFIG = replace(PRESETS["mobilenet_dynamic"][1], held_out=2, added=(1, 3), exemplars=4)
LABELS = np.repeat(["a", "b", "c", "d"], 10)


def test_each_class_has_its_turn_to_be_new():
    turns = [dynamic.held_out_classes(CONFIG, seed, LABELS) for seed in range(3)]
    assert turns == [["a", "b"], ["c", "d"], ["a", "b"]]
    with pytest.raises(ValueError, match="Of 4 classes at most 2 can be held out, got 3: two must remain"):
        dynamic.held_out_classes(replace(CONFIG, held_out=3), 0, LABELS)


def test_gallery_grows_by_the_new_classes_alone():
    rows = {k: dynamic.gallery_rows(CONFIG, 1, LABELS, k) for k in (0, 1, 3)}
    counts = {k: dict(zip(*np.unique(LABELS[found], return_counts=True))) for k, found in rows.items()}
    assert counts == {0: {"a": 4, "b": 4}, 1: {"a": 4, "b": 4, "c": 1, "d": 1}, 3: {"a": 4, "b": 4, "c": 3, "d": 3}}
    assert set(rows[0]) < set(rows[1]) < set(rows[3])


def test_training_lacks_the_new_classes_or_has_just_the_added_exemplars():
    table = pd.DataFrame({"path": np.arange(40).astype(str), "type": LABELS})
    without = dynamic.training_rows(CONFIG, Trial("triplet", 0), table)
    assert set(without["type"]) == {"c", "d"} and len(without) == 20
    again = dynamic.training_rows(CONFIG, Trial("cross_entropy", 0, retrained_with=3), table)
    assert dict(again["type"].value_counts()) == {"c": 10, "d": 10, "a": 3, "b": 3}
    added = set(dynamic.gallery_rows(CONFIG, 0, LABELS, 3)) - set(dynamic.gallery_rows(CONFIG, 0, LABELS, 0))
    assert set(again["path"][again["type"].isin(["a", "b"])]) == {str(i) for i in added}
    assert dynamic.training_rows(replace(CONFIG, held_out=0), Trial("triplet", 0), table) is table


def test_trials_are_one_per_loss_and_one_retrained_classifier_per_growth():
    config = replace(CONFIG, losses=("triplet",), seeds=(0, 1))
    names = [trial.name for trial in trials(config)]
    assert names[:3] == ["triplet-seed0", "retrained1-cross_entropy-seed0", "retrained3-cross_entropy-seed0"]
    assert len(names) == 6


class Oracle(Recognizer):
    """Classes at the corners of a square; the image "a3" is at corner a, turned by 3 hundredths."""

    def __init__(self):
        pass

    classes = {"type": ["c", "d"]}

    def embed(self, paths, boxes=None):
        angles = np.array(["abcd".index(path[0]) * np.pi / 2 + int(path[1:]) / 100 for path in paths])
        return {"embedding": np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")}


def test_accuracies_of_a_perfect_embedding():
    paths = np.array([f"{label}{i % 10}" for i, label in enumerate(LABELS)])
    table = pd.DataFrame({"path": paths, "type": LABELS})
    data = VehicleData(train=table, test=table[::2].reset_index(drop=True))
    # All ten exemplars of each old class: fewer than 19 in all cannot tell where one in twenty lies.
    config = replace(CONFIG, exemplars=10)
    found = dynamic.evaluate_trial(config, Trial("triplet", 0), Oracle(), data)
    assert found["new_classes"] == ["a", "b"] and (found["old_images"], found["new_images"]) == (10, 10)
    assert found["gallery"]["0"] == {"old": 1.0, "new": 0.0, "all": 0.5}
    assert found["gallery"]["1"] == found["gallery"]["3"] == {"old": 1.0, "new": 1.0, "all": 1.0}
    assert found["last_layer"]["3"]["all"] == 1.0
    assert found["unknown"]["auc"] == 1.0 and found["unknown"]["rejected_new"] == 1.0


def test_experiment_from_end_to_end(tmp_path):
    pytest.importorskip("tensorflow")
    config = replace(
        PRESETS["smoke"][1], name="run", held_out=4, added=(1, 2), losses=("triplet",), data_dir=tmp_path / "vehicles",
        runs_dir=tmp_path,
    )  # fmt: skip
    records = evaluate(train(config))
    assert [set(record) & {"gallery", "retrained"} for record in records] == [{"gallery"}, {"retrained"}, {"retrained"}]
    table = results.dynamic_table(config, records)
    assert table.count("\n") == 4 and "None" not in table
    run = tmp_path / "vehicle_attributes/run"
    assert cv2.imread(str(run / "figures/growth.png")).shape[0] > 300
    assert "Unknown classes" in (run / "report.md").read_text()
