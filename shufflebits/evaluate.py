"""Evaluates a run: attributes and images from stolen features, plain and encrypted, and the cipher under attack itself.

python -m PROJECT.evaluate [RUN] [--publish]
"""

from common.experiments import command
from common.experiments.config import EvaluationArguments

if __name__ == "__main__":  # the command line is read before what takes seconds to import
    command.run(__spec__.name, EvaluationArguments)

import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.datasets import person_reid
from common.datasets.images import read_image
from common.experiments import entry
from common.experiments.checkpoint import BEST_WEIGHTS, epochs_done
from common.experiments.identity import cached_json
from common.metrics import cosine_distances
from common.random_state import seeded
from common.report import plots, tables
from common.report.page_parts import Slider

from .attacks import attributes, encryption_settings, reconstructions
from .attacks.certainty import certainty
from .attacks.collect import FEATURES, load, victim_client
from .attacks.encryption_settings import ANOTHER, BROKEN, ONE_KEY, PLAIN, ZEROS
from .attacks.training import build_reconstructor
from .config import RECONSTRUCTIONS, Config, Trial, epochs_of, trials
from .cryptanalysis import study_ciphers, study_table
from .data import Parts, read
from .model import build_classifier
from .tables import ATTACKS, attack_table, attribute_table, certainty_table, distance_table
from .tables import publish as publish_tables

METRICS, CIPHER = "metrics.json", "cipher.json"
_SHOWN = 8  # images in the figure
_BATCH = 256

Stolen = dict[str, np.ndarray]  # encryption setting -> what an attack model gets, (M, D)


def is_finished(config: Config, trial: Trial, parts: Parts, folder: Path) -> bool:
    """Whether a training has all its epochs."""
    return (folder.parent / FEATURES).exists() and epochs_done(folder) >= epochs_of(config, trial, len(parts.local))


def evaluate_trial(
    config: Config, trial: Trial, parts: Parts, folder: Path, arguments: EvaluationArguments
) -> dict[str, Any]:
    """The numbers of one attack model; cached in its folder."""

    def make() -> dict[str, Any]:
        evaluate_model = evaluate_reconstructor if trial.attack in RECONSTRUCTIONS else evaluate_classifier
        return {**asdict(trial), **evaluate_model(config, trial, parts, folder)}

    inputs = [folder / BEST_WEIGHTS, folder.parent / FEATURES, *reconstructions.features_files(folder)]
    return cached_json(folder / METRICS, inputs, __name__, make)


def evaluate_classifier(config: Config, trial: Trial, parts: Parts, folder: Path) -> dict[str, Any]:
    """Balanced accuracy of each attribute for each kind of stolen features, and what their mean is worth."""
    labels, stolen = attributes.read_labels(parts.local, parts.users), stolen_features(trial, folder.parent)
    with seeded(0):
        model = build_classifier(next(iter(stolen.values())).shape[1], labels.classes)
    model.load_weights(folder / BEST_WEIGHTS)
    people = parts.users.identity.to_numpy()
    accuracies, trusted = {}, {}
    for setting, features in stolen.items():
        logits = model.predict(features, batch_size=_BATCH, verbose=0)
        accuracies[setting] = attributes.balanced_accuracies(labels.users, logits)
        trusted[setting] = certainty(labels.users, logits, people)
    if trial.attack == "attributes_on_words":
        accuracies[ZEROS] = attributes.from_zeros(labels, *load(folder.parent))
    return {"chance": labels.chance, "balanced_accuracy": accuracies, "certainty": trusted}


def evaluate_reconstructor(config: Config, trial: Trial, parts: Parts, folder: Path) -> dict[str, Any]:
    """Mean cosine distance between the features of the original and of its reconstruction from stolen ones.

    Without a server the model's owner embeds the reconstructions, as `attacks.reconstructions` says.
    """
    stolen = stolen_features(trial, folder.parent)
    plain, paths = stolen[PLAIN], parts.users.path.tolist()
    model = build_reconstructor(config, trial, plain.shape[1], pretrained=False)
    model.training_model.load_weights(folder / BEST_WEIGHTS)
    distances = {}
    with victim_client(config, folder.parent) as client:
        for setting, features in stolen.items():
            images = np.round(255 * model.generator.predict(features, batch_size=_BATCH, verbose=0)).astype("uint8")
            again = reconstructions.embed(client, images, folder, setting, paths, plain.shape[1])
            if again is None:
                continue
            distances[setting] = float(np.mean(cosine_distances(plain, again)))
            if setting == PLAIN:
                # The distance to the reconstruction of another image marks an attack that learns nothing.
                others = np.random.default_rng(trial.seed).permutation(len(plain))
                distances[ANOTHER] = float(np.mean(cosine_distances(plain, again[others])))
    return {"cosine_distance": distances}


def stolen_features(trial: Trial, run: Path) -> Stolen:
    """What the attack model of a trial gets, (M, D) in each encryption setting."""
    if trial.attack == "attributes_on_words":
        return {ONE_KEY: encryption_settings.on_words(*load(run), trial.seed)[1]}
    return _stolen(run, (run / FEATURES).stat().st_mtime_ns, trial.seed)


@functools.lru_cache(maxsize=1)  # breaking the keys takes a while, and several trials of a seed need it
def _stolen(run: Path, written_at: int, seed: int) -> Stolen:
    return encryption_settings.stolen(*load(run), seed)


