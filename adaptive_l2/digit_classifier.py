"""The regularizer in a plain classifier of digits, which the publication proposes as future work.

python -m PROJECT.digit_classifier [--data-dir DIR --dataset mnist] [--field value …]
"""

from common.experiments import command

from .config import DigitsConfig as Config

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, Config)

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from common import distribution
from common.datasets import batches, digits
from common.experiments import entry, training
from common.experiments.checkpoint import BEST_WEIGHTS, is_finished
from common.experiments.config import EvaluationArguments, SeededTrial, from_json
from common.experiments.identity import cached_json
from common.files import replacing
from common.layers import AdaptiveL2, ConstantL2
from common.random_state import seeded
from common.report import tables
from common.report.pages import RESULTS
from common.statistics import paired_differences

from .factors import FactorLog, SharedFactor

HERE = Path(__file__).parent
METRICS, CORRECT, DIFFERENCES = "metrics.json", "correct.npz", "differences.json"
LEARNED = {"constant": "constant L2", "shared": "one learned factor", "adaptive": "adaptive L2"}
NAMES = {"none": "no L2", **LEARNED}
PAIRS = (("adaptive", "constant"), ("adaptive", "shared"), ("adaptive", "none"), ("constant", "none"))


PUBLISHED = "digit_classifier"  # in results.json
PRESETS = {PUBLISHED: ("no L2, constant, shared and adaptive factors of one grid", Config())}


@dataclass(frozen=True)
class Trial(SeededTrial):
    """One training of a comparison."""

    method: str
    factor: float  # with which the training begins: λ, or A/2
    seed: int


def trials(config: Config) -> Iterator[Trial]:
    """All trainings of a comparison."""
    for seed in config.seeds:
        yield Trial("none", 0.0, seed)
        for method in LEARNED:
            for factor in config.grid:
                yield Trial(method, factor, seed)


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


def build(config: Config, trial: Trial, image_shape: tuple[int, int, int]) -> tuple[keras.Model, ConstantL2 | None]:
    """The classifier of a trial with its initial weights: images (B, H, W, 1) in [0, 1] -> logits (B, 10)."""
    with seeded(trial.seed), training.precision(config.precision):
        return build_model(trial, image_shape, config.sigmoid_bound)


def build_model(
    trial: Trial, image_shape: tuple[int, int, int], sigmoid_bound: float
) -> tuple[keras.Model, ConstantL2 | None]:
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
    regularizer: ConstantL2
    if trial.method == "constant":
        regularizer = ConstantL2(network, trial.factor, name="regularizer")
    else:
        kind = AdaptiveL2 if trial.method == "adaptive" else SharedFactor
        regularizer = kind(network, 2 * trial.factor, c=sigmoid_bound, name="regularizer")
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
        callbacks=[FactorLog(regularizer)] if regularizer else [],
    )


def evaluate_trial(
    config: Config, trial: Trial, data: digits.Digits, folder: Path, arguments: EvaluationArguments
) -> dict[str, Any]:
    """The accuracies of one trained classifier; cached in its folder."""

    def make() -> dict[str, Any]:
        model, _ = build(config, trial, data.train_images.shape[1:])
        model.load_weights(folder / BEST_WEIGHTS)
        _, rows = split(config, trial.seed, data)
        correct = is_correct(model, data.test_images, data.test_labels)
        with replacing(folder / CORRECT) as file:
            np.savez_compressed(file, correct=correct)
        validation = is_correct(model, data.train_images[rows], data.train_labels[rows])
        return {**asdict(trial), "validation": float(validation.mean()), "test": float(correct.mean())}

    return cached_json(folder / METRICS, [folder / BEST_WEIGHTS], __name__, make, [folder / CORRECT])


