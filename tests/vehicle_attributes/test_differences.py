"""Which pairs are compared, over which seeds and test images, and what a reader sees of that."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.datasets.image_folder import LabeledImages
from common.experiments import entry
from common.statistics import paired_difference
from vehicle_attributes import differences as module
from vehicle_attributes.config import PRESETS, trials
from vehicle_attributes.differences import CORRECT, differences
from vehicle_attributes.open_set.tables import differences_table
from vehicle_attributes.tables import converged, run_differences

STATIC = replace(PRESETS["mobilenet"][1], losses=("untrained", "cross_entropy", "triplet"), seeds=(0, 1, 2))
OPEN = replace(PRESETS["mobilenet_open_set"][1], losses=("untrained", "cross_entropy"), added=(1, 5), seeds=(0, 1))
TRUE = np.array(list("aabbccdd"))
DATA = LabeledImages(pd.DataFrame({"type": TRUE}), pd.DataFrame({"type": TRUE}))


def results(config, tmp_path, arrays):
    """A run with a file for each trial: the trial -> its arrays, None for a training that is not finished."""
    done = []
    for trial in trials(config):
        if (values := arrays(trial)) is not None:
            done.append(trial)
            (tmp_path / trial.name).mkdir()
            np.savez(tmp_path / trial.name / CORRECT, **values)
    return entry.Results(tmp_path, config, DATA, 0, done, [], None)


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_losses_are_compared_over_the_seeds_of_both_and_the_test_images(tmp_path):
    """Cross-entropy is right everywhere but once a seed, its classifier likewise; a triplet is missing."""

    def arrays(trial):
        right = np.ones(8, bool)
        if trial.loss == "untrained":
            return {"type_nearest": ~right}
        right[trial.seed] = False
        if trial.loss == "triplet":
            return {"type_nearest": np.arange(8) < 4} if trial.seed < 2 else None
        return {"type_nearest": right, "type_classifier": np.roll(right, 1)}

    values = differences(results(STATIC, tmp_path, arrays))
    pairs = {(v["loss"], v["way"], v["against"]): v for v in values}
    assert list(pairs) == [
        ("cross_entropy", "nearest", "untrained"),
        ("triplet", "nearest", "untrained"),
        ("triplet", "nearest", "cross_entropy"),
        ("cross_entropy", "nearest", "classifier"),
    ]
    assert [v["trainings"] for v in values] == [3, 2, 2, 3]
    assert [v["value"] for v in values] == pytest.approx([7 / 8, 1 / 2, -3 / 8, 0])
    items = [[1.0, 0, 0, 0, -1, -1, -1, -1], [0.0, 1, 0, 0, -1, -1, -1, -1]]  # triplet minus cross-entropy
    expected = paired_difference(items, np.zeros((2, 8)))
    assert [values[2][name] for name in ("low", "high")] == pytest.approx([expected.low, expected.high])
    rows = cells(run_differences(values))
    assert [row[1] for row in rows[2:]] == [
        "triplet loss against cross-entropy loss",
        "cross-entropy loss: nearest exemplar against classifier",
    ]
    assert rows[0][2].startswith("+87.5 (") and rows[0][3:] == ["3", "higher"] and rows[3][4] == "undecided"


def test_ways_are_compared_on_the_images_that_are_new_to_each_seed(tmp_path, monkeypatch):
    """Two of four types are new: a, b by seed 0 and c, d by seed 1. Shares of draws differ by way and image."""
    ways = {"gallery": 0.0, "balanced": 0.5, "votes": 0.25, "class_means": 0.0, "last_layer": 1.0}

    def arrays(trial):
        new = np.isin(TRUE, ["a", "b"] if trial.seed == 0 else ["c", "d"])
        if trial.retrained_with:
            return {f"retrained_{trial.retrained_with}": np.where(new, trial.retrained_with / 10, 1.0)}
        shift = 0.0 if trial.loss == "untrained" else 0.25
        return {
            f"{way}_{k}": np.where(new, share + shift, share + shift - 0.25) + trial.seed / 100
            for way, share in ways.items()
            for k in (1, 5)
        }

    run = results(OPEN, tmp_path, arrays)
    values = differences(run)
    by_pair = {(v["loss"], v["way"], v["against"], v["part"], v["added"]): v["value"] for v in values}
    assert len(values) == len(by_pair) == (5 + 4) * 2 * 2 + 2 and all(v["trainings"] == 2 for v in values)
    for (_, way, against, part, added), value in by_pair.items():
        own = ways[way] + (0.25 if part == "new" else 0) + 0.005
        other = {
            "gallery": 0.005 + (0.25 if part == "new" else 0),
            "untrained": ways["balanced"] + 0.005,
            "retrained": added / 10 if part == "new" else 1,
        }
        assert value == pytest.approx(own - other[against]), (way, against, part, added)
    assert {pair[1:3] for pair in by_pair if pair[2] == "untrained"} == {("balanced", "untrained")}
    # An image has a say with the seeds of its part alone: seed 1 is better by 0.01 on images of its own.
    against = next(v for v in values if v["against"] == "retrained" and v["way"] == "gallery" and v["part"] == "new")
    nan = np.full(4, np.nan)
    items = np.stack([np.concatenate([np.full(4, 0.15), nan]), np.concatenate([nan, np.full(4, 0.16)])])
    expected = paired_difference(items, np.zeros((2, 8)))
    assert [against[name] for name in ("low", "high")] == pytest.approx([expected.low, expected.high])
    monkeypatch.setattr(module, "paired_difference", None)
    assert differences(run) == values  # from the run's folder
    rows = {row[0]: row[1:] for row in cells(differences_table(OPEN, values))}
    assert len(rows) == 10
    assert (
        rows["votes of 20, each of weight 1 / exemplars of its class **against** nearest exemplar, of old classes all"]
        == ["**+25.0** (+25.0 to +25.0)"] * 4
    )
    row = rows["cross-entropy loss **against** untrained: ImageNet's features, pooled"]
    assert row == ["**+25.0** (+25.0 to +25.0)"] * 2 + ["–"] * 2
    row = rows["nearest class mean **against** nearest exemplar, of old classes all"]
    assert row == ["+0.0 (+0.0 to +0.0)"] * 4


def test_a_single_training_decides_nothing(tmp_path):
    config = replace(STATIC, seeds=(4,))
    assert differences(results(config, tmp_path, lambda _: {"type_nearest": np.ones(8)})) == []


def test_what_has_not_converged_is_named_and_not_shown():
    """One of two seeds of the triplet loss still moves, and so does a classifier with five exemplars."""

    def record(loss, seed, still, retrained_with=0):
        return {"loss": loss, "seed": seed, "retrained_with": retrained_with, "converged": still}

    config = replace(OPEN, losses=("untrained", "cross_entropy", "triplet"))
    control = [{"loss": "untrained", "seed": seed, "retrained_with": 0} for seed in (0, 1)]
    still = [*control, *(record("cross_entropy", seed, True, k) for seed in (0, 1) for k in (0, 1))]
    moving = [record("triplet", 0, True), record("triplet", 1, False), record("cross_entropy", 1, False, 5)]
    compared = [
        {"loss": loss, "against": against, "added": k}
        for loss, against in (("cross_entropy", "retrained"), ("cross_entropy", "gallery"), ("triplet", "untrained"))
        for k in (1, 5)
    ]
    shown, decided, names = converged(config, [*still, *moving], compared)
    assert shown == still and decided == [compared[0], *compared[2:4]]
    assert names == ["classifier trained anew with 5", "triplet loss"]
    for unseen in ({"evaluate_every": 0}, {"dataset": "embedded"}):
        assert converged(replace(config, **unseen), moving, compared) == (moving, compared, [])
