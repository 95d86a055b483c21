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
from shufflebits import proprietary, threats
from shufflebits.blackbox import read
from shufflebits.config import ALL_ATTACKS, PRESETS, RECONSTRUCTIONS, Trial, epochs_of
from shufflebits.evaluate import evaluate
from shufflebits.scenarios import PLAIN
from shufflebits.train import FEATURES, train

pytest.importorskip("tensorflow")

SMOKE = replace(PRESETS["smoke"][1], name="run", attacks=ALL_ATTACKS)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return tmp_path_factory.mktemp("people")


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path_factory.mktemp("runs"))
    folder = train(config)
    return folder, config, evaluate(folder)


def test_features_are_what_the_server_gives_out(run):
    folder, config, _ = run
    parts, embedder = read(config), proprietary.restore_embedder(folder)
    with np.load(folder / FEATURES) as found:
        assert len(found["local"]) == len(parts.local) and len(found["users"]) == len(parts.users)
        images = np.stack([read_image(path, config.image_size) for path in parts.users.path[:5]])
        np.testing.assert_allclose(found["users"][:5], embedder.predict(images, verbose=0), atol=1e-6)


def test_stopped_in_the_last_training_it_ends_with_the_same_weights(run, people, tmp_path, monkeypatch):
    whole, _, _ = run
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path, attacks=("adversarial",))
    fit = threats.training.fit

    def stop_in_the_last(model, batches, *, folder, epochs, **options):
        if folder.name != "adversarial-seed0":
            return fit(model, batches, folder=folder, epochs=epochs, **options)
        raise SystemExit(143)

    monkeypatch.setattr(threats.training, "fit", stop_in_the_last)
    with pytest.raises(SystemExit):
        train(config)
    monkeypatch.undo()
    monkeypatch.setattr(proprietary, "serving", None)  # features are not asked for again
    resumed = train(config)
    for name in ("proprietary", "adversarial-seed0"):
        trained, expected = (np.load(path / name / "checkpoint/state.npz") for path in (resumed, whole))
        for array in expected.files:
            np.testing.assert_array_equal(trained[array], expected[array], err_msg=name)


# Losses of the last epoch from seed 0: the trainings as a whole. A change of these is a change of results.
GOLDEN = {"attributes": 13.52163, "pixel": 0.051130, "feature": 0.157751, "adversarial": 0.173392}


def test_golden_training_logs(run):
    found = {attack: pd.read_csv(run[0] / f"{attack}-seed0/log.csv")["loss"].iloc[-1] for attack in GOLDEN}
    print(found)
    assert found == pytest.approx(GOLDEN, rel=5e-3)


def test_numbers_are_those_of_the_reconstructions(run):
    """The mean cosine distance again, from the PNG files and without the server."""
    folder, config, records = run
    record = next(record for record in records if record["attack"] == "pixel")
    parts, embedder = read(config), proprietary.restore_embedder(folder)
    pictures = folder / "pixel-seed0/reconstructions"
    files = sorted(pictures.rglob("*.png"))
    assert len(files) == len(parts.users)
    paths = [evaluation.picture(folder / "pixel-seed0", path) for path in parts.users.path]
    images = np.stack([cv2.resize(read_image(path), config.image_size[::-1]) for path in paths])
    with np.load(folder / FEATURES) as found:
        distance = cosine_distances(found["users"], embedder.predict(images, verbose=0)).mean()
    assert record["cosine_distance"][PLAIN] == pytest.approx(distance, abs=1e-4)


def test_cosine_distance_by_hand():
    a, b = np.array([[3.0, 0], [1, 1], [0, 0]]), np.array([[0, 2.0], [2, 2], [1, 0]])
    np.testing.assert_allclose(cosine_distances(a, b), [1, 0, 1], atol=1e-12)


def test_report_has_its_tables_and_figures(run):
    folder, _, records = run
    assert [record["attack"] for record in records] == list(SMOKE.attacks)
    text = (folder / "report.md").read_text()
    for part in ("ShuffleBits, one key, broken", "chance", "Attacks on the cipher itself", "upper_colour"):
        assert part in text
    for name in ("attributes", "reconstructions", "loss"):
        assert cv2.imread(str(folder / f"figures/{name}.png")).shape[0] > 300
    values = json.loads((folder / "report.json").read_text())
    assert len(values["trials"]) == 5 and values["cipher"]


def test_finished_trainings_are_not_evaluated_again(run, monkeypatch):
    folder, _, records = run
    for name in ("evaluate_classifier", "evaluate_reconstructor"):
        monkeypatch.setattr(evaluation, name, None)
    monkeypatch.setattr(evaluation.cryptanalysis, "study", None)
    assert evaluate(folder) == records


def test_iterations_are_rounded_up_to_whole_passes():
    """10 batches for 200 images: 25 take 3 passes; for two networks 5 steps of two batches: 3 passes too."""
    config = replace(SMOKE, iterations=25, reconstruction_batch=20)
    assert [epochs_of(config, Trial(attack, 0), 200) for attack in RECONSTRUCTIONS] == [3, 3, 3]
    assert epochs_of(config, Trial("attributes", 0), 200) == config.classifier_epochs


def test_features_of_another_model_do_without_a_server(people, tmp_path):
    """FastReID's features come from a file; the reconstructions are left for its owner to embed."""
    parts = read(replace(SMOKE, data_dir=people, proprietary="bot", features=tmp_path / "f.npz"))
    paths = np.concatenate([parts.local.path, parts.users.path]).astype(str)
    features = np.random.default_rng(0).random((len(paths), 16), "float32")
    np.savez(tmp_path / "f.npz", paths=paths, features=features)
    attacks = ("attributes", "pixel")
    folder = train(
        replace(
            SMOKE, data_dir=people, runs_dir=tmp_path, proprietary="bot", features=tmp_path / "f.npz", attacks=attacks
        )
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
    with pytest.raises(ValueError, match="has no trained proprietary model; train a preset with one"):
        proprietary.restore_embedder(folder)


def test_bad_runs_are_told(people, tmp_path):
    with pytest.raises(ValueError, match="The local set must have 200 images or more, got 108; lower the batch"):
        train(replace(SMOKE, data_dir=people, runs_dir=tmp_path, attacks=("pixel",), reconstruction_batch=200))
    with pytest.raises(ValueError, match="No training in .* is finished"):
        evaluate(tmp_path / "shufflebits/run")
    with pytest.raises(ValueError, match="is not a run folder"):
        evaluate(tmp_path)
