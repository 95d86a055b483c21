"""Presets that are no rows of the publication differ from those, or from each other, in this and in nothing else."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from adaptive_l2.config import CONTROLS, DATA, EVALUATION_ARGUMENTS, PRESETS, ROWS, DigitsConfig, trials
from common.schedules import WarmUpAndDrops
from tests.helpers import differences

CONFIGS = {name: config for name, (_, config) in PRESETS.items()}
# The scale of two CPU cores: an eighth of the width of the network, a ninth of the pixels, 13,130 of 44,000 steps.
SCALE = {
    "backbone": "mobilenet_0.25",
    "image_size": [128, 64],
    "padding": 6,
    "frozen_epochs": 5,
    "epochs": 60,
    "steps_per_epoch": 202,
    "learning_rate": 6e-4,
    "warmup_epochs": 3,
    "drop_epochs": [36, 51],
    "constant_factor": 1e-7,
    "amplitude": 1e-6,
    "sigmoid_bound": 7.0,
    "seeds": [0, 1, 2],
}


@pytest.mark.parametrize("row", ["minimal", "triplet", "regional", "erasing", "clipping", "baseline", "adaptive"])
def test_rows_at_a_small_scale_have_the_parts_of_the_published_ones(row):
    paper = CONFIGS[f"market1501_{row}"]
    assert differences(CONFIGS[f"mobilenet_{row}"], paper) == SCALE
    assert differences(CONFIGS[f"lite0_{row}"], paper) == SCALE | {"backbone": "efficientnet_lite0"}


def test_deeper_networks_have_no_small_scale():
    assert sorted(name for name in CONFIGS if name.startswith("mobilenet")) == sorted(
        f"mobilenet_{row}" for row in (*ROWS, *CONTROLS) if "resnet" not in row
    )


def test_the_control_shares_one_factor():
    assert differences(CONFIGS["mobilenet_shared"], CONFIGS["mobilenet_adaptive"]) == {"regularizations": ["shared"]}


def falls(config):
    """By how much of 2c a factor falls from 1/2 on, at Adam's one learning rate a step."""
    rate = WarmUpAndDrops(config.learning_rate, config.steps_per_epoch, config.warmup_epochs, config.drop_epochs)
    steps = np.arange(config.epochs * config.steps_per_epoch)
    return float(keras.ops.sum(rate(steps))) / (2 * config.sigmoid_bound)


def test_factors_fade_as_in_the_publication_at_any_scale():
    published = falls(CONFIGS["market1501_adaptive"])
    assert published == pytest.approx(1.574 / 5, abs=1e-3)
    assert falls(CONFIGS["mobilenet_adaptive"]) == pytest.approx(published, abs=0.005)
    assert falls(CONFIGS["demo"]) == pytest.approx(published, abs=0.005)


def test_demo():
    assert differences(CONFIGS["demo"], CONFIGS["mobilenet_adaptive"]) == {
        "dataset": "synthetic",
        "regularizations": ["constant", "adaptive"],
        "image_size": [96, 48],
        "padding": 4,
        "frozen_epochs": 2,
        "evaluate_every": 4,
        "warmup_epochs": 1,
        "epochs": 10,
        "steps_per_epoch": 50,
        "learning_rate": 1e-3,
        "drop_epochs": [7, 9],
        "sigmoid_bound": 0.5,
        "seeds": [0],
    }


def test_smoke_takes_seconds():
    """Two kinds of factors, two stages each of four steps with sixteen people, and no file of weights."""
    smoke = CONFIGS["smoke"]
    steps = (smoke.frozen_epochs + smoke.epochs) * smoke.steps_per_epoch
    assert (len(trials(smoke)), steps, smoke.people, smoke.weights) == (2, 8, 16, "none")


def test_data_of_reproduced_presets():
    folders = {"market1501": "Market-1501-v15.09.15", "duke": "DukeMTMC-reID", "msmt17": "MSMT17_V1"}
    expected = {f"{name}_{row}": {"data_dir": folder} for name, folder in folders.items() for row in ROWS}
    expected |= {
        f"mobilenet_{row}": {"data_dir": folders["market1501"]} for row in (*ROWS, "shared") if "resnet" not in row
    }
    assert expected | {"demo": {}} == DATA
    assert (
        dict.fromkeys(("demo", *(f"{folder}_adaptive_resnet152" for folder in folders)), ("--rerank",))
        == EVALUATION_ARGUMENTS
    )


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "rule"),
    [
        ("amplitude", 1e-9, 0.0, "must be above zero"),
        ("constant_factor", 1e-9, 0.0, "must be above zero"),
        ("padding", 0, -1, "must be zero or more"),
        ("padding", 2, 3, "must be even"),
        ("label_smoothing", 0.0, -0.01, "must be from 0 to below 1"),
        ("label_smoothing", 0.99, 1.0, "must be from 0 to below 1"),
        ("regularizations", ("none",), ("none", "none"), "must be one or more different ones"),
        ("sigmoid_bound", 1e-9, 0.0, "must be above zero"),
    ],
)
def test_bounds_of_settings(name, allowed, refused, rule):
    assert getattr(replace(CONFIGS["demo"], **{name: allowed}), name) == allowed
    with pytest.raises(ValueError, match=f"{name}.* {rule}"):
        replace(CONFIGS["demo"], **{name: refused})


@pytest.mark.parametrize(
    ("name", "allowed", "refused", "rule"),
    [
        *((name, 1, 0, "must be above zero") for name in ("train_images", "validation_images", "epochs", "batch_size")),
        *((name, 1e-9, 0.0, "must be above zero") for name in ("learning_rate", "sigmoid_bound")),
        ("grid", (0.1,), (), "must be one or more different ones"),
        ("grid", (0.1, 0.2), (0.1, 0.1), "must be one or more different ones"),
        ("grid", (1e-9,), (0.1, 0.0), "must be factors above zero"),
    ],
)
def test_bounds_of_settings_of_the_digit_classifier(name, allowed, refused, rule):
    assert getattr(DigitsConfig(**{name: allowed}), name) == allowed
    with pytest.raises(ValueError, match=f"{name} {rule}"):
        DigitsConfig(**{name: refused})
