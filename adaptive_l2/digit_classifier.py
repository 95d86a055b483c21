"""The regularizer in a plain classifier of digits, which the publication proposes as future work.

python -m PROJECT.digit_classifier [--data-dir DIR --dataset mnist] [--field value …]
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import tyro
from keras import layers

from common import distribution
from common.datasets import batches, digits
from common.experiments import config as run_config
from common.experiments import entry, training
from common.experiments.checkpoint import BEST_WEIGHTS, is_finished
from common.experiments.identity import cached_json
from common.layers import AdaptiveL2
from common.report import tables

from .factors import FactorLog

HERE = Path(__file__).parent
METRICS = "metrics.json"


@dataclass(frozen=True)
class Config(run_config.RunConfig):
    """One comparison: no L2, the best constant factor of a grid, adaptive factors."""

    EXTENDABLE: ClassVar[tuple[str, ...]] = ("epochs",)

    name: str = "comparison"  # run folder below runs-dir/<project>/digit_classifier
    seeds: tuple[int, ...] = (0, 1, 2)  # each chooses its images and initial weights
    dataset: Literal["digits", "mnist", "usps"] = "digits"  # images to read
    train_images: int = 500  # few, so that regularization matters
    validation_images: int = 500  # choose the constant factor; from the training split too
    grid: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # constant factors λ to choose from
    amplitude: float = 0.005  # A of Eq. 2.6, the publication's
    epochs: int = 60  # passes over the training images
    batch_size: int = 50  # images a step
    learning_rate: float = 1e-3  # of Adam
    publish: bool = False  # write the numbers to results.json and the table into the project's README


PUBLISHED = "digit_classifier"  # in results.json
PRESETS = {PUBLISHED: ("no L2, the best constant factor of a grid, adaptive factors", Config())}


@dataclass(frozen=True)
class Trial(run_config.SeededTrial):
    """One training of a comparison."""

    method: str
    factor: float  # λ if constant, the amplitude A if adaptive
    seed: int


def trials(config: Config) -> Iterator[Trial]:
    """All trainings of a comparison."""
    for seed in config.seeds:
        yield Trial("none", 0.0, seed)
        yield Trial("adaptive", config.amplitude, seed)
        for factor in config.grid:
            yield Trial("constant", factor, seed)


def read(config: Config) -> digits.Digits:
    """The data set of a comparison.

    Raises:
        ValueError: it has too few training images.
    """
    data = digits.read(config.dataset, config.data_dir)
    if config.train_images + config.validation_images > len(data.train_images):
        raise ValueError(
            f"train_images and validation_images must be {len(data.train_images)} or fewer together, "
            f"got {config.train_images} and {config.validation_images}."
        )
    return data


def title(config: Config) -> str:
    """What and how much is trained on."""
    return f"{config.train_images} images of {config.dataset}, {config.epochs} epochs, seeds {config.seeds}"


def split(config: Config, seed: int, data: digits.Digits) -> list[np.ndarray]:
    """Rows of the training images and of the validation images."""
    order = np.random.default_rng(seed).permutation(len(data.train_images))
    return np.split(order[: config.train_images + config.validation_images], [config.train_images])


def build(config: Config, trial: Trial, image_shape: tuple[int, int, int]) -> tuple[keras.Model, AdaptiveL2 | None]:
    """The classifier of a trial with its initial weights: images (B, H, W, 1) in [0, 1] -> logits (B, 10)."""
    training.seed_everything(trial.seed)
    with training.precision(config.precision):
        return build_model(trial, image_shape)


def build_model(trial: Trial, image_shape: tuple[int, int, int]) -> tuple[keras.Model, AdaptiveL2 | None]:
    """A network of two convolutions with batch normalization and a dense layer."""
    image = keras.Input(image_shape, name="image")
    x = image
    for i, filters in enumerate((32, 64), 1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(layers.BatchNormalization(momentum=0.9, name=f"bn{i}")(x))
        x = layers.MaxPooling2D(name=f"pool{i}")(x)
    logits = layers.Dense(10, dtype="float32", name="logits")(layers.Flatten(name="features")(x))
    network = keras.Model(image, logits, name="network")
    if trial.method == "none":
        return network, None
    regularizer = AdaptiveL2(network, trial.factor, adaptive=trial.method == "adaptive", name="regularizer")
    return keras.Model(image, regularizer(image), name="training"), regularizer


def train_trial(
    config: Config, trial: Trial, data: digits.Digits, strategy: distribution.Strategy, folder: Path
) -> None:
    """Trains one classifier into `folder`."""
    rows, _ = split(config, trial.seed, data)
    images, labels = data.train_images[rows], data.train_labels[rows]
    with strategy.scope():
        model, regularizer = build(config, trial, images.shape[1:])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(config.learning_rate), loss, jit_compile=distribution.jit())
    training.fit(
        model,
        lambda first_epoch: batches.shuffled_batches(
            (images, labels), config.batch_size, seed=trial.seed, first_epoch=first_epoch
        ),
        steps_per_epoch=batches.steps_per_epoch(len(images), config.batch_size),
        epochs=config.epochs,
        folder=folder,
        monitor=None,
        callbacks=[FactorLog(regularizer)] if trial.method == "adaptive" else [],
    )


def evaluate_trial(
    config: Config, trial: Trial, data: digits.Digits, folder: Path, arguments: entry.Arguments
) -> dict[str, Any]:
    """The accuracies of one trained classifier; cached in its folder."""

    def make() -> dict[str, Any]:
        model, _ = build(config, trial, data.train_images.shape[1:])
        model.load_weights(folder / BEST_WEIGHTS)
        _, rows = split(config, trial.seed, data)
        return {
            **asdict(trial),
            "validation": accuracy(model, data.train_images[rows], data.train_labels[rows]),
            "test": accuracy(model, data.test_images, data.test_labels),
        }

    return cached_json(folder / METRICS, [folder / BEST_WEIGHTS], __name__, make)


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images (N, H, W, 1) that are classified as their labels (N,)."""
    # Eager calls: `predict` would trace a graph anew for each of the many models of a run.
    parts = np.array_split(images, -(-len(images) // 500))
    logits = np.concatenate([keras.ops.convert_to_numpy(model(part, training=False)) for part in parts])
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def results_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """Test accuracy of each method; the constant factor is the one of the highest mean validation accuracy."""

    def percent(method: str, factor: float, name: str) -> list[float]:
        return [100 * r[name] for r in records if (r["method"], r["factor"]) == (method, factor)]

    best = max(config.grid, key=lambda factor: np.mean(percent("constant", factor, "validation")))
    rows = []
    for name, method, factor, trainings in (
        ("no L2", "none", 0.0, 1),
        (f"constant L2, λ = {best:g}, the best of {len(config.grid)}", "constant", best, len(config.grid)),
        (f"adaptive L2, A = {config.amplitude:g}", "adaptive", config.amplitude, 1),
    ):
        validation, test = (percent(method, factor, name) for name in ("validation", "test"))
        each = " ".join(f"{value:.2f}" for value in test)
        rows.append([name, tables.mean_std(validation), tables.mean_std(test), each, trainings])
    columns = ["regularization", "validation (%)", "test accuracy (%)", "each seed (%)", "trainings for one"]
    return tables.table(columns, rows)


def report(results: entry.Results) -> tables.Report:
    """The table of a comparison."""
    return tables.Report(title(results.config), {"Test accuracy": results_table(results.config, results.records)}, {})


def publish(results: entry.Results) -> None:
    """Writes the numbers to `results.json` and renews the table in the README."""
    tables.publish(HERE, PRESETS, replace(results.config, publish=False), results.records, name=PUBLISHED)
    renew_readme()


def renew_readme() -> None:
    """Writes the table of the published comparison into the README."""
    published = tables.published(HERE)[PUBLISHED]
    config = run_config.from_json(published["config"], Config)
    text = f"{title(config)}:\n\n{results_table(config, published['trials'])}"
    tables.update_between(HERE / "README.md", "classification", text)


# Apart from the runs of the project itself, among which `evaluate` looks for the newest.
PROJECT = f"{__package__}/digit_classifier"

train = entry.Training(PROJECT, trials, read, lambda config, _: title(config), train_trial)
evaluate = entry.Evaluation(PROJECT, Config, trials, read, is_finished, evaluate_trial, report, publish)


def main() -> None:
    """Command line."""
    config = tyro.cli(Config)
    evaluate(train(replace(config, publish=False)), publish=config.publish)


if __name__ == "__main__":
    run_config.run_command(main)
