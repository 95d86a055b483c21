"""Evaluates a run: attributes and images from stolen features, plain and encrypted, and the cipher under attack itself.

python -m PROJECT.evaluate [RUN] [--publish]
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import tyro
from tqdm import tqdm

from common import config as run_config
from common import figures, report
from common.datasets import reid
from common.datasets.images import read_image
from common.files import replacing
from common.metrics import cosine_distances
from common.training import BEST_WEIGHTS, epochs_done

from . import (
    attack_trials,
    attributes,
    cryptanalysis,
    key_recovery,
    norm_equation,
    profile,
    proprietary,
    results,
    scenarios,
)
from .blackbox import Parts, load, read, read_features
from .client import Client
from .config import RECONSTRUCTIONS, Config, Trial, epochs_of, trials
from .model import build_classifier
from .threats import build_reconstructor
from .train import FEATURES

METRICS, PICTURES, RECONSTRUCTED = "metrics.json", "reconstructions", "reconstructed.npz"
_SHOWN = 8  # images in the figure
_BATCH = 256
# What the attack on the cipher is a function of; the scenarios that it breaks are too.
_CIPHER_CODE = [
    Path(module.__file__) for module in (cryptanalysis, attack_trials, key_recovery, norm_equation, profile)
]

Fed = dict[str, np.ndarray]  # scenario -> what a threat model is fed with, (M, D)


def evaluate_classifier(run: Path, trial: Trial, labels: attributes.Labels, fed: Fed) -> dict[str, Any]:
    """Balanced accuracy of each attribute for each kind of stolen features."""
    model = build_classifier(next(iter(fed.values())).shape[1], labels.classes)
    model.load_weights(run / trial.name / BEST_WEIGHTS)
    found = {
        scenario: attributes.balanced_accuracies(labels.users, model.predict(features, batch_size=_BATCH, verbose=0))
        for scenario, features in fed.items()
    }
    return {**asdict(trial), "chance": labels.chance, "balanced_accuracy": found}


def evaluate_reconstructor(
    run: Path, config: Config, trial: Trial, parts: Parts, fed: Fed, client: Client | None
) -> dict[str, Any]:
    """Mean cosine distance between the features of the original and of what is made of its stolen ones.

    The images made of plain features are kept as PNG files. Without a server it is for the model's owner to embed
    them, into `reconstructed.npz`, a file as `blackbox.read_features` reads.
    """
    plain, folder = fed[scenarios.PLAIN], run / trial.name
    model = build_reconstructor(config, trial, plain.shape[1], pretrained=False)
    model.training.load_weights(folder / BEST_WEIGHTS)
    files = [picture(folder, path) for path in parts.users.path]
    found = {}
    for scenario, features in fed.items():
        images = np.round(255 * model.generator.predict(features, batch_size=_BATCH, verbose=0)).astype("uint8")
        if scenario == scenarios.PLAIN:
            write_images(files, images)
        if client is not None:
            again = client.embed(list(images))
        elif scenario == scenarios.PLAIN and (folder / RECONSTRUCTED).exists():
            again = read_features(folder / RECONSTRUCTED, files)
        else:
            continue
        found[scenario] = float(np.mean(cosine_distances(plain, again)))
        if scenario == scenarios.PLAIN:
            # What a reconstruction of another image would score: the mark of an attack that learns nothing.
            others = np.random.default_rng(trial.seed).permutation(len(plain))
            found[results.ANOTHER] = float(np.mean(cosine_distances(plain, again[others])))
    return {**asdict(trial), "cosine_distance": found}


def picture(folder: Path, path: str) -> str:
    """Where the folder of a trial has what is made of an image's features."""
    return str(folder / PICTURES / Path(path).parent.name / f"{Path(path).stem}.png")


def write_images(files: Sequence[str], images: np.ndarray) -> None:
    """Writes images (N, H, W, 3) uint8, RGB."""
    for file, image in zip(files, images):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(file)) as temporary:
            temporary.write_bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1])


def evaluate_trial(
    run: Path, config: Config, trial: Trial, parts: Parts, feed: Callable[[Trial], Fed], client: Client | None
) -> dict[str, Any]:
    """The numbers of one threat model; kept in its folder until its weights or this code change."""

    def make() -> dict[str, Any]:
        if trial.attack in RECONSTRUCTIONS:
            return evaluate_reconstructor(run, config, trial, parts, feed(trial), client)
        labels = attributes.read_labels(parts.local, parts.users)
        record = evaluate_classifier(run, trial, labels, feed(trial))
        if trial.attack == "attributes_on_words":
            record["balanced_accuracy"][scenarios.ZEROS] = attributes.from_zeros(labels, *load(run / FEATURES))
        return record

    folder = run / trial.name
    code = [Path(__file__), Path(scenarios.__file__), Path(attributes.__file__), *_CIPHER_CODE]
    sources = [folder / BEST_WEIGHTS, run / FEATURES, *code]
    sources += [path for path in (folder / RECONSTRUCTED,) if path.exists()]
    return report.made_once(folder / METRICS, sources, make)


