"""Training, resuming and evaluating the whole of a small run; the adversary talks to a real server."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from common.datasets.images import read_image
from common.metrics import cosine_distances
from shufflebits import evaluate as evaluation
from shufflebits import train as training_program
from shufflebits.attacks.collect import FEATURES
from shufflebits.attacks.encryption_settings import PLAIN
from shufflebits.attacks.victim import restore_embedder
from shufflebits.config import ALL_ATTACKS, PRESETS
from shufflebits.data import read
from shufflebits.evaluate import evaluate
from shufflebits.train import train
from tests.helpers import assert_figures
from tests.resuming import assert_same_checkpoints, stopping

pytest.importorskip("tensorflow")

SMOKE = replace(PRESETS["smoke"][1], name="run", attacks=ALL_ATTACKS)


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path_factory.mktemp("runs"))
    folder = train(config)
    return folder, config, evaluate(folder)


def test_features_are_what_the_server_gives_out(run):
    folder, config, _ = run
    parts, embedder = read(config), restore_embedder(folder)
    with np.load(folder / FEATURES) as features:
        assert len(features["local"]) == len(parts.local) and len(features["users"]) == len(parts.users)
        images = np.stack([read_image(path, config.image_size) for path in parts.users.path[:5]])
        np.testing.assert_allclose(features["users"][:5], embedder.predict(images, verbose=0), atol=1e-6)


def test_stopped_in_the_last_training_it_ends_with_the_same_weights(run, people, tmp_path, monkeypatch):
    whole, _, _ = run
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path, attacks=("adversarial",))
    with stopping(lambda folder: folder.name == "adversarial-seed0"):
        train(config)
    monkeypatch.setattr(training_program, "collect", None)  # features are not collected again
    assert_same_checkpoints(train(config), whole, "victim", "adversarial-seed0")


# Losses of the last epoch from seed 0: the trainings as a whole. A change of these is a change of results.
GOLDEN = {"attributes": 13.52163, "pixel": 0.051130, "feature": 0.157751, "adversarial": 0.173392}


def test_golden_training_logs(run):
    losses = {attack: pd.read_csv(run[0] / f"{attack}-seed0/log.csv")["loss"].iloc[-1] for attack in GOLDEN}
    assert losses == pytest.approx(GOLDEN, rel=5e-3)


def test_numbers_are_those_of_the_reconstructions(run):
    """The mean cosine distance again, from the PNG files and without the server."""
    folder, config, records = run
    record = next(record for record in records if record["attack"] == "pixel")
    parts, embedder = read(config), restore_embedder(folder)
    pictures = folder / "pixel-seed0/reconstructions"
    files = sorted(pictures.rglob("*.png"))
    assert len(files) == len(parts.users)
    paths = [evaluation.image_file(folder / "pixel-seed0", path) for path in parts.users.path]
    images = np.stack([cv2.resize(read_image(path), config.image_size[::-1]) for path in paths])
    with np.load(folder / FEATURES) as features:
        distance = cosine_distances(features["users"], embedder.predict(images, verbose=0)).mean()
    assert record["cosine_distance"][PLAIN] == pytest.approx(distance, abs=1e-4)


def test_cosine_distance_by_hand():
    a, b = np.array([[3.0, 0], [1, 1], [0, 0]]), np.array([[0, 2.0], [2, 2], [1, 0]])
    np.testing.assert_allclose(cosine_distances(a, b), [1, 0, 1], atol=1e-12)


def test_report_has_its_tables_and_figures(run):
    folder, _, records = run
    assert [record["attack"] for record in records] == list(SMOKE.attacks)
    text = (folder / "report.md").read_text()
    for part in ("ShuffleBits, one key, broken", "chance", "Attacks on the cipher itself", "upper_color"):
        assert part in text
    assert_figures(folder, "attributes", "reconstructions", "loss")
    values = json.loads((folder / "report.json").read_text())
    assert len(values["trials"]) == 5 and values["cipher"]


def test_finished_trainings_are_not_evaluated_again(run, monkeypatch):
    folder, _, records = run
    for name in ("evaluate_classifier", "evaluate_reconstructor"):
        monkeypatch.setattr(evaluation, name, None)
    monkeypatch.setattr("shufflebits.cryptanalysis.study.Trial", None)
    assert evaluate(folder) == records


def test_features_of_another_model_do_without_a_server(people, tmp_path):
    """FastReID's features come from a file; the reconstructions are left for its owner to embed."""
    parts = read(replace(SMOKE, data_dir=people, victim="bot", features=tmp_path / "f.npz"))
    paths = np.concatenate([parts.local.path, parts.users.path]).astype(str)
    features = np.random.default_rng(0).random((len(paths), 16), "float32")
    np.savez(tmp_path / "f.npz", paths=paths, features=features)
    attacks = ("attributes", "pixel")
    folder = train(
        replace(SMOKE, data_dir=people, runs_dir=tmp_path, victim="bot", features=tmp_path / "f.npz", attacks=attacks)
    )
    records = evaluate(folder)
    assert records[1]["cosine_distance"] == {}
    made = [str(path) for path in (folder / "pixel-seed0/reconstructions").rglob("*.png")]
    assert len(made) == len(parts.users)
    again = np.ones((len(made), 16), "float32")
    np.savez(folder / "pixel-seed0/reconstructed.npz", paths=made, features=again)
    plain = features[len(parts.local) :]
    expected = cosine_distances(plain, again).mean()
    assert evaluate(folder)[1]["cosine_distance"][PLAIN] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="has no trained victim model; train a preset with one"):
        restore_embedder(folder)


def test_bad_runs(people, tmp_path):
    with pytest.raises(ValueError, match="The local set must have 200 images or more, got 108; lower the batch"):
        train(replace(SMOKE, data_dir=people, runs_dir=tmp_path, attacks=("pixel",), reconstruction_batch=200))
    with pytest.raises(ValueError, match="No training in .* is finished"):
        evaluate(tmp_path / "shufflebits/run")
    with pytest.raises(ValueError, match="is not a run folder"):
        evaluate(tmp_path)
