import inspect
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from common import distribution
from common.datasets import digits
from common.datasets.batches import epoch_order
from common.experiments import training
from l2_autoencoder.clustering import keep_a_tenth
from l2_autoencoder.config import PRESETS, Config, Trial, trials
from l2_autoencoder.data import training_images
from l2_autoencoder.export import export, of_bytes
from l2_autoencoder.model import restore
from l2_autoencoder.train import train, train_trial
from tests.helpers import onnx_outputs, run_python

SMOKE = replace(PRESETS["smoke"][1], name="run", normalizations=("none", "l2"))


def state(run, trial):
    with np.load(run / trial / "checkpoint/state.npz") as file:
        return {name: file[name] for name in file.files if name != "stamp"}  # of the whole run


# Mean squared error of each of three epochs (eight batches of 256) from seed 0: the training as a whole. A change of
# these is a change of results: measure the tables anew.
GOLDEN_LOSSES = {
    "tensorflow": {
        "none": [0.2266735, 0.1391372, 0.1012932],
        "batch": [0.2079339, 0.1169705, 0.0832944],
        "layer": [0.1995071, 0.1157155, 0.0910319],
        "l2": [0.2177406, 0.1360079, 0.1049531],
    },
    "jax": {
        "none": [0.2281833, 0.1474658, 0.0963911],
        "batch": [0.2140392, 0.1205882, 0.0791093],
        "layer": [0.2048965, 0.1178381, 0.0878050],
        "l2": [0.2213430, 0.1472905, 0.1063437],
    },
    "torch": {
        "none": [0.2295256, 0.1529926, 0.0979166],
        "batch": [0.2179174, 0.1215401, 0.0809706],
        "layer": [0.2121938, 0.1174022, 0.0873123],
        "l2": [0.2220268, 0.1455978, 0.1071950],
    },
}[keras.backend.backend()]


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


KILLED = """
import itertools, os, signal
from common.experiments import training
from common.experiments.config import parse
from l2_autoencoder import config, train

steps, progress = itertools.count(1), training._Progress.on_train_batch_end

def kill_in_the_second_epoch(self, batch, logs=None):
    progress(self, batch, logs)
    if next(steps) == 11:
        os.kill(os.getpid(), signal.SIGKILL)

training._Progress.on_train_batch_end = kill_in_the_second_epoch
train.train(parse(config.PRESETS))
"""


def test_killed_run_ends_with_the_same_weights(run, tmp_path):
    """By SIGKILL after eleven steps, three of which are of the second epoch of eight."""
    whole, config = run
    config = replace(config, runs_dir=tmp_path, normalizations=("l2",))
    options = ("smoke", "--epochs", "3", "--normalizations", "l2", "--name", "run")
    run_python("-c", KILLED, *options, "--runs-dir", str(tmp_path), status=-signal.SIGKILL)
    assert len(losses(tmp_path / "l2_autoencoder/run", "l2-seed0")) == 1
    resumed = train(config)
    assert_same_state(state(resumed, "l2-seed0"), state(whole, "l2-seed0"))
    assert losses(resumed, "l2-seed0") == losses(whole, "l2-seed0")


def test_same_name_with_another_config_is_refused(run):
    with pytest.raises(ValueError, match="epochs was 3 and is now 2.*only seeds may be added and epochs raised"):
        train(replace(run[1], epochs=2))


@pytest.fixture
def given(monkeypatch):
    """What a training would be: `fit`'s arguments, those that have a default included."""
    arguments, signature = {}, inspect.signature(training.fit)

    def fit(*values, **options):
        bound = signature.bind(*values, **options)
        bound.apply_defaults()
        arguments.update(bound.arguments)
        raise SystemExit

    monkeypatch.setattr(training, "fit", fit)

    def arguments_of(config, trial):
        with pytest.raises(SystemExit):
            train_trial(config, trial, digits.read_embedded(), distribution.strategy("one"), Path("folder"))
        return arguments

    return arguments_of