def evaluate_cipher(
    run: Path, config: Config, parts: Parts, local: np.ndarray, users: np.ndarray
) -> list[dict[str, Any]]:
    """The study of attacks on the cipher itself, kept like the numbers of a trial."""
    people = parts.users.identity.to_numpy()
    known = people != reid.DISTRACTOR

    def make() -> dict[str, Any]:
        return {
            "study": cryptanalysis.study(local, users[known], identities=people[known], num_keys=config.cipher_keys)
        }

    return report.made_once(run / "cipher.json", [run / FEATURES, *_CIPHER_CODE], make)["study"]


def evaluate(run: Path, publish: bool = False) -> list[dict[str, Any]]:
    """Evaluates the finished trials of a run and writes its report and figures.

    Args:
        run: run folder.
        publish: also keep the numbers in the project's `results.json` and renew its README's tables.

    Raises:
        ValueError: not a run folder, or no training in it is finished.
    """
    config = run_config.load_config(run, Config)
    if not (run / FEATURES).exists():
        raise ValueError(f"{run} has no features yet. The command that trains it continues it.")
    parts = read(config)
    local, users = load(run / FEATURES)
    planned = list(trials(config))
    finished = run_config.finished(
        run, planned, lambda trial: epochs_done(run / trial.name) >= epochs_of(config, trial, len(local))
    )
    stolen = functools.cache(lambda seed: scenarios.stolen(local, users, seed))

    def feed(trial: Trial) -> Fed:
        if trial.attack == "attributes_on_words":
            return {scenarios.ONE_KEY: scenarios.on_words(local, users, trial.seed)[1]}
        return stolen(trial.seed)

    with proprietary.black_box(run, config) as client:
        records = [evaluate_trial(run, config, trial, parts, feed, client) for trial in tqdm(finished, "evaluate")]
    study = evaluate_cipher(run, config, parts, local, users)
    report.write_report(
        run,
        f"{config.name}: {config.proprietary} model, local set and users from {config.dataset}",
        {
            f"Attacks on stolen features ({len(finished)} of {len(planned)} trainings)": results.attack_table(records),
            "Each attribute, not encrypted": results.attribute_table(records),
            "Paper and this run: mean cosine distance (Fig. 2.7)": results.distance_table(config, records),
            "Attacks on the cipher itself": cryptanalysis.study_table(study),
        },
        draw(run, parts, finished, records),
        {"config": run_config.to_json(config), "trials": records, "cipher": study},
    )
    if publish:
        results.publish(config, records, study, run)
    return records


def draw(run: Path, parts: Parts, finished: list[Trial], records: list[dict[str, Any]]) -> dict[str, str]:
    """Draws Figs. 2.6 and 2.7 and the losses; returns the captions of all figures."""
    logs = {trial.name: pd.read_csv(run / trial.name / "log.csv") for trial in finished}
    figures.curves(run / "figures/loss.png", {name: log["loss"] for name, log in logs.items()}, "epoch", "loss")
    pictures = {"figures/loss.png": "Training losses of the threat models."}
    classifiers = [record for record in records if record["attack"] == "attributes"]
    if classifiers:
        draw_attributes(run / "figures/attributes.png", classifiers)
        pictures["figures/attributes.png"] = "Balanced accuracy (%) of each attribute and chance (Fig. 2.6)."
    seed = finished[0].seed
    made = [pair for pair in zip(finished, records) if pair[0].attack in RECONSTRUCTIONS and pair[0].seed == seed]
    if made:
        draw_reconstructions(run, parts, made)
        pictures["figures/reconstructions.png"] = (
            f"Users' images, what is made of their plain features, and mean cosine distances, seed {seed} (Fig. 2.7)."
        )
    return pictures


def draw_attributes(path: Path, records: list[dict[str, Any]]) -> None:
    """Fig. 2.6, mean over seeds, with encrypted features beside plain ones."""
    names = list(records[0]["chance"])
    heights = {
        scenario: [100 * np.mean([r["balanced_accuracy"][scenario][name] for r in records]) for name in names]
        for scenario in (scenarios.PLAIN, scenarios.ONE_KEY, scenarios.BROKEN)
    }
    heights["chance"] = [100 * records[0]["chance"][name] for name in names]
    rounded = {name: np.round(values).astype(int).tolist() for name, values in heights.items()}
    figures.bars(path, rounded, [name.replace("_", " ") for name in names], "attribute", "balanced accuracy (%)")


def draw_reconstructions(run: Path, parts: Parts, made: list[tuple[Trial, dict[str, Any]]]) -> None:
    """Fig. 2.7: a row of images for each threat model."""
    shown = parts.users.iloc[np.linspace(0, len(parts.users) - 1, _SHOWN).astype(int)]
    rows = {"original": [read_image(path) for path in shown.path]}
    for trial, record in made:
        distance = record["cosine_distance"].get(scenarios.PLAIN)
        name = results.ATTACKS[trial.attack].replace(" + ", "\n+ ") + ("" if distance is None else f"\n{distance:.4f}")
        rows[name] = [read_image(picture(run / trial.name, path)) for path in shown.path]
    size = rows["original"][0].shape[1::-1]
    images = {name: np.stack([cv2.resize(image, size) for image in row]) / 255 for name, row in rows.items()}
    figures.image_rows(run / "figures/reconstructions.png", images)


def main() -> None:
    """Command line."""
    arguments = tyro.cli(run_config.EvaluationArguments)
    evaluate(arguments.folder(__package__), arguments.publish)


if __name__ == "__main__":
    run_config.run_command(main)