def evaluate_cipher(results: entry.Results) -> list[dict[str, Any]]:
    """The study of attacks on the cipher itself; cached in the run folder."""
    people = results.data.users.identity.to_numpy()
    known = people != person_reid.DISTRACTOR

    def make() -> dict[str, Any]:
        local, users = load(results.run)
        keys = results.config.cipher_keys
        return {"study": study_ciphers(local, users[known], identities=people[known], num_keys=keys)}

    inputs = [results.run / FEATURES]
    return cached_json(results.run / CIPHER, inputs, study_ciphers.__module__, make)["study"]


def report(results: entry.Results) -> tables.Report:
    """Tables and figures of a run."""
    config, records, study = results.config, results.records, evaluate_cipher(results)
    captions, sliders = draw(results)
    return tables.Report(
        f"{config.name}: {config.victim} model, local set and users from {config.dataset}",
        {
            f"Attacks on stolen features ({len(results.trials)} of {results.planned} trainings)": attack_table(records),
            "Mean balanced accuracy: 95 % interval over people, and what chance gives": certainty_table(records),
            "Each attribute, not encrypted": attribute_table(records),
            "Paper and this run: mean cosine distance (Fig. 2.7)": distance_table(config, records),
            "Attacks on the cipher itself": study_table(study),
            **reconstructions_to_embed(results),
        },
        captions,
        {"cipher": study},
        sliders,
    )


def reconstructions_to_embed(results: entry.Results) -> dict[str, str]:
    """A section that lists what the owner of a model that is not here has yet to embed; none if that is nothing."""
    missing = [
        f"- `{folder.with_suffix('')}` into `{folder.name}` next to it"
        for trial, record in zip(results.trials, results.records)
        for setting in encryption_settings.FILE_NAMES
        if trial.attack in RECONSTRUCTIONS and setting not in record["cosine_distance"]
        for folder in [reconstructions.features_file(results.run / trial.name, setting)]
    ]
    text = "Embed the images of each folder with the victim model, then evaluate again for the distances.\n\n"
    return {"Reconstructions to embed": text + "\n".join(missing)} if missing else {}


def draw(results: entry.Results) -> tuple[dict[str, str], list[Slider]]:
    """Draws Figs. 2.6 and 2.7 and the losses; returns the captions of all figures, and reconstructions to compare."""
    run, records = results.run, results.records
    plots.training_curves(run, results.trials)
    captions, sliders = {"figures/loss.png": "Training losses of the attack models."}, []
    classifiers = [record for record in records if record["attack"] == "attributes"]
    if classifiers:
        draw_attributes(run / "figures/attributes.png", classifiers)
        captions["figures/attributes.png"] = "Balanced accuracy (%) of each attribute and chance (Fig. 2.6)."
    seed = results.trials[0].seed
    pairs = zip(results.trials, records)
    reconstructors = [pair for pair in pairs if pair[0].attack in RECONSTRUCTIONS and pair[0].seed == seed]
    if reconstructors:
        stacks = draw_reconstructions(run, results.data, reconstructors)
        captions["figures/reconstructions.png"] = (
            f"Users' images, what is made of their plain features, and mean cosine distances, seed {seed} (Fig. 2.7)."
        )
        sliders = [Slider.of_rows("Reconstructions", captions["figures/reconstructions.png"], stacks)]
    return captions, sliders


def draw_attributes(path: Path, records: list[dict[str, Any]]) -> None:
    """Fig. 2.6, mean over seeds, with encrypted features next to plain ones."""
    names = list(records[0]["chance"])
    heights = {
        setting: [100 * np.mean([r["balanced_accuracy"][setting][name] for r in records]) for name in names]
        for setting in (PLAIN, ONE_KEY, BROKEN)
    }
    heights["chance"] = [100 * records[0]["chance"][name] for name in names]
    rounded = {name: np.round(values).astype(int).tolist() for name, values in heights.items()}
    plots.bars(path, rounded, [name.replace("_", " ") for name in names], "attribute", "balanced accuracy (%)")


def draw_reconstructions(
    run: Path, parts: Parts, reconstructors: list[tuple[Trial, dict[str, Any]]]
) -> dict[str, np.ndarray]:
    """Fig. 2.7: a row of images for each attack model; returns the rows."""
    shown, rows = shown_images(parts), {}
    for trial, record in reconstructors:
        distance = record["cosine_distance"].get(PLAIN)
        name = ATTACKS[trial.attack].replace(" + ", "\n+ ") + ("" if distance is None else f"\n{distance:.4f}")
        rows[name] = [reconstructions.image_file(run / trial.name, PLAIN, path) for path in shown]
    return draw_images(run / "figures/reconstructions.png", shown, rows)


def shown_images(parts: Parts) -> list[str]:
    """Paths of users' images for a figure, spread evenly."""
    return parts.users.path.iloc[np.linspace(0, len(parts.users) - 1, _SHOWN).astype(int)].tolist()


def draw_images(path: Path, originals: Sequence[str], rows: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """Draws image files, the originals first, then the row of each name, in the size of the first original.

    Returns:
        The rows, (N, H, W, 3) in [0, 1].
    """
    images = {name: [read_image(file) for file in files] for name, files in {"original": originals, **rows}.items()}
    size = images["original"][0].shape[1::-1]
    stacks = {name: np.stack([cv2.resize(image, size) for image in row]) / 255 for name, row in images.items()}
    plots.image_rows(path, stacks)
    return stacks


def publish(results: entry.Results) -> None:
    """Writes a run's numbers and the study of its cipher to `results.json`, and renews the pages."""
    publish_tables(results, evaluate_cipher(results))


evaluate = entry.Evaluation(__package__, Config, trials, read, is_finished, evaluate_trial, report, publish)
main = evaluate.main
