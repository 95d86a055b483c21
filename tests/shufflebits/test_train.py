"""Training, resuming and evaluating the whole of a small run; the adversary talks to a real server."""

import json
import signal
from dataclasses import replace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from common import distribution
from common.datasets.images import read_image
from common.experiments.checkpoint import epochs_done
from common.experiments.config import to_json
from common.experiments.run_folder import open_run
from common.metrics import cosine_distances
from shufflebits import train as training_program
from shufflebits.attacks.attributes import Labels, read_labels
from shufflebits.attacks.collect import FEATURES
from shufflebits.attacks.encryption_settings import ANOTHER, CHACHA20, FILE_NAMES, PLAIN
from shufflebits.attacks.reconstructions import features_file, image_file
from shufflebits.attacks.victim import restore_embedder
from shufflebits.config import ALL_ATTACKS, PRESETS, Trial
from shufflebits.data import read
from shufflebits.evaluate import evaluate
from shufflebits.train import train
from tests.common.shuffle_oracle import derived_keys, shuffled
from tests.helpers import assert_figures, run_python
from tests.resuming import assert_same_checkpoints
from tests.shufflebits.small_networks import small_networks

SMOKE = replace(
    PRESETS["smoke"][1],
    name="run",
    # The losses of the others are parts of the adversarial training's.
    attacks=("attributes", "attributes_on_words", "adversarial"),
    image_size=(32, 32),
    users=72,
    iterations=18,  # three epochs
)


@pytest.fixture(scope="module", autouse=True)
def small():
    """Few blocks and two of twelve attributes: the layers of all are alike, and to trace more of them takes long."""

    def read(local, users):
        labels = read_labels(local, users)
        chosen = ("age", "upper_color")
        return Labels(*({name: part[name] for name in chosen} for part in (labels.classes, labels.local, labels.users)))

    with small_networks(), pytest.MonkeyPatch.context() as patches:
        patches.setattr("shufflebits.attacks.attributes.read_labels", read)
        yield


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path_factory.mktemp("runs"))
    folder = train(config)
    return folder, config, evaluate(folder)


def test_features_are_what_the_server_gives_out(run):
    folder, config, _ = run
    parts, embedder = read(config), restore_embedder(folder)
    with np.load(folder / FEATURES) as features:
        for side in ("local", "users"):
            paths = getattr(parts, side).path
            images = np.stack([read_image(path, config.image_size) for path in paths[-5:]])
            assert len(features[side]) == len(paths)
            np.testing.assert_allclose(features[side][-5:], embedder(images), atol=1e-6)


@pytest.mark.parametrize("attack", ALL_ATTACKS)
def test_each_attack_is_trained_on_what_it_should(attack, tmp_path, monkeypatch):
    """Classifiers and reconstructors on plain features; words, each party under its own key, are numbers below one."""
    local, users = (np.random.default_rng(n).normal(size=(3, 4)).astype("float32") for n in (0, 1))
    trained, collected = [], []
    for name in ("train_classifier", "train_reconstructor"):
        monkeypatch.setattr(
            training_program, name, lambda *given, name=name: trained.append((name, *given[1:2], *given[3:]))
        )

    def collect(config, parts, run):
        collected.append(config.victim)
        np.savez(run / FEATURES, local=local, users=users)

    monkeypatch.setattr(training_program, "collect", collect)
    monkeypatch.setattr(training_program.victim, "train", lambda *_: collected.append("its training"))
    trial, folder = Trial(attack, 5), tmp_path / "trial"
    for config in (SMOKE, replace(SMOKE, victim="bot", features=tmp_path)):
        for _ in range(2):  # the second one finds the features
            training_program.train_trial(config, trial, None, distribution.strategy("one"), folder)
        (tmp_path / FEATURES).unlink()
    assert collected == ["its training", "trained", "bot"] and len(trained) == 4
    if attack == "attributes_on_words":
        keys = [derived_keys(np.random.default_rng([5, party]).bytes(32), 1)[0] for party in range(2)]
        words = [shuffled(x.view("uint32"), key) for x, key in zip((local, users), keys)]
        local, users = (np.float32(each / 2**32) for each in words)
    program = "train_classifier" if attack.startswith("attributes") else "train_reconstructor"
    for name, of, *features, where in trained:
        assert (name, of, where) == (program, trial, folder)
        np.testing.assert_array_equal(features, [local, users])


KILLED = """
import functools, json, sys
from common.experiments import training
from common.experiments.config import from_json
from shufflebits.config import Config
from shufflebits.train import train
from tests.common.tiny_trainings import Kill
from tests.shufflebits.small_networks import small_networks

training.fit = functools.partial(training.fit, callbacks=[Kill(1)])  # those of the victim model are others
with small_networks():
    train(from_json(json.loads(sys.argv[1]), Config))
"""


def test_killed_in_the_second_epoch_it_ends_with_the_same_weights(run, people, tmp_path, monkeypatch):
    """The process is gone at once in the adversarial training's fifth step of nine."""
    whole, _, _ = run
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path, attacks=("adversarial",))
    run_python("-c", KILLED, json.dumps(to_json(config)), status=-signal.SIGKILL)
    assert epochs_done(tmp_path / "shufflebits/run/adversarial-seed0") == 1
    monkeypatch.setattr(training_program, "collect", None)  # features are not collected again
    assert_same_checkpoints(train(config), whole, "victim", "adversarial-seed0")


