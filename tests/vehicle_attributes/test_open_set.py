"""Classes that are held out of the training and added to the gallery."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from common.datasets.image_folder import LabeledImages
from vehicle_attributes import open_set
from vehicle_attributes.config import PRESETS, Trial, trials
from vehicle_attributes.evaluate import evaluate
from vehicle_attributes.recognizer import Recognizer
from vehicle_attributes.tables import open_set_table
from vehicle_attributes.train import train

CONFIG = replace(PRESETS["mobilenet_open_set"][1], held_out=2, added=(1, 3), exemplars=4)
LABELS = np.repeat(["a", "b", "c", "d"], 10)


def test_each_class_has_its_turn_to_be_new():
    turns = [open_set.held_out_classes(CONFIG, seed, LABELS) for seed in range(3)]
    assert turns == [["a", "b"], ["c", "d"], ["a", "b"]]
    with pytest.raises(ValueError, match="Of 4 classes at most 2 can be held out, got 3: two must remain"):
        open_set.held_out_classes(replace(CONFIG, held_out=3), 0, LABELS)


def test_gallery_grows_by_the_new_classes_alone():
    rows = {k: open_set.gallery_rows(CONFIG, 1, LABELS, k) for k in (0, 1, 3)}
    counts = {k: dict(zip(*np.unique(LABELS[chosen], return_counts=True))) for k, chosen in rows.items()}
    assert counts == {0: {"a": 4, "b": 4}, 1: {"a": 4, "b": 4, "c": 1, "d": 1}, 3: {"a": 4, "b": 4, "c": 3, "d": 3}}
    assert set(rows[0]) < set(rows[1]) < set(rows[3])


def test_training_lacks_the_new_classes_or_has_just_the_added_exemplars():
    table = pd.DataFrame({"path": np.arange(40).astype(str), "type": LABELS})
    without = open_set.training_rows(CONFIG, Trial("triplet", 0), table)
    assert set(without["type"]) == {"c", "d"} and len(without) == 20
    again = open_set.training_rows(CONFIG, Trial("cross_entropy", 0, retrained_with=3), table)
    assert dict(again["type"].value_counts()) == {"c": 10, "d": 10, "a": 3, "b": 3}
    added = set(open_set.gallery_rows(CONFIG, 0, LABELS, 3)) - set(open_set.gallery_rows(CONFIG, 0, LABELS, 0))
    assert set(again["path"][again["type"].isin(["a", "b"])]) == {str(i) for i in added}
    assert open_set.training_rows(replace(CONFIG, held_out=0), Trial("triplet", 0), table) is table


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
    data = LabeledImages(train=table, test=table[::2].reset_index(drop=True))
    # All ten exemplars of each old class: fewer than 19 in all cannot tell where one in twenty lies.
    config = replace(CONFIG, exemplars=10)
    record = open_set.open_set_record(config, Trial("triplet", 0), Oracle(), data)
    assert record["new_classes"] == ["a", "b"] and (record["old_images"], record["new_images"]) == (10, 10)
    assert record["gallery"]["0"] == {"old": 1.0, "new": 0.0, "all": 0.5}
    assert record["gallery"]["1"] == record["gallery"]["3"] == {"old": 1.0, "new": 1.0, "all": 1.0}
    assert record["class_means"]["0"] == {"old": 1.0, "new": 0.0, "all": 0.5}
    assert record["class_means"]["1"]["all"] == record["last_layer"]["3"]["all"] == 1.0
    assert record["unknown"]["auc"] == 1.0 and record["unknown"]["rejected_new"] == 1.0


@pytest.mark.usefixtures("tiny_backbone")
def test_experiment_from_end_to_end(tmp_path):
    pytest.importorskip("tensorflow")
    smoke = PRESETS["smoke"][1]
    config = replace(smoke, name="run", held_out=2, added=(1, 2), losses=("triplet",), runs_dir=tmp_path)
    records = evaluate(train(config))
    assert [set(record) & {"gallery", "retrained"} for record in records] == [{"gallery"}, {"retrained"}, {"retrained"}]
    table = open_set_table(config, records)
    assert table.count("\n") == 5 and "None" not in table
    run = tmp_path / "vehicle_attributes/run"
    assert cv2.imread(str(run / "figures/growth.png")).shape[0] > 300
    assert "Unknown classes" in (run / "report.md").read_text()
