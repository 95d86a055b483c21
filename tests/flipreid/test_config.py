"""Presets that are no rows of the publication differ from those, or from each other, in this and in nothing else."""

from dataclasses import replace

import pytest

from flipreid.config import DATA, PRESETS, trials
from tests.helpers import differences

CONFIGS = {name: config for name, (_, config) in PRESETS.items()}


def test_smoke_takes_seconds():
    """Two methods, three steps each with sixteen people, and no file of weights."""
    smoke = CONFIGS["smoke"]
    steps = (smoke.frozen_epochs + smoke.epochs) * smoke.steps_per_epoch
    assert (len(trials(smoke)), steps, smoke.people, smoke.weights) == (2, 3, 16, "none")


def test_small_scale_has_the_parts_of_the_published_one_and_the_aggregator():
    scale = {
        "backbone": "mobilenet_0.25",
        "image_size": [128, 64],
        "methods": ["baseline", "flipreid", "flipping_loss", "aggregator"],
        "frozen_epochs": 5,
        "epochs": 60,
        "steps_per_epoch": 202,
        "learning_rate": 6e-4,
        "warmup_epochs": 3,
        "drop_epochs": [36, 51],
        "l2_factor": 1e-7,
        "seeds": [0, 1, 2],
    }
    paper = CONFIGS["market1501_resnet50"]
    assert differences(CONFIGS["mobilenet"], paper) == scale
    assert differences(CONFIGS["lite0"], paper) == scale | {"backbone": "efficientnet_lite0"}


def test_the_baseline_with_equal_images_has_twice_the_steps_at_each_rate():
    config = CONFIGS["mobilenet"]
    assert differences(CONFIGS["mobilenet_images"], config) == {
        "methods": ["baseline"],
        "warmup_epochs": 2 * config.warmup_epochs,
        "epochs": 2 * config.epochs,
        "drop_epochs": [2 * epoch for epoch in config.drop_epochs],
    }


def test_demo():
    assert differences(CONFIGS["demo"], CONFIGS["mobilenet"]) == {
        "dataset": "synthetic",
        "image_size": [96, 48],
        "methods": ["baseline", "flipreid", "flipping_loss"],
        "frozen_epochs": 2,
        "evaluate_every": 4,
        "warmup_epochs": 1,
        "epochs": 8,
        "steps_per_epoch": 40,
        "learning_rate": 1e-3,
        "drop_epochs": [5, 7],
        "seeds": [0],
    }


def test_data_of_reproduced_presets():
    folders = {"market1501": "Market-1501-v15.09.15", "duke": "DukeMTMC-reID", "msmt17": "MSMT17_V1"}
    weights = {
        "resnet50": "resnet50-0676ba61.pth",
        "ibn_resnet50": "resnet50_ibn_a-d9d0bb7b.pth",
        "resnest50": "resnest50-528c19ca.pth",
    }
    expected = {
        f"{name}_{backbone}": {"data_dir": folder, "weights": file}
        for name, folder in folders.items()
        for backbone, file in weights.items()
    }
    small = dict.fromkeys(("mobilenet", "mobilenet_images"), {"data_dir": folders["market1501"]})
    assert expected | {"demo": {}, **small} == DATA


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "rule"),
    [
        ("l2_factor", 0.0, -1e-9, "must be zero or more"),
        ("padding", 0.0, -0.1, "must be zero or more"),
        ("padding", 0.99, 1.0, "must be a share of height and width below 1"),
        ("gray_patch", 1.0, 1.01, "must be a probability from 0 to 1"),
        ("erasing", 0.0, -0.01, "must be a probability from 0 to 1"),
        ("methods", ("aggregator",), ("aggregator", "aggregator"), "must be one or more different ones"),
    ],
)
def test_bounds_of_settings(name, allowed, refused, rule):
    assert getattr(replace(CONFIGS["demo"], **{name: allowed}), name) == allowed
    with pytest.raises(ValueError, match=f"{name} {rule}"):
        replace(CONFIGS["demo"], **{name: refused})
