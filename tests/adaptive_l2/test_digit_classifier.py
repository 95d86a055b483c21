"""The classifier of digits: its images, network, training and accuracies, and which constant factor is chosen."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tyro

from adaptive_l2 import digit_classifier
from adaptive_l2.digit_classifier import Config, Trial
from adaptive_l2.factors import FactorLog, SharedFactor
from common import distribution
from common.datasets.digits import Digits
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.entry import Results
from common.layers import AdaptiveL2, ConstantL2
from tests.common.recorded import batches_of, recorded
from tests.helpers import table_cells as cells

# The label of an image is its pixel, but for every fourth training image and every tenth test image.
PIXELS = np.arange(2000) % 10
IMAGES = np.repeat(PIXELS, 4).reshape(2000, 2, 2, 1).astype("float32")
TRAIN_LABELS, TEST_LABELS = (np.where(np.arange(2000) % n == 0, 9 - PIXELS, PIXELS) for n in (4, 10))
DATA = Digits(IMAGES, TRAIN_LABELS, IMAGES, TEST_LABELS)
CONFIG = Config(train_images=300, validation_images=500, batch_size=30, epochs=4, learning_rate=0.25)


def test_images_are_split_at_random_without_overlap():
    training, validation = digit_classifier.split(CONFIG, 3, DATA)
    assert (len(training), len(validation)) == (300, 500) and len({*training, *validation}) == 800
    assert np.corrcoef(np.arange(300), training)[0, 1] < 0.2 and max(validation) > 1900
    again, other = (digit_classifier.split(CONFIG, seed, DATA)[0] for seed in (3, 4))
    assert again.tolist() == training.tolist() and other.tolist() != training.tolist()


def test_settings_are_those_of_the_published_table():
    """Of the README: 500 images, 60 epochs, five seeds; the grid has the half decades from 10⁻⁴ to 10⁻¹."""
    config = Config()
    assert config.grid == pytest.approx([1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1])
    # 600 steps lower a factor to the same share of its start as the publication's schedule does.
    assert 0.5 - 0.6 / (2 * config.sigmoid_bound) == pytest.approx(0.5 - 1.574 / 5, abs=0.002)
    assert (config.train_images, config.validation_images, config.epochs, config.batch_size) == (500, 500, 60, 50)
    assert (config.seeds, config.learning_rate, config.publish) == ((0, 1, 2, 3, 4), 0.001, False)


def test_publishing_is_no_setting_of_the_training(monkeypatch):
    calls = []
    monkeypatch.setattr(digit_classifier, "train", lambda config: calls.append(config.publish) or "run")
    monkeypatch.setattr(digit_classifier, "evaluate", lambda run, publish: calls.append((run, publish)))
    for options in ([], ["--publish"]):
        digit_classifier.main(tyro.cli(Config, args=options))
    assert calls == [False, ("run", False), False, ("run", True)]


def test_all_training_images_may_be_used():
    images = len(digit_classifier.read(Config()).train_images)
    digit_classifier.read(Config(train_images=images - 500))
    with pytest.raises(ValueError, match=f"must be {images} or fewer together, got {images - 499} and 500"):
        digit_classifier.read(Config(train_images=images - 499))


def test_trainings_are_whole_seeds():
    config = Config(seeds=(1, 2), grid=(0.1, 0.2))
    learned = [(method, factor) for method in ("constant", "shared", "adaptive") for factor in (0.1, 0.2)]
    one = [("none", 0.0), *learned]
    expected = [Trial(method, factor, seed) for seed in (1, 2) for method, factor in one]
    assert list(digit_classifier.trials(config)) == expected


@pytest.mark.parametrize(
    ("method", "factor"), [("none", None), ("constant", 0.04), ("shared", 0.04), ("adaptive", 0.04)]
)
def test_network(method, factor):
    """Two of 3 · 3 convolutions with batch normalization and pooling: 8 → 4 → 2, so 2 · 2 · 64 features."""
    model, regularizer = digit_classifier.build(Config(), Trial(method, 0.04, 0), (8, 8, 1))
    network = model if factor is None else regularizer.network
    shapes = {layer.name: layer.output.shape[1:] for layer in network.layers}
    assert list(shapes) == [
        "image", "conv1", "bn1", "relu1", "pool1", "conv2", "bn2", "relu2", "pool2", "features", "logits"
    ]  # fmt: skip
    assert [shapes[name] for name in ("conv1", "pool1", "conv2", "features")] == [
        (8, 8, 32), (4, 4, 32), (4, 4, 64), (256,)
    ]  # fmt: skip
    assert shapes["logits"] == (10,)
    assert network.get_layer("conv2").kernel_size == (3, 3) and network.get_layer("bn2").momentum == 0.9
    if factor is None:
        assert regularizer is None
    else:
        np.testing.assert_allclose(regularizer.factors(), np.full(10, factor), rtol=1e-6)
        assert (
            type(model.layers[-1]) is {"shared": SharedFactor, "constant": ConstantL2, "adaptive": AdaptiveL2}[method]
        )
    other, regularizer = digit_classifier.build(Config(), Trial(method, 0.04, 1), (8, 8, 1))
    kernels = [n.get_layer("logits").kernel for n in (network, regularizer.network if regularizer else other)]
    assert not np.array_equal(*kernels)


def test_training(tmp_path):
    """300 images in ten batches of 30, each once in an epoch; Adam at a constant rate."""
    rows, _ = digit_classifier.split(CONFIG, 2, DATA)
    chosen = SimpleNamespace(images=np.sort(IMAGES[rows, 0, 0, 0]), labels=np.sort(TRAIN_LABELS[rows]))
    data = Digits(IMAGES.repeat(4, 1).repeat(4, 2), TRAIN_LABELS, IMAGES, TEST_LABELS)
    for method in ("constant", "adaptive"):
        with recorded() as calls:
            trial = Trial(method, 0.01, 2)
            digit_classifier.train_trial(CONFIG, trial, data, distribution.strategy("one"), tmp_path / trial.name)
        (call,) = calls
        assert (call.folder, call.epochs, call.steps_per_epoch, call.monitor) == (tmp_path / trial.name, 4, 10, None)
        assert type(call.optimizer).__name__ == "Adam" and float(call.optimizer.learning_rate) == 0.25
        np.testing.assert_allclose(call.loss(np.zeros(1), 2 * np.eye(10)[:1]), np.log(np.exp(2) + 9) - 2, rtol=1e-6)
        assert call.jit_compile is distribution.jit()
        assert [type(callback) for callback in call.callbacks] == [FactorLog]
        batches = batches_of(call, 10)
        images, labels = (np.concatenate(parts) for parts in zip(*batches))
        assert len(batches[9][0]) == 30
        ((other, _),) = batches_of(call, 1, first_epoch=1)
        assert not np.array_equal(other, batches[0][0])
        np.testing.assert_array_equal(np.sort(images[:, 0, 0, 0]), chosen.images)
        np.testing.assert_array_equal(np.sort(labels), chosen.labels)
        assert (images[:, 0, 0, 0] != labels).sum() == (rows % 4 == 0).sum()


def test_accuracies_are_those_of_the_validation_and_of_the_test_images(tmp_path, monkeypatch):
    """A network whose largest logit is that of the pixel: 3/4 of the training labels agree and 9/10 of the test's."""

    def build(config, trial, shape):
        image = keras.Input(shape)
        pixel = keras.layers.Flatten()(image)[:, :1]
        unchanged = keras.layers.BatchNormalization(epsilon=1e-12, name="bn")(pixel)  # unless it is trained
        logits = keras.layers.Dense(10, name="logits")(unchanged)
        return keras.Model(image, logits), None

    # -(k - p)²/2 without p²/2, which moves all logits of an image alike.
    model, _ = build(None, None, (2, 2, 1))
    model.get_layer("logits").set_weights([np.arange(10.0)[None], -np.square(np.arange(10.0)) / 2])
    model.save_weights(tmp_path / BEST_WEIGHTS)
    monkeypatch.setattr(digit_classifier, "build", build)
    record = digit_classifier.evaluate_trial(CONFIG, Trial("constant", 0.1, 3), DATA, tmp_path, None)
    _, rows = digit_classifier.split(CONFIG, 3, DATA)
    assert record.pop("made_from") and record == {
        "method": "constant", "factor": 0.1, "seed": 3, "validation": np.mean(rows % 4 != 0), "test": 0.9
    }  # fmt: skip


