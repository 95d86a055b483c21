"""The classifier of digits: its images, network, training and accuracies, and which constant factor is chosen."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from adaptive_l2 import digit_classifier
from adaptive_l2.digit_classifier import Config, Trial
from adaptive_l2.factors import FactorLog
from common import distribution
from common.datasets.digits import Digits
from common.experiments.checkpoint import BEST_WEIGHTS
from common.layers import AdaptiveL2
from tests.adaptive_l2.test_tables import cells
from tests.common.recorded import batches_of, recorded

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
    """Of the README: 500 images, 60 epochs, three seeds; the grid has the half decades from 10⁻⁵ to 10⁻²."""
    config = Config()
    assert config.grid == pytest.approx([1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2])
    assert (config.train_images, config.validation_images, config.epochs, config.batch_size) == (500, 500, 60, 50)
    assert (config.seeds, config.amplitude, config.learning_rate, config.publish) == ((0, 1, 2), 0.005, 0.001, False)


def test_publishing_is_no_setting_of_the_training(monkeypatch):
    calls = []
    monkeypatch.setattr(digit_classifier, "train", lambda config: calls.append(config.publish) or "run")
    monkeypatch.setattr(digit_classifier, "evaluate", lambda run, publish: calls.append((run, publish)))
    for options in ([], ["--publish"]):
        monkeypatch.setattr("sys.argv", ["digit_classifier", *options])
        digit_classifier.main()
    assert calls == [False, ("run", False), False, ("run", True)]


def test_all_training_images_may_be_used():
    images = len(digit_classifier.read(Config()).train_images)
    digit_classifier.read(Config(train_images=images - 500))
    with pytest.raises(ValueError, match=f"must be {images} or fewer together, got {images - 499} and 500"):
        digit_classifier.read(Config(train_images=images - 499))


def test_trainings_are_whole_seeds():
    config = Config(seeds=(1, 2), grid=(0.1, 0.2), amplitude=0.3)
    one = [("none", 0.0), ("adaptive", 0.3), ("constant", 0.1), ("constant", 0.2)]
    expected = [Trial(method, factor, seed) for seed in (1, 2) for method, factor in one]
    assert list(digit_classifier.trials(config)) == expected


@pytest.mark.parametrize(("method", "factor"), [("none", None), ("constant", 0.04), ("adaptive", 0.02)])
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
        assert type(model.layers[-1]) is AdaptiveL2
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
        assert [type(callback) for callback in call.callbacks] == [FactorLog] * (method == "adaptive")
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


def test_constant_factor_is_chosen_by_validation_not_by_test():
    config = digit_classifier.Config(grid=(0.1, 0.2), seeds=(0, 1))
    values = {("none", 0.0): (0.5, 0.5), ("adaptive", 0.005): (0.6, 0.9), ("constant", 0.1): (0.7, 0.6)}
    values["constant", 0.2] = (0.6, 0.99)  # better on the test set, worse on the validation set
    records = [
        {"method": method, "factor": factor, "seed": seed, "validation": validation, "test": test}
        for (method, factor), (validation, test) in values.items()
        for seed in (0, 1)
    ]
    row = cells(digit_classifier.results_table(config, records), 1)
    assert row == ["constant L2, λ = 0.1, the best of 2", "70.00 ± 0.00", "60.00 ± 0.00", "60.00 60.00", "2"]
    table = digit_classifier.results_table(config, records)
    assert cells(table, 0) == ["no L2", "50.00 ± 0.00", "50.00 ± 0.00", "50.00 50.00", "1"]
    assert cells(table, 2) == ["adaptive L2, A = 0.005", "60.00 ± 0.00", "90.00 ± 0.00", "90.00 90.00", "1"]


def test_classifiers_are_trained_once_and_apart(tmp_path, monkeypatch):
    def run_program(options):
        monkeypatch.setattr("sys.argv", ["digit_classifier", *options.split(), "--runs-dir", str(tmp_path)])
        digit_classifier.main()

    options = "--train-images 40 --validation-images 40 --epochs 2 --grid 0.001 --seeds 0"
    run_program(options)
    run = tmp_path / "adaptive_l2/digit_classifier/comparison"
    files = {path: path.stat().st_mtime_ns for path in run.glob("*/metrics.json")}
    assert {path.parent.name for path in files} == {"none-0-seed0", "adaptive-0.005-seed0", "constant-0.001-seed0"}
    assert "factor_conv_kernel" in (run / "adaptive-0.005-seed0/log.csv").read_text()
    run_program(options)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    with pytest.raises(ValueError, match="train_images and validation_images must be"):
        run_program("--train-images 9000 --name other")
