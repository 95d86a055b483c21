import signal
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.datasets import digits
from l2_autoencoder.config import PRESETS, Config, Trial, trials
from l2_autoencoder.data import training_images
from l2_autoencoder.train import train
from tests.helpers import run_python, start_python

SMOKE = replace(PRESETS["smoke"][1], name="run", normalizations=("none", "l2"))


def state(run, trial):
    with np.load(run / trial / "checkpoint/state.npz") as file:
        return {name: file[name] for name in file.files}


# Mean squared error of each of three epochs (eight batches of 256) from seed 0: the training as a whole. A change of
# these is a change of results: measure the tables anew.
GOLDEN_LOSSES = {
    "none": [0.2266735, 0.1391372, 0.1012932],
    "batch": [0.2079339, 0.1169705, 0.0832944],
    "layer": [0.1995071, 0.1157155, 0.0910319],
    "l2": [0.2177406, 0.1360079, 0.1049531],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three epochs with each normalization from seed 0, and their config."""
    config = replace(SMOKE, runs_dir=tmp_path_factory.mktemp("runs"), epochs=3, normalizations=tuple(GOLDEN_LOSSES))
    return train(config), config


def losses(run, trial):
    return pd.read_csv(run / trial / "log.csv")["loss"].tolist()


def assert_same_state(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_golden_training_log(run):
    pytest.importorskip("tensorflow")  # the initial weights of other backends are others
    for name, expected in GOLDEN_LOSSES.items():
        np.testing.assert_allclose(losses(run[0], f"{name}-seed0"), expected, rtol=2e-3, err_msg=name)


def test_two_runs_agree_and_another_seed_does_not(run, tmp_path):
    """The other run begins with seed 1; seed 0 is added to it and is what it is in a run without seed 1."""
    first, config = run
    config = replace(config, runs_dir=tmp_path, normalizations=("l2",), seeds=(1,))
    other = state(train(config), "l2-seed1")
    both = train(replace(config, seeds=(0, 1)))
    assert_same_state(state(both, "l2-seed1"), other)
    assert_same_state(state(both, "l2-seed0"), state(first, "l2-seed0"))
    assert losses(both, "l2-seed0") == losses(first, "l2-seed0") != losses(both, "l2-seed1")


def test_killed_run_ends_with_the_same_weights(tmp_path):
    options = ["smoke", "--epochs", "6", "--normalizations", "l2", "--name", "run"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    program = "from common.experiments.config import parse; from l2_autoencoder import config, train as t; "
    command = ("-c", f"{program}t.train(parse(config.PRESETS))")
    uninterrupted = start_python(*command, *options, "--runs-dir", str(whole))
    process = start_python(*command, *options, "--runs-dir", str(killed))
    log = killed / "l2_autoencoder/run/l2-seed0/log.csv"
    while not log.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run_python(*command, *options, "--runs-dir", str(killed))
    _, err = uninterrupted.communicate(timeout=600)
    assert uninterrupted.returncode == 0, err
    assert_same_state(*(state(root / "l2_autoencoder/run", "l2-seed0") for root in (whole, killed)))


def test_same_name_with_another_config_is_refused(run):
    with pytest.raises(ValueError, match="epochs was 3 and is now 4"):
        train(replace(run[1], epochs=4))


def test_trials_are_every_combination_seed_by_seed():
    config = replace(SMOKE, seeds=(0, 4), abnormal_digits=(1, 9), normalizations=("none", "l2"))
    assert [trial.name for trial in trials(config)] == [
        "none-digit1-seed0", "l2-digit1-seed0", "none-digit9-seed0", "l2-digit9-seed0",
        "none-digit1-seed4", "l2-digit1-seed4", "none-digit9-seed4", "l2-digit9-seed4",
    ]  # fmt: skip
    assert [trial.name for trial in trials(SMOKE)] == ["none-seed0", "l2-seed0"]


def test_training_images_follow_the_protocol():
    data = digits.read_embedded()
    clustering = Trial("l2", 0, None)
    assert len(training_images(Config(), clustering, data)[0]) == 1797
    assert len(training_images(Config(split="train"), clustering, data)[0]) == 1437
    images, labels = training_images(Config(pixel_range="-1..1"), Trial("l2", 3, 5), data)
    assert images.min() == -1 and images.max() == 1
    assert np.sum(labels == 5) in (14, 15) and np.sum(data.train_labels == 5) == 145
    assert np.sum(labels != 5) == np.sum(data.train_labels != 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be above zero, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above zero, got nan"),
        ({"normalizations": ()}, "normalizations must be one or more different ones"),
        ({"abnormal_digits": (10,)}, "abnormal_digits must be digits from 0 to 9"),
        ({"placement": "hidden"}, "placement hidden takes normalizations batch and layer, got"),
        ({"seeds": (-1,)}, "seeds must be one or more different integers from 0 on"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMOKE, **change)
