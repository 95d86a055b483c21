"""The regularizer in a plain classifier of digits, which the publication proposes as future work.

python -m PROJECT.classification [--data-dir DIR --dataset mnist] [--field value …]
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tyro
from keras import layers

from common import config as run_config
from common import distribution, report, training
from common.datasets import batches, digits
from common.files import write_json
from common.layers import AdaptiveL2, FactorLog

HERE = Path(__file__).parent
METRICS = "metrics.json"


@dataclass(frozen=True)
class Config(run_config.RunConfig):
    """One comparison: no L2, the best constant factor of a grid, adaptive factors."""

    name: str = "classification"  # run folder below runs-dir/<project>
    seeds: tuple[int, ...] = (0, 1, 2)  # each chooses its images and initial weights
    dataset: Literal["digits", "mnist", "usps"] = "digits"  # images to read
    train_images: int = 500  # few, so that regularization matters
    validation_images: int = 500  # choose the constant factor; from the training split too
    grid: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # constant factors λ to choose from
    amplitude: float = 0.005  # A of Eq. 2.6, the publication's
    epochs: int = 60  # passes over the training images
    batch_size: int = 50  # images a step
    learning_rate: float = 1e-3  # of Adam
    publish: bool = False  # write the table into the project's README


def trials(config: Config) -> Iterator[tuple[str, float, int]]:
    """(method, factor or amplitude, seed) of each training."""
    for seed in config.seeds:
        yield "none", 0.0, seed
        yield "adaptive", config.amplitude, seed
        for factor in config.grid:
            yield "constant", factor, seed


def build(image_shape: tuple[int, int, int], method: str, factor: float) -> tuple[keras.Model, AdaptiveL2 | None]:
    """A network of two convolutions with batch normalization and a dense layer; images in [0, 1] -> logits (B, 10)."""
    image = keras.Input(image_shape, name="image")
    x = image
    for i, filters in enumerate((32, 64), 1):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{i}")(x)
        x = layers.ReLU(name=f"relu{i}")(layers.BatchNormalization(momentum=0.9, name=f"bn{i}")(x))
        x = layers.MaxPooling2D(name=f"pool{i}")(x)
    network = keras.Model(image, layers.Dense(10, name="logits")(layers.Flatten(name="features")(x)), name="network")
    if method == "none":
        return network, None
    regularizer = AdaptiveL2(network, factor, adaptive=method == "adaptive", name="regularizer")
    return keras.Model(image, regularizer(image), name="training"), regularizer


def train_trial(
    config: Config, method: str, factor: float, seed: int, data: digits.Digits, folder: Path
) -> dict[str, Any]:
    """Trains one classifier into `folder` and returns its accuracies; a finished one is read again."""
    if (folder / METRICS).exists():
        return json.loads((folder / METRICS).read_text(encoding="utf-8"))
    order = np.random.default_rng(seed).permutation(len(data.train_images))
    chosen, held = np.split(order[: config.train_images + config.validation_images], [config.train_images])
    training.seed_everything(seed)
    model, regularizer = build(data.train_images.shape[1:], method, factor)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(config.learning_rate), loss, jit_compile=distribution.jit())
    images, labels = data.train_images[chosen], keras.ops.convert_to_tensor(data.train_labels[chosen])

    def labelled(first_epoch: int) -> batches.Dataset:
        # Positions are shuffled, so that images and labels stay together.
        positions = batches.shuffled_batches(
            np.arange(len(images)), config.batch_size, seed=seed, first_epoch=first_epoch
        )
        pixels = keras.ops.convert_to_tensor(images)
        return positions.map(lambda i: (keras.ops.take(pixels, i, axis=0), keras.ops.take(labels, i)))

    training.fit(
        model,
        labelled,
        steps_per_epoch=batches.steps_per_epoch(len(images), config.batch_size),
        epochs=config.epochs,
        folder=folder,
        monitor=None,
        callbacks=[FactorLog(regularizer)] if method == "adaptive" else [],
    )

    def accuracy(pixels: np.ndarray, truth: np.ndarray) -> float:
        # Eager calls: `predict` would trace a graph anew for each of the many models of a run.
        parts = np.array_split(pixels, -(-len(pixels) // 500))
        logits = np.concatenate([keras.ops.convert_to_numpy(model(part, training=False)) for part in parts])
        return float(np.mean(np.argmax(logits, axis=1) == truth))

    record = {
        "method": method,
        "factor": factor,
        "seed": seed,
        "validation": accuracy(data.train_images[held], data.train_labels[held]),
        "test": accuracy(data.test_images, data.test_labels),
    }
    write_json(folder / METRICS, record)
    return record


def results_table(config: Config, records: list[dict[str, Any]]) -> str:
    """Test accuracy of each method; the constant factor is the one of the highest mean validation accuracy."""

    def of(method: str, factor: float) -> list[dict[str, Any]]:
        return [record for record in records if (record["method"], record["factor"]) == (method, factor)]

    best = max(config.grid, key=lambda factor: np.mean([record["validation"] for record in of("constant", factor)]))
    rows = []
    for name, method, factor, trainings in (
        ("no L2", "none", 0.0, 1),
        (f"constant L2, λ = {best:g}, the best of {len(config.grid)}", "constant", best, len(config.grid)),
        (f"adaptive L2, A = {config.amplitude:g}", "adaptive", config.amplitude, 1),
    ):
        found = of(method, factor)
        each = " ".join(f"{100 * record['test']:.2f}" for record in found)
        validation, test = (
            report.mean_std([100 * record[split] for record in found]) for split in ("validation", "test")
        )
        rows.append([name, validation, test, each, trainings])
    columns = ["regularization", "validation (%)", "test accuracy (%)", "each seed (%)", "trainings for one"]
    return report.table(columns, rows)


def main() -> None:
    """Command line."""
    config = tyro.cli(Config)
    data = digits.read(config.dataset, config.data_dir)
    if config.train_images + config.validation_images > len(data.train_images):
        raise ValueError(
            f"train_images and validation_images must be {len(data.train_images)} or fewer together, "
            f"got {config.train_images} and {config.validation_images}."
        )
    run = run_config.open_run(replace(config, publish=False), __package__)
    records = [
        train_trial(config, method, factor, seed, data, run / f"{method}-{factor:g}-seed{seed}")
        for method, factor, seed in trials(config)
    ]
    table = results_table(config, records)
    title = f"{config.train_images} images of {config.dataset}, {config.epochs} epochs, seeds {config.seeds}"
    report.write_report(run, title, {"Test accuracy": table}, {}, {"trials": records})
    if config.publish:
        report.update_between(HERE / "README.md", "classification", f"{title}:\n\n{table}")


if __name__ == "__main__":
    run_config.run_command(main)