def records_of(values):
    return [
        {"method": method, "factor": factor, "seed": seed, "validation": validation, "test": test}
        for (method, factor), (validation, test) in values.items()
        for seed in (0, 1)
    ]


def test_factors_are_chosen_by_validation_not_by_test():
    config = digit_classifier.Config(grid=(0.1, 0.2, 0.3), seeds=(0, 1))
    values = {("none", 0.0): (0.5, 0.5)}
    for method, (validation, best) in {"constant": (0.7, 0.2), "shared": (0.8, 0.3), "adaptive": (0.6, 0.1)}.items():
        for factor in config.grid:  # the others are better on the test set, worse on the validation set
            values[method, factor] = (validation, validation - 0.1) if factor == best else (validation - 0.05, 0.99)
    table = digit_classifier.results_table(config, records_of(values))
    assert [cells(table, row) for row in range(4)] == [
        ["no L2", "–", "50.00 ± 0.00", "50.00 ± 0.00", "50.00 50.00"],
        ["constant L2", "0.2", "70.00 ± 0.00", "60.00 ± 0.00", "60.00 60.00"],
        ["one learned factor", "0.3 (an end of the grid)", "80.00 ± 0.00", "70.00 ± 0.00", "70.00 70.00"],
        ["adaptive L2", "0.1 (an end of the grid)", "60.00 ± 0.00", "50.00 ± 0.00", "50.00 50.00"],
    ]