def is_correct(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which of images (N, H, W, 1) are classified as their labels (N,): (N,) bool."""
    # Eager calls: `predict` would trace a graph anew for each of the many models of a run.
    parts = np.array_split(images, -(-len(images) // 500))
    logits = np.concatenate([keras.ops.convert_to_numpy(model(part, training=False)) for part in parts])
    return np.argmax(logits, axis=1) == labels


def best_factors(config: Config, records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Method -> its factor with the highest mean validation accuracy over the seeds."""

    def validation(method: str, factor: float) -> float:
        return float(np.mean([r["validation"] for r in records if (r["method"], r["factor"]) == (method, factor)]))

    learned = {method: max(config.grid, key=lambda factor: validation(method, factor)) for method in LEARNED}
    return {"none": 0.0, **learned}


def results_table(config: Config, records: Sequence[dict[str, Any]]) -> str:
    """Accuracies of each method at its best factor, which is to lie inside the grid."""
    rows = []
    for method, factor in best_factors(config, records).items():
        chosen = [r for r in records if (r["method"], r["factor"]) == (method, factor)]
        validation, test = ([100 * record[name] for record in chosen] for name in ("validation", "test"))
        end = " (an end of the grid)" if factor in (config.grid[0], config.grid[-1]) else ""
        cells = [NAMES[method], f"{factor:g}{end}" if factor else None]
        each = " ".join(f"{value:.2f}" for value in test)
        rows.append([*cells, tables.mean_std(validation), tables.mean_std(test), each])
    begins = f"λ, or A/2, the best of {len(config.grid)}"
    return tables.table(["regularization", begins, "validation (%)", "test accuracy (%)", "each seed (%)"], rows)


def differences(results: entry.Results) -> list[dict[str, Any]]:
    """The differences in test accuracy between methods at their best factors, over test images and seeds; cached."""
    files = {
        method: [results.run / Trial(method, factor, seed).name / CORRECT for seed in results.config.seeds]
        for method, factor in best_factors(results.config, results.records).items()
    }

    def make() -> dict[str, Any]:
        correct = {method: np.stack([np.load(path)["correct"] for path in paths]) for method, paths in files.items()}
        return {"differences": paired_differences(correct, PAIRS)}

    inputs = [path for paths in files.values() for path in paths]
    return cached_json(results.run / DIFFERENCES, inputs, __name__, make)["differences"]


def differences_table(values: Sequence[dict[str, Any]]) -> str:
    """The Markdown table of `differences`."""
    return tables.differences_table(values, NAMES, "difference (points)", decimals=2)


def report(results: entry.Results) -> tables.Report:
    """The tables of a comparison."""
    sections = {
        "Accuracy": results_table(results.config, results.records),
        "Differences, with 95 % intervals over test images and seeds": differences_table(differences(results)),
    }
    return tables.Report(title(results.config), sections, {})


def publish(results: entry.Results) -> None:
    """Writes the numbers to `results.json` and renews the tables in RESULTS."""
    config = replace(results.config, publish=False)
    more = {"differences": differences(results)}
    tables.publish(HERE, PRESETS, config, results.records, name=PUBLISHED, more=more)
    renew_pages()


def renew_pages() -> None:
    """Writes the tables of the published comparison into RESULTS."""
    published = tables.published(HERE).get(PUBLISHED)
    if published is None:
        tables.update_between(HERE / RESULTS, "classification", "Not run.")
        return
    config = from_json(published["config"], Config)
    parts = [
        f"{title(config)}:",
        results_table(config, published["trials"]),
        differences_table(published["differences"]),
    ]
    tables.update_between(HERE / RESULTS, "classification", "\n\n".join(parts))


# Apart from the runs of the project itself, among which `evaluate` looks for the newest.
PROJECT = f"{__package__}/digit_classifier"

train = entry.Training(PROJECT, trials, read, lambda config, _: title(config), train_trial)
evaluate = entry.Evaluation(PROJECT, Config, trials, read, is_finished, evaluate_trial, report, publish)


def main(config: Config) -> None:
    """Command line."""
    evaluate(train(replace(config, publish=False)), publish=config.publish)
