"""Every number of an evaluation against an independent program, and what its figures and caches are given."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.experiments.run_folder import open_run
from common.report import plots
from shufflebits import evaluate as evaluation
from shufflebits.config import ALL_ATTACKS, PRESETS, RECONSTRUCTIONS
from shufflebits.data import Parts
from tests.shufflebits.evaluation_oracle import (  # fmt: skip
    ENCRYPTED,
    LOCAL,
    USERS,
    D,
    embedded,
    expected_record,
    features,
    images,
    logits,
    weights_of,
)

STUDY = [{"scheme": "one key", "vectors": 3, "seconds": 1.0}]
SMOKE = replace(PRESETS["smoke"][1], name="run", attacks=ALL_ATTACKS, seeds=(0, 1), classifier_epochs=2)


def table(folder, count, seed):
    """Images of people of one upper color each; the first three show nobody, and have no attributes."""
    rng = np.random.default_rng(seed)
    paths = [folder / f"{place}/{number}.png" for number in range(count) for place in ("query", "gallery")][:count]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((12, 6, 3), 9, "uint8"))
    age, hat = rng.integers(1, 4, count), rng.integers(1, 3, count)
    age[:3] = 1, 2, 3
    red, identity = rng.integers(1, 3, count), np.arange(count) // 3
    for values in (age, hat, red):
        values[identity == 0] = -1
    columns = {"age": age, "hat": hat, "upred": red, "upblue": np.where(red > 0, 3 - red, -1)}
    return pd.DataFrame({"path": [str(path) for path in paths], "identity": identity, "camera": 1, **columns})


class Network:
    """A network of one of the functions above; its weights are a file."""

    def __init__(self, function):
        self._function = function

    def load_weights(self, path):
        assert path.name == "best.weights.h5"
        with np.load(path) as file:
            self.weights = dict(file)

    def predict(self, numbers, batch_size, verbose):
        return self._function(self.weights, numbers)


def write_trainings(config, folder):
    """All trainings have two epochs, but the last one lacks an epoch."""
    np.savez(folder / "features.npz", local=features(LOCAL, 3), users=features(USERS, 4))
    for seed in config.seeds:
        for attack in ALL_ATTACKS:
            trial = folder / f"{attack}-seed{seed}"
            trial.mkdir()
            with open(trial / "best.weights.h5", "wb") as file:
                np.savez(file, **weights_of(trial.name))
            epochs = 1 if trial.name == "adversarial-seed1" else 2  # of 40 images: 4 iterations of 16
            pd.DataFrame({"loss": [1.0] * epochs}).to_csv(trial / "log.csv")


def build_classifier(num_features, classes):
    assert num_features == D and classes == {"age": ["1", "2", "3"], "hat": ["1", "2"], "upper_color": ["blue", "red"]}
    return Network(logits)


def build_reconstructor(config, trial, num_features, pretrained):
    assert (num_features, pretrained) == (D, False)
    network = Network(images)
    return SimpleNamespace(training_model=network, generator=network)


@contextlib.contextmanager
def victim_client(config, run):
    yield SimpleNamespace(embed=lambda pictures: embedded(np.stack(pictures)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run and its evaluation, and what figures and study were given."""
    tmp_path, seen = tmp_path_factory.mktemp("evaluation"), {}
    parts = Parts(None, table(tmp_path / "local", LOCAL, 1), table(tmp_path / "users", USERS, 2))
    folder = open_run(replace(SMOKE, runs_dir=tmp_path), __package__.split(".")[-1])
    write_trainings(SMOKE, folder)

    def study(local, users, **options):
        seen["study"] = local, users, options
        return STUDY

    study.__module__ = "shufflebits.cryptanalysis.study"
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(evaluation, "build_classifier", build_classifier)
        patches.setattr(evaluation, "build_reconstructor", build_reconstructor)
        patches.setattr(evaluation, "victim_client", victim_client)
        patches.setattr(evaluation, "study_ciphers", study)
        patches.setattr(evaluation, "study_table", lambda records: f"STUDY OF {len(records)}")
        for name in ("bars", "image_rows", "training_curves"):
            patches.setattr(plots, name, lambda path, content, *_: seen.update({path.stem: content}))
        evaluate = replace(evaluation.evaluate, read=lambda config: parts)
        yield SimpleNamespace(folder=folder, parts=parts, seen=seen, evaluate=evaluate, records=evaluate(folder))


def flat(record, path=()):
    if not isinstance(record, dict):
        return {path: record}
    return {key: value for name, item in record.items() for key, value in flat(item, (*path, name)).items()}


def test_every_number(run):
    local, users = features(LOCAL, 3), features(USERS, 4)
    order = [(attack, seed) for seed in (0, 1) for attack in ALL_ATTACKS][:-1]  # the last lacks an epoch
    assert [(record["attack"], record["seed"]) for record in run.records] == order
    for record, (attack, seed) in zip(run.records, order):
        written = json.loads((run.folder / f"{attack}-seed{seed}/metrics.json").read_text())
        assert written == record and written.pop("made_from")
        assert (written.pop("attack"), written.pop("seed")) == (attack, seed)
        trusted = written.pop("certainty", {})
        accuracies = {name for name in written.get("balanced_accuracy", {}) if "zeros" not in name}
        assert trusted.keys() == accuracies and all(0 < value["null"]["p"] <= 1 for value in trusted.values())
        expected = flat(expected_record(run.parts, local, users, attack, seed))
        assert flat(written) == pytest.approx(expected, rel=1e-5), (attack, seed)
    # Settings differ, so that a mix-up shows; a broken key may leave all decisions as they are.
    accuracies = [*run.records[0]["balanced_accuracy"].values(), *run.records[1]["balanced_accuracy"].values()]
    assert len({tuple(each.values()) for each in accuracies}) >= 5 + 2
    assert len({value for record in run.records[2:5] for value in record["cosine_distance"].values()}) == 3 * 7