def test_differences_are_paired_over_images_and_seeds(tmp_path):
    config = digit_classifier.Config(grid=(0.1,), seeds=(0, 1))
    right = {"none": [[0, 1, 1, 0]] * 2, "constant": [[1, 1, 1, 0]] * 2, "adaptive": [[1, 1, 1, 1], [0, 1, 1, 1]]}
    for method, factor in {"none": 0.0, "constant": 0.1, "shared": 0.1, "adaptive": 0.1}.items():
        for seed, row in enumerate(right.get(method, right["none"])):
            folder = tmp_path / Trial(method, factor, seed).name
            folder.mkdir()
            np.savez(folder / digit_classifier.CORRECT, correct=np.array(row, bool))
    records = records_of(dict.fromkeys([("none", 0.0), *((m, 0.1) for m in digit_classifier.LEARNED)], (0.5, 0.5)))
    values = digit_classifier.differences(Results(tmp_path, config, None, 8, [], records, None))
    assert [(v["first"], v["second"], v["value"]) for v in values] == [
        ("adaptive", "constant", 0.125), ("adaptive", "shared", 0.375), ("adaptive", "none", 0.375),
        ("constant", "none", 0.25),
    ]  # fmt: skip
    table = digit_classifier.differences_table(values)
    assert cells(table, 0)[0] == "adaptive L2 against constant L2" and cells(table, 0)[2] == "undecided"
    assert cells(table, 3)[1].startswith("+25.00 (+0.00 to +")


def test_classifiers_are_trained_once_and_apart(tmp_path):
    def run_program(options):
        digit_classifier.main(tyro.cli(Config, args=[*options.split(), "--runs-dir", str(tmp_path)]))

    options = "--train-images 40 --validation-images 40 --epochs 2 --grid 0.001 --seeds 0"
    run_program(options)
    run = tmp_path / "adaptive_l2/digit_classifier/comparison"
    files = {path: path.stat().st_mtime_ns for path in run.glob("*/metrics.json")}
    assert {path.parent.name for path in files} == {
        "none-0-seed0",
        *(f"{method}-0.001-seed0" for method in digit_classifier.LEARNED),
    }
    assert "factor_conv_kernel" in (run / "adaptive-0.001-seed0/log.csv").read_text()
    run_program(options)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    with pytest.raises(ValueError, match="train_images and validation_images must be"):
        run_program("--train-images 9000 --name other")
