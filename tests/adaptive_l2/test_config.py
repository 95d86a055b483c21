"""Presets that are no rows of the publication differ from those, or from each other, in this and in nothing else."""

from dataclasses import replace

import pytest

from adaptive_l2.config import DATA, EVALUATION_ARGUMENTS, PRESETS, ROWS
from tests.helpers import differences

CONFIGS = {name: config for name, (_, config) in PRESETS.items()}
# The scale of two CPU cores: an eighth of the width of the network, a ninth of the pixels, some 1/70 of the steps.
SCALE = {
    "backbone": "mobilenet_0.25",
    "image_size": [128, 64],
    "identities_per_batch": 8,
    "padding": 6,
    "frozen_epochs": 4,
    "evaluate_every": 4,
    "epochs": 12,
    "steps_per_epoch": 50,
    "learning_rate": 1e-3,
    "warmup_epochs": 2,
    "drop_epochs": [8, 11],
    "seeds": [0, 1, 2],
}


@pytest.mark.parametrize("row", ["minimal", "triplet", "regional", "erasing", "clipping", "baseline", "adaptive"])
def test_rows_at_a_small_scale_have_the_parts_of_the_published_ones(row):
    paper = CONFIGS[f"market1501_{row}"]
    assert differences(CONFIGS[f"mobilenet_{row}"], paper) == SCALE
    assert differences(CONFIGS[f"lite0_{row}"], paper) == SCALE | {"backbone": "efficientnet_lite0"}


def test_deeper_networks_have_no_small_scale():
    assert sorted(name for name in CONFIGS if name.startswith("mobilenet")) == sorted(
        f"mobilenet_{row}" for row in ROWS if "resnet" not in row
    )


def test_demo():
    assert differences(CONFIGS["demo"], CONFIGS["mobilenet_adaptive"]) == {
        "dataset": "synthetic",
        "identities_per_batch": 16,
        "regularizations": ["constant", "adaptive"],
        "image_size": [96, 48],
        "padding": 4,
        "frozen_epochs": 2,
        "warmup_epochs": 1,
        "epochs": 10,
        "drop_epochs": [7, 9],
        "seeds": [0],
    }


def test_smoke():
    assert differences(CONFIGS["smoke"], CONFIGS["demo"]) == {
        "people": 16,
        "backbone": "small_resnet",
        "weights": "none",
        "image_size": [64, 32],
        "regional_branches": False,
        "identities_per_batch": 4,
        "frozen_epochs": 1,
        "epochs": 1,
        "steps_per_epoch": 4,
        "evaluate_every": 1,
        "learning_rate": 2e-3,
        "warmup_epochs": 2,
    }


def test_data_of_reproduced_presets():
    folders = {"market1501": "Market-1501-v15.09.15", "duke": "DukeMTMC-reID", "msmt17": "MSMT17_V1"}
    expected = {f"{name}_{row}": {"data_dir": folder} for name, folder in folders.items() for row in ROWS}
    expected |= {f"mobilenet_{row}": {"data_dir": folders["market1501"]} for row in ROWS if "resnet" not in row}
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
        ("label_smoothing", 0.0, -0.01, "must be from 0 to below 1"),
        ("label_smoothing", 0.99, 1.0, "must be from 0 to below 1"),
        ("regularizations", ("none",), ("none", "none"), "must be one or more different ones"),
        ("image_size", (32, 32), (31, 64), "must be at least 32"),
        ("seeds", (0, 7), (-1,), "must be one or more different integers from 0 to"),
        ("evaluate_every", 0, -1, "must be zero or more"),
        ("held_out", 0, -1, "must be zero or more"),
        ("frozen_epochs", 0, -1, "must be zero or more"),
        ("steps_per_epoch", 1, 0, "must be above zero"),
        ("images_per_identity", 2, 1, "must be two or more"),
        ("identities_per_batch", 2, 1, "must be two or more"),
    ],
)
def test_bounds_of_settings(name, allowed, refused, rule):
    assert getattr(replace(CONFIGS["demo"], **{name: allowed}), name) == allowed
    with pytest.raises(ValueError, match=f"{name}.* {rule}"):
        replace(CONFIGS["demo"], **{name: refused})
