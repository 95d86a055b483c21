"""Training, resuming and evaluating on a few photographs of vehicles."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common.datasets.augmentation import Augmentation, draw
from common.datasets.images import read_image
from common.experiments import training
from common.report.tables import Report
from tests.helpers import assert_figures, run_python, truncate
from tests.resuming import assert_same_checkpoints, stopping
from tests.vehicle_attributes.layouts import write_photographed_veri_wild
from vehicle_attributes import recognizer
from vehicle_attributes.config import LOSSES, PAPER, PRESETS, TASKS
from vehicle_attributes.data import read
from vehicle_attributes.evaluate import METRICS, evaluate
from vehicle_attributes.recognition import choose_gallery
from vehicle_attributes.train import pass_steps, train

pytest.importorskip("tensorflow")
pytestmark = [
    pytest.mark.usefixtures("tiny_backbone"),
    pytest.mark.filterwarnings("ignore:.* the published set:UserWarning"),
]

SMOKE = replace(
    PRESETS["smoke"][1],
    name="run",
    dataset="veri_wild",
    losses=tuple(LOSSES),
    attributes=("type", "make"),
    steps_per_epoch=0,
    learning_rate=2e-3,
    warmup_epochs=0,
)


@pytest.fixture(scope="module")
def vehicles(tmp_path_factory):
    return write_photographed_veri_wild(tmp_path_factory.mktemp("vehicles"))


@pytest.fixture(scope="module")
def run(vehicles, tiny_backbone, tmp_path_factory):
    config = replace(SMOKE, data_dir=vehicles, runs_dir=tmp_path_factory.mktemp("runs"))
    folder = train(config)
    evaluate(folder)
    return folder, config


# Of the sixteen steps from seed 0: the training as a whole. A change of these is a change of results.
GOLDEN_LOSSES = {"cross_entropy": 3.16687, "triplet": 1.02843, "lifted_structured": 15.00042, "arcface": 31.78737}


def test_golden_training_log(run):
    losses = {loss: pd.read_csv(run[0] / f"{loss}-seed0/log.csv")["loss"].iloc[-1] for loss in LOSSES}
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=5e-3)


@pytest.mark.parametrize(
    ("config", "images", "steps"),
    [
        (PAPER, 277_797, 4341),  # VERI-Wild in batches of 64: 4340.6
        (PRESETS["compcars_model_triplet"][1], 16_016, 251),  # 250.25
        (PRESETS["demo"][1], 480, 16),
        (PAPER, 1, 1),
    ],
)
def test_an_epoch_draws_as_many_images_as_there_are(config, images, steps):
    assert config.steps_per_epoch == 0 and pass_steps(config, images) == steps


def test_rates_are_those_of_the_recipe(vehicles, tmp_path, monkeypatch):
    """Luo et al. 2019: from a tenth of the peak to all of it in ten epochs, and a tenth of it from 40 and 70 on."""
    calls = []
    monkeypatch.setattr(training, "fit", lambda model, *_, **options: calls.append((model.optimizer, options)))
    monkeypatch.setattr(recognizer, "save", lambda *_: None)
    train(replace(PAPER, data_dir=vehicles, runs_dir=tmp_path, image_size=(32, 32), classes_per_batch=6))
    ((optimizer, options),) = calls
    assert (options["epochs"], options["steps_per_epoch"]) == (120, 2)  # 90 images in batches of 48
    expected = {0: 3.5e-5, 10: 3.5e-4, 39: 3.5e-4, 40: 3.5e-5, 69: 3.5e-5, 70: 3.5e-6, 119: 3.5e-6}
    for epoch, rate in expected.items():
        for step in (2 * epoch, 2 * epoch + 1):
            assert float(optimizer._learning_rate(step)) == pytest.approx(rate, rel=1e-5), epoch


def test_crops_are_shifted_by_up_to_ten_pixels_each_way():
    shifts = draw(Augmentation(padding=PAPER.padding), PAPER.image_size, 2000, seed=0, epoch=0).shift
    assert (shifts.min(), shifts.max()) == (-10, 10)


def test_log_has_the_loss_of_each_attribute(run):
    folder, config = run
    for loss, output in (("cross_entropy", "logits"), ("triplet", "embedding")):
        log = pd.read_csv(folder / f"{loss}-seed0/log.csv")
        assert len(log) == config.epochs
        assert {f"type_{output}_loss", f"make_{output}_loss"} <= set(log.columns)


def test_stopped_between_epochs_it_ends_with_the_same_weights(run, vehicles, tmp_path):
    whole, config = run
    config = replace(config, losses=("lifted_structured",), runs_dir=tmp_path)
    with stopping(lambda folder: True, after_epochs=1):
        train(config)
    assert_same_checkpoints(train(config), whole, "lifted_structured-seed0")


def test_recognizer_works_without_the_training(run):
    folder, config = run
    data = read(config)
    trained = recognizer.load(folder / "cross_entropy-seed0")
    assert list(trained.classes) == ["type", "make"]
    assert list(trained.classes["make"]) == sorted(data.train["make"].unique())
    paths = data.test["path"][:3]
    images = np.stack([read_image(path, config.image_size) for path in paths])
    outputs = trained.embed(paths)
    for name, values in trained.network(images).items():
        np.testing.assert_allclose(outputs[name], values, rtol=1e-4, atol=1e-5)
    again, other = (recognizer.load(folder / f"{loss}-seed0") for loss in ("cross_entropy", "triplet"))
    assert again.fingerprint == trained.fingerprint != other.fingerprint


def test_recognizer_loads_where_no_network_was_built(run):
    program = "import sys; from vehicle_attributes import recognizer; recognizer.load(sys.argv[1])"
    run_python("-c", program, str(run[0] / "arcface-seed0"))


def test_a_recognizer_that_is_missing_or_damaged_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match="has no trained recognizer: expected recognizer.keras and classes.json"):
        recognizer.load(tmp_path)
    good = run[0] / "triplet-seed0"
    (tmp_path / recognizer.CLASSES).write_bytes((good / recognizer.CLASSES).read_bytes())
    content = (good / recognizer.NETWORK).read_bytes()
    for damaged in (b"", content[:1000], content[: len(content) // 2]):
        (tmp_path / recognizer.NETWORK).write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged .* Train it again"):
            recognizer.load(tmp_path)


def test_numbers_are_those_of_the_nearest_exemplars(run):
    """Section 3.2.3, with the distance matrix as a whole."""
    folder, config = run
    data = read(config)
    trained = recognizer.load(folder / "triplet-seed0")
    for attribute in config.attributes:
        labels = data.train[attribute].to_numpy()
        rows = choose_gallery(labels, config.exemplars, 0)
        gallery, queries = (
            trained.embed(paths)["embedding"] for paths in (data.train["path"].iloc[rows], data.test["path"])
        )
        unit = [features / np.linalg.norm(features, axis=1, keepdims=True) for features in (queries, gallery)]
        predicted = labels[rows][np.argmax(unit[0] @ unit[1].T, axis=1)]
        record = json.loads((folder / "triplet-seed0" / METRICS).read_text())[attribute]
        # Distances that float32 does not tell apart may go either way.
        assert record["accuracy"] == pytest.approx(np.mean(predicted == data.test[attribute]), abs=0.02)
        names = np.unique(labels[rows])
        means = np.stack([unit[1][labels[rows] == name].mean(axis=0) for name in names])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        predicted = names[np.argmax(unit[0] @ means.T, axis=1)]
        assert record["accuracy_of_class_means"] == pytest.approx(np.mean(predicted == data.test[attribute]), abs=0.02)
        assert record["exemplars"] == len(rows) and record["accuracy_of_classifier"] is None


def test_report_has_its_tables_and_figures(run):
    folder, config = run
    text = (folder / "report.md").read_text()
    assert text.count("lifted structured loss") == 2 and "Accuracy (%) by make" in text
    assert_figures(folder, "loss", "confusion_type", "confusion_make", "nearest_type", "nearest_make")
    numbers = json.loads((folder / "report.json").read_text())
    assert len(numbers["trials"]) == len(LOSSES)


def test_finished_trainings_are_not_done_again(run, monkeypatch):
    folder, config = run
    monkeypatch.setattr(recognizer, "load", None)
    monkeypatch.setattr(recognizer, "save", None)
    assert train(config) == folder
    without_figures = replace(evaluate, report=lambda _: Report("", {}, {}))
    assert len(without_figures(folder)) == len(LOSSES)


def test_each_cell_of_the_table_is_a_preset():
    for attribute in ("type", "make"):
        for loss in LOSSES:
            _, config = PRESETS[f"veri_wild_{attribute}_{loss}"]
            assert (config.dataset, config.attributes, config.losses) == ("veri_wild", (attribute,), (loss,))
            assert (config.backbone, config.exemplars, config.label_smoothing) == ("resnet50", 100, 0.1)
    assert all(f"{task}_{loss}" in PRESETS for task in TASKS for loss in LOSSES)


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="classes_per_batch and images_per_class must be two or more"):
        replace(SMOKE, images_per_class=1)
    with pytest.raises(ValueError, match="label_smoothing must be from 0 to below 1"):
        replace(SMOKE, label_smoothing=1.0)
    with pytest.raises(ValueError, match="image_size must be at least 32"):
        replace(SMOKE, image_size=(16, 32))
    with pytest.raises(ValueError, match="Classes are held out of one attribute"):
        replace(SMOKE, held_out=1)
    with pytest.raises(ValueError, match="pass --data-dir"):
        train(replace(SMOKE, dataset="veri_wild", runs_dir=tmp_path))


def test_a_damaged_image_ends_the_training_with_its_name(tmp_path):
    config = replace(SMOKE, data_dir=write_photographed_veri_wild(tmp_path / "vehicles"), runs_dir=tmp_path / "runs")
    truncate(read(config).train["path"])
    with pytest.raises(ValueError, match="The image .*jpg cannot be read; it is missing or damaged"):
        train(config)