def test_settings_reach_the_training(given):
    """Adam with the config's rate on the mean squared error, of batches in the order of (seed, epoch)."""
    config = replace(SMOKE, epochs=7, batch_size=500, learning_rate=0.03, pixel_range="-1..1", embedding_size=4)
    options = given(config, Trial("l2", 5, None))
    model, images = options["model"], digits.read_embedded().images * 2 - 1
    assert (options["epochs"], options["steps_per_epoch"], options["folder"]) == (7, 4, Path("folder"))
    assert (options["monitor"], options["mode"]) == ("loss", "min")  # the best reconstructs best
    assert type(model.optimizer).__name__ == "Adam" and float(model.optimizer.learning_rate) == float(np.float32(0.03))
    assert model.get_layer("embedding").units == 4
    for first in (0, 2):
        order = np.concatenate([np.asarray(epoch_order(1797, 5, epoch)) for epoch in (first, first + 1)])
        taken = list(islice(options["batches"](first), 8))
        for (inputs, targets), size in zip(taken, (500, 500, 500, 297) * 2):
            np.testing.assert_array_equal(inputs, images[order[:size]])
            np.testing.assert_array_equal(targets, inputs)
            order = order[size:]
    batch, expected = images[:64], np.square(images[:64] - np.asarray(model(images[:64])))
    assert float(model.test_on_batch(batch, batch)) == pytest.approx(expected.mean(), rel=1e-5)


def test_initial_weights_and_images_are_those_of_the_trial(given):
    """The seed decides the weights; an abnormal digit takes images away; 0.001 is the rate of the presets."""
    models = [given(SMOKE, Trial("none", seed, 1))["model"] for seed in (0, 0, 1)]
    first, again, other = (model.get_layer("encoder_1").get_weights()[0] for model in models)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.01
    options = given(SMOKE, Trial("none", 0, 1))
    assert options["steps_per_epoch"] == 6  # 1,437 images less nine tenths of 146 are 1,305 or 1,306
    assert float(options["model"].optimizer.learning_rate) == pytest.approx(0.001)


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
    for split in ("all", "train"):  # the test images are seen by no training of anomaly detection
        images, labels = training_images(Config(split=split, pixel_range="-1..1"), Trial("l2", 3, 5), data)
        rows = keep_a_tenth(data.train_labels, 5, 3)
        np.testing.assert_array_equal(images, data.train_images[rows] * 2 - 1)
        np.testing.assert_array_equal(labels, data.train_labels[rows])
        assert images.min() == -1 and images.max() == 1 and np.sum(labels == 5) in (14, 15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be above zero, got 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above zero, got nan"),
        ({"normalizations": ()}, "normalizations must be one or more different ones"),
        ({"abnormal_digits": (10,)}, "abnormal_digits must be different digits from 0 to 9"),
        ({"abnormal_digits": (1, 1)}, r"abnormal_digits must be different digits .*, got \(1, 1\)"),
        ({"placement": "hidden"}, "placement hidden takes normalizations batch and layer, got"),
        ({"seeds": (-1,)}, "seeds must be one or more different integers from 0 to"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMOKE, **change)


@pytest.mark.tensorflow
def test_the_encoder_leaves_with_the_scaling_of_pixels(run, tmp_path):
    folder, config = run
    export(folder, trial="l2-seed0", format="onnx", out=tmp_path / "onnx")
    autoencoder = restore(config, Trial("l2", 0, None), (8, 8, 1), folder / "l2-seed0")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), "uint8")
    expected = autoencoder.encoder(images / np.float32(255))
    outputs = onnx_outputs(tmp_path / "onnx/embed.onnx", image=images)
    np.testing.assert_allclose(outputs["embedding"], expected, atol=1e-4)
    signed = of_bytes(replace(config, pixel_range="-1..1"), autoencoder)(images)["embedding"]
    np.testing.assert_allclose(signed, autoencoder.encoder(images / np.float32(127.5) - 1), atol=1e-5)