# Losses of an epoch from seed 0: the trainings as a whole. A change of these is a change of results.
LOGGED = ("attributes loss 2", "adversarial difference 1", "adversarial loss 1")
GOLDEN, GOLDEN_PIXEL_LOSS = {
    "tensorflow": ([2.121517, 0.000982056, 0.00141556], 0.0917683),
    "jax": ([2.069624, 0.001282568, 0.00372659], 0.0872088),
    "torch": ([2.211823, 0.001999593, 0.00601940], 0.0925373),
}[keras.backend.backend()]


def test_golden_training_logs(run):
    names = [name.split() for name in LOGGED]
    logs = {attack: pd.read_csv(run[0] / f"{attack}-seed0/log.csv").set_index("epoch") for attack, *_ in names}
    values = [logs[attack].loc[int(epoch), column] for attack, column, epoch in names]
    assert values == pytest.approx(GOLDEN, rel=5e-3)


def test_numbers_are_those_of_the_reconstructions(run):
    """The mean cosine distance again, from the PNG files and without the server."""
    folder, config, records = run
    record = next(record for record in records if record["attack"] == "adversarial")
    parts, embedder = read(config), restore_embedder(folder)
    pictures = folder / "adversarial-seed0/reconstructions"
    files = sorted(pictures.rglob("*.png"))
    assert len(files) == len(parts.users)
    paths = [image_file(folder / "adversarial-seed0", PLAIN, path) for path in parts.users.path]
    images = np.stack([cv2.resize(read_image(path), config.image_size[::-1]) for path in paths])
    with np.load(folder / FEATURES) as features:
        distance = cosine_distances(features["users"], embedder.predict(images, verbose=0)).mean()
    assert record["cosine_distance"][PLAIN] == pytest.approx(distance, abs=1e-4)


def test_report_has_its_tables_and_figures(run):
    folder, _, records = run
    assert [record["attack"] for record in records] == list(SMOKE.attacks)
    text = (folder / "report.md").read_text()
    for part in ("ShuffleBits, one key, broken", "chance", "Attacks on the cipher itself", "upper_color"):
        assert part in text
    assert_figures(folder, "attributes", "reconstructions", "loss")
    values = json.loads((folder / "report.json").read_text())
    assert len(values["trials"]) == 3 and values["cipher"]


def test_features_of_another_model_do_without_a_server(people, tmp_path, capsys):
    """Its owner embeds the reconstructions, here of plain features and of ChaCha20, and of other settings later."""
    file = tmp_path / "f.npz"
    config = replace(
        SMOKE,
        data_dir=people,
        runs_dir=tmp_path,
        victim="bot",
        features=file,
        attacks=("pixel",),
        users=24,
        iterations=2,
    )
    parts = read(config)
    paths = np.concatenate([parts.local.path, parts.users.path]).astype(str)
    features = np.random.default_rng(0).random((len(paths), 16), "float32")
    np.savez(file, accumulated_image_file_paths=paths, accumulated_feature_array=features)
    folder = train(config)
    losses = pd.read_csv(folder / "pixel-seed0/log.csv").loss.tolist()
    assert losses == pytest.approx([GOLDEN_PIXEL_LOSS], rel=5e-3)
    assert evaluate(folder)[0]["cosine_distance"] == {}
    images = folder / "pixel-seed0/reconstructions"
    out = capsys.readouterr().out
    for setting in FILE_NAMES.values():
        assert len(list((images / setting).rglob("*.png"))) == 24
        assert f"- `{images / setting}` into `{setting}.npz` next to it" in out
    plain, ones = features[len(parts.local) :], np.ones((24, 16), "float32")
    for setting, again in ((PLAIN, ones), (CHACHA20, plain)):
        made = [image_file(images.parent, setting, path) for path in parts.users.path]
        file = features_file(images.parent, setting)
        np.savez(file, accumulated_image_file_paths=made, accumulated_feature_array=again)
    distances = evaluate(folder)[0]["cosine_distance"]
    expected = 1 - plain.sum(1) / np.linalg.norm(plain, axis=1) / 4
    assert distances == {
        PLAIN: pytest.approx(expected.mean(), rel=1e-5),
        ANOTHER: pytest.approx(expected.mean(), rel=1e-5),  # all are alike
        CHACHA20: pytest.approx(0, abs=1e-6),
    }
    out = capsys.readouterr().out
    assert "into `one_key.npz`" in out and "into `plain.npz`" not in out
    np.savez(images / "one_key.npz", paths=made, features=ones[:, :3])
    with pytest.raises(ValueError, match="one_key.npz has features of 3 numbers, and those of the run have 16; embed"):
        evaluate(folder)
    with pytest.raises(ValueError, match="has no trained victim model; train a preset with one"):
        restore_embedder(folder)


def test_bad_runs(people, tmp_path):
    with pytest.raises(ValueError, match="The local set must have 200 images or more, got 108; lower --recon"):
        train(replace(SMOKE, data_dir=people, runs_dir=tmp_path, attacks=("pixel",), reconstruction_batch=200))
    assert not (tmp_path / __package__.split(".")[-1]).exists()
    open_run(replace(SMOKE, data_dir=people, runs_dir=tmp_path), __package__.split(".")[-1])
    with pytest.raises(ValueError, match="No training in .* is finished"):
        evaluate(tmp_path / "shufflebits/run")
    with pytest.raises(ValueError, match="is not a run folder"):
        evaluate(tmp_path)