def test_images_are_written_for_plain_features_alone(run):
    pictures = run.folder / "pixel-seed1/reconstructions"
    expected = np.rint(255 * images(weights_of("pixel-seed1"), features(USERS, 4)))
    for path, image in zip(run.parts.users.path, expected):
        file = pictures / "plain" / Path(path).parent.name / Path(path).name
        np.testing.assert_array_equal(np.asarray(Image.open(file)), image)
    assert [path.name for path in pictures.iterdir()] == ["plain"]


def test_study_is_of_users_who_are_somebody(run):
    local, users, options = run.seen["study"]
    np.testing.assert_array_equal(local, features(LOCAL, 3))
    np.testing.assert_array_equal(users, features(USERS, 4)[3:])
    np.testing.assert_array_equal(options.pop("identities"), np.arange(3, USERS) // 3)
    assert options == {"num_keys": SMOKE.cipher_keys}
    assert json.loads((run.folder / "cipher.json").read_text())["study"] == STUDY
    assert json.loads((run.folder / "report.json").read_text())["cipher"] == STUDY
    assert "STUDY OF 1" in (run.folder / "report.md").read_text()


def test_figures_show_means_over_seeds_and_images_of_the_first(run):
    records = run.records
    classifiers = [record for record in records if record["attack"] == "attributes"]
    settings = {"not encrypted": [], ENCRYPTED[0]: [], ENCRYPTED[3]: []}
    heights = {
        name: [
            round(100 * sum(record["balanced_accuracy"][name][attribute] for record in classifiers) / 2)
            for attribute in ("age", "hat", "upper_color")
        ]
        for name in settings
    }
    assert run.seen["attributes"] == {**heights, "chance": [33, 50, 50]}
    titles = ["pixel", "feature reconstruction", "feature reconstruction\n+ adversarial"]
    distances = [record["cosine_distance"]["not encrypted"] for record in records[2:5]]
    rows = run.seen["reconstructions"]
    assert list(rows) == ["original", *(f"{title}\n{value:.4f}" for title, value in zip(titles, distances))]
    shown = [*range(0, 16, 2)]  # eight of 15
    for attack, row in zip(RECONSTRUCTIONS, list(rows.values())[1:]):
        pictures = np.rint(255 * images(weights_of(f"{attack}-seed0"), features(USERS, 4)[shown]))
        resized = np.stack([cv2.resize(picture.astype("uint8"), (6, 12)) for picture in pictures])
        np.testing.assert_allclose(row, resized / 255)
    assert [trial.name for trial in run.seen[run.folder.stem]] == [
        record["attack"] + f"-seed{record['seed']}" for record in records
    ]
    text = (run.folder / "report.md").read_text()
    assert (
        "Attacks on stolen features (9 of 10 trainings)" in text and "mean cosine distances, seed 0 (Fig. 2.7)" in text
    )
    assert "smoke" not in text and "run: trained model, local set and users from synthetic" in text


def test_numbers_are_made_again_only_where_something_has_changed(run, tmp_path, monkeypatch):
    folder, evaluated = tmp_path / "run", []
    shutil.copytree(run.folder, folder)
    numbers = {name: run.records[0][name] for name in ("chance", "balanced_accuracy")} | {"cosine_distance": {}}
    for name in ("evaluate_classifier", "evaluate_reconstructor"):
        monkeypatch.setattr(evaluation, name, lambda config, trial, *_: evaluated.append(trial.name) or numbers)
    run.seen.clear()
    assert run.evaluate(folder) == run.records and evaluated == [] and "study" not in run.seen
    with open(folder / "attributes-seed1/best.weights.h5", "wb") as file:
        np.savez(file, **weights_of("attributes-seed0"))
    assert run.evaluate(folder)[:5] == run.records[:5] and evaluated == ["attributes-seed1"]
    (folder / "pixel-seed1/reconstructions/chacha20.npz").write_bytes(b"of the victim model's owner")
    run.evaluate(folder)
    assert evaluated[1:] == ["pixel-seed1"] and "study" not in run.seen
    np.savez(folder / "features.npz", local=features(LOCAL, 3), users=features(USERS, 5))
    run.evaluate(folder)
    assert len(evaluated) == 2 + 9 and "study" in run.seen


def test_pictures_have_the_size_of_the_first(tmp_path, monkeypatch):
    pictures = {}
    monkeypatch.setattr(plots, "image_rows", lambda path, rows: pictures.update(rows))
    for name, size in (("a", (4, 6)), ("b", (5, 3)), ("c", (2, 2))):
        Image.new("RGB", size, (51, 0, 255)).save(tmp_path / f"{name}.png")
    a, b, c = (str(tmp_path / f"{name}.png") for name in "abc")
    evaluation.draw_images(tmp_path / "figure.png", [a, b], {"made": [c, b]})
    assert {name: images.shape for name, images in pictures.items()} == dict.fromkeys(
        ("original", "made"), (2, 6, 4, 3)
    )
    np.testing.assert_allclose(pictures["made"], np.broadcast_to([0.2, 0, 1], (2, 6, 4, 3)))
