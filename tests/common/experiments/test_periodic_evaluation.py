"""What a training logs of the test images, by hand, and that it does not change the training."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from common.datasets.batches import shuffled_batches
from common.datasets.person_reid import ReIDData
from common.experiments import training
from common.experiments.reid import data as reid_data
from common.experiments.reid import periodic_evaluation
from common.experiments.reid.config import ReIDConfig
from common.experiments.reid.periodic_evaluation import PeriodicEvaluation, check_branches, clipped_shares

CONFIG = ReIDConfig(image_size=(32, 32), evaluate_every=2, regional_branches=False)


@pytest.fixture
def data(tmp_path):
    """Images of one color each: the identity is the red value, ten times the camera the green one."""
    rows = []
    for camera in (1, 2):
        for identity in (7, 8, 9):
            path = tmp_path / f"{identity}_{camera}.png"
            cv2.imwrite(str(path), np.full((32, 32, 3), (0, 10 * camera, identity), "uint8"))  # blue first
            rows.append((str(path), identity, camera))
    rows.append(("junk that is not there", -1, 2))
    table = pd.DataFrame(rows, columns=["path", "identity", "camera"])
    return ReIDData(train=table[:0], query=table[:3], gallery=table[3:])


def embedder():
    image = keras.Input((32, 32, 3), dtype="uint8")
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(image)))


def test_map_and_shares_by_hand(data, capsys):
    """Colors (7 to 9, 10) look for (7 to 9, 20): 9 is the nearest, then 8, then 7, so the APs are 1/3, 1/2 and 1."""
    evaluation = PeriodicEvaluation(embedder(), data, CONFIG, "net", epochs=5)
    logs = [{"loss": 1.0} for _ in range(5)]
    for epoch, values in enumerate(logs):
        evaluation.on_epoch_end(epoch, values)
    assert [len(values) > 1 for values in logs] == [False, True, False, True, True]
    assert logs[4] == {"loss": 1.0, "test_mAP": pytest.approx(11 / 18), "global_saturated": 0, "global_dead": 1 / 3}
    assert "net, epoch 2: mAP 61.1 % on the test images" in capsys.readouterr().out
    evaluation.config = replace(CONFIG, evaluate_every=0)
    evaluation.on_epoch_end(4, {})  # nothing


def test_progress_is_that_of_the_images(data, monkeypatch):
    class Bar(contextlib.nullcontext):
        updates = []

        def __init__(self, total, **options):
            super().__init__(self)
            self.total = total

        def update(self, images):
            self.updates.append((images, self.total))

        write = print

    monkeypatch.setattr(periodic_evaluation, "tqdm", Bar)
    PeriodicEvaluation(embedder(), data, CONFIG, "net", epochs=5).on_epoch_end(1, {})
    assert Bar.updates == [(3, 6), (3, 6)]  # queries and gallery, without junk


def test_shares_of_branches_by_hand():
    """Features of 1.5 come from a network that does not clip, and are not at a bound."""
    features = np.array([[-1, 1, 0.5, 1.5, 1, 0.99, 0, 2e-5], [0, 1, 1, 0, 0.5, 1, 1e-5, 9e-6]])
    expected = {"global": (3 / 8, 3 / 8), "upper": (2 / 4, 0), "lower": (0, 3 / 4)}
    shares = clipped_shares(features, regional_branches=True)
    assert shares == {
        f"{branch}_{name}": share
        for branch, pair in expected.items()
        for name, share in zip(("saturated", "dead"), pair)
    }


def test_a_training_is_the_same_with_and_without_it(data, tmp_path):
    samples = np.random.default_rng(0).random((12, 32, 32, 3)).astype("float32")

    def train(folder, evaluated):
        keras.utils.set_random_seed(0)
        x, seed = keras.Input((32, 32, 3)), 0 if keras.backend.backend() == "torch" else None  # as `fit` says
        y = keras.layers.Conv2D(4, 8, strides=8)(keras.layers.Dropout(0.3, seed=seed)(x))
        y = keras.layers.GlobalAveragePooling2D()(y)
        features = keras.layers.BatchNormalization()(y)
        model = keras.Model(x, keras.layers.Dense(1)(keras.layers.Dropout(0.3, seed=seed)(features)))
        model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
        config = replace(CONFIG, evaluate_every=1 if evaluated else 0)
        evaluation = PeriodicEvaluation(keras.Model(x, features), data, config, "net", epochs=3)
        log = training.fit(
            model,
            lambda first: shuffled_batches(samples, 4, seed=0, first_epoch=first).map(lambda v: (v, v[:, 0, 0, :1])),
            steps_per_epoch=3,
            epochs=3,
            folder=folder,
            callbacks=[evaluation],
        )
        return model.get_weights(), log

    (with_it, log), (without, plain_log) = (train(tmp_path / str(on), on) for on in (True, False))
    assert all(np.array_equal(a, b) for a, b in zip(with_it, without)) and log["loss"].equals(plain_log["loss"])
    assert "test_mAP" in log and "test_mAP" not in plain_log


def test_several_processes_are_refused():
    one = SimpleNamespace(num_replicas_in_sync=4, cluster_resolver=None)
    several = SimpleNamespace(num_replicas_in_sync=4, cluster_resolver="of workers")
    reid_data.check(CONFIG, one)
    reid_data.check(replace(CONFIG, evaluate_every=0), several)
    with pytest.raises(ValueError, match="evaluate_every is 2 and the strategy has several; pass --evaluate-every 0"):
        reid_data.check(CONFIG, several)


def test_a_branch_without_gradients_is_named(tmp_path):
    """A feature within the clip's bounds is enough to go on with; so is a log without looks."""
    rows = {"global_dead": [0.9, 0.2], "global_saturated": [0.1, 0.7], "upper_dead": [0.0, 0.47], "loss": [1.0, 1.0]}
    for saturated, stops in ((0.51, False), (0.525, True)):
        log = pd.DataFrame(rows | {"upper_saturated": [0.0, saturated]})
        if stops:
            sentence = r"The branch 'upper' in .* its features 47% are 0 and 5[23]% are clipped to 1\. Lower"
            with pytest.raises(ValueError, match=sentence):
                check_branches(log, tmp_path)
        else:
            check_branches(log, tmp_path)
    check_branches(pd.DataFrame({"loss": [1.0]}), tmp_path)
