"""Labels, weights and scores of attributes, by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from shufflebits.attacks.attributes import (
    BalancedAccuracy,
    Labels,
    balanced_accuracies,
    from_zeros,
    read_labels,
)
from shufflebits.attacks.training import train_classifier
from shufflebits.cipher.keys import Key
from shufflebits.cipher.shuffle import encrypt
from shufflebits.config import PRESETS, Trial
from shufflebits.data import Parts


def table(**columns):
    count = len(next(iter(columns.values())))
    images = {"path": [f"{i}.jpg" for i in range(count)], "identity": range(count), "camera": [1] * count}
    return pd.DataFrame({**images, **columns})


# Of eight local images, those that stay are 0, 1, 2 and 7.
LOCAL = table(
    age=[1, 4, 2, 2, 2, 2, -1, 1],  # the seventh is not annotated
    hat=[1, 1, 1, 1, 2, 2, 2, 1],
    up=[1, 2, 1, 2, 1, 2, 1, 2],
    upred=[2, 1, 2, 2, 1, 1, 2, 1],  # the fourth has two upper colors, the fifth none
    upblue=[1, 2, 1, 2, 1, 2, 1, 2],
    downblack=[2, 1, 2, 1, 2, 1, 2, 1],  # the sixth has no lower color
    downpink=[1, 2, 1, 2, 1, 1, 1, 2],
)
USERS = table(
    age=[3, 1, 4, 1, -1],
    hat=[1, 2, 1, 2, 1],
    up=[1, 2, 2, 1, 1],
    upred=[2, 1, 1, 2, 2],
    upblue=[1, 2, 2, 2, 1],  # the fourth has both
    downblack=[2, 1, 2, 2, 2],
    downpink=[1, 2, 1, 1, 1],
)


def test_an_image_without_a_value_or_one_color_of_each_kind_leaves_all_attributes():
    labels = read_labels(LOCAL, USERS)
    np.testing.assert_array_equal(labels.annotated, [True, True, True, False, False, False, False, True])
    assert labels.classes == {
        "age": ["1", "2", "4"],
        "up": ["1", "2"],
        "upper_color": ["blue", "red"],
        "lower_color": ["black", "pink"],
    }  # and not hat, which varies among the images that are left out only
    expected = {
        "age": ([0, 2, 1, -1, -1, -1, -1, 0], [-1, 0, 2, -1, -1]),  # no local image is of age 3
        "up": ([0, 1, 0, -1, -1, -1, -1, 1], [0, 1, 1, -1, -1]),
        "upper_color": ([1, 0, 1, -1, -1, -1, -1, 0], [1, 0, 0, -1, -1]),
        "lower_color": ([0, 1, 0, -1, -1, -1, -1, 1], [0, 1, 0, -1, -1]),
    }
    for name, (local, users) in expected.items():
        assert (labels.local[name].tolist(), labels.users[name].tolist()) == (local, users), name
    assert labels.chance == {"age": 1 / 2, "up": 1 / 2, "upper_color": 1 / 2, "lower_color": 1 / 2}


def test_tables_without_labels():
    with pytest.raises(ValueError, match="No attribute varies in both the local set and the users' images"):
        read_labels(LOCAL[["path", "hat"]], USERS[["path", "hat"]].iloc[[0, 2]])
    with pytest.raises(
        ValueError, match="None of the 2 images of the users set has a value of each attribute and exact"
    ):
        read_labels(LOCAL, USERS.iloc[[3, 4]])


def test_weights_are_inverse_to_the_frequency(tmp_path, monkeypatch):
    """Of the annotated local images, two are of age 1, one of 2 and one of 4: weights 4 / (3 · 2) and 4 / (3 · 1).

    The classifier is trained on these four and no others, and judged by the users' images.
    """
    taken = {}

    def fit(model, batches, *, callbacks, monitor, steps_per_epoch, **options):
        taken.update(samples=batches(0), callback=callbacks[0], monitor=monitor, steps=steps_per_epoch)

    monkeypatch.setattr("shufflebits.attacks.training.training.fit", fit)
    monkeypatch.setattr("shufflebits.attacks.training.shuffled_batches", lambda samples, *_, **options: samples)
    features = np.arange(16, dtype="float32").reshape(8, 2)
    config = replace(PRESETS["smoke"][1], choose_best_on="test", classifier_batch=3)
    parts = Parts(LOCAL, LOCAL, USERS)
    train_classifier(config, Trial("attributes", 0), parts, features, features[:5], tmp_path)
    vectors, labels, weights = taken["samples"]
    np.testing.assert_array_equal(vectors, features[[0, 1, 2, 7]])
    np.testing.assert_array_equal(labels["age"], [0, 2, 1, 0])
    np.testing.assert_allclose(weights["age"], [2 / 3, 4 / 3, 4 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(weights["up"], 1)
    assert (taken["monitor"], taken["steps"]) == ("test_error", 2)
    np.testing.assert_array_equal(taken["callback"]._features, features[:5])
    assert taken["callback"]._labels["age"].tolist() == [-1, 0, 2, -1, -1]


def test_by_default_some_local_people_choose_the_epoch(tmp_path, monkeypatch):
    """Of five people of two images each, one is held out; nobody looks at the users' features."""
    taken = {}

    def fit(model, batches, *, callbacks, monitor, **options):
        taken.update(samples=batches(0), callback=callbacks[0], monitor=monitor)

    monkeypatch.setattr("shufflebits.attacks.training.training.fit", fit)
    monkeypatch.setattr("shufflebits.attacks.training.shuffled_batches", lambda samples, *_, **options: samples)
    local = table(up=[1, 2] * 5, upred=[1, 2] * 5, upblue=[2, 1] * 5, downred=[2] * 10).assign(
        identity=np.repeat(np.arange(5), 2)
    )
    features = np.arange(10, dtype="float32")[:, None]
    train_classifier(PRESETS["smoke"][1], Trial("attributes", 0), Parts(local, local, local), features, None, tmp_path)
    learned, judged = taken["samples"][0], taken["callback"]._features
    assert (len(learned), len(judged), taken["monitor"]) == (8, 2, "validation_error")
    assert judged[1, 0] == judged[0, 0] + 1 and set(np.ravel(learned)) | set(np.ravel(judged)) == set(range(10))


def test_balanced_accuracy_by_hand():
    """Class 0: 2 of 3 are recognized, class 1: 1 of 1, class 2 does not occur; the last is unknown."""
    labels = {"a": np.array([0, 0, 0, 1, -1]), "b": np.array([-1] * 5)}
    predicted = np.eye(3)[[0, 0, 2, 1, 0]]
    assert balanced_accuracies(labels, {"a": predicted, "b": predicted}) == {"a": pytest.approx((2 / 3 + 1) / 2)}


def test_guessing_one_class_is_chance():
    labels = {"a": np.array([0] * 90 + [1] * 10)}
    assert balanced_accuracies(labels, {"a": np.eye(2)[[0] * 100]}) == {"a": 0.5}


def test_zeros_tell_attributes_under_any_keys():
    """Element 0 is zero for class 1 alone; words of other keys per element and request have the same zeros."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    features = rng.uniform(0.1, 1, (60, 8)).astype("float32")
    features[truth == 1, 0] = 0
    labels = Labels({"a": ["no", "yes"]}, {"a": truth[:40]}, {"a": truth[40:]})
    assert from_zeros(labels, features[:40], features[40:]) == {"a": 1.0}
    words = encrypt(features[40:].reshape(1, -1), Key.derive(bytes(32), 20 * 8)).reshape(20, 8)
    assert from_zeros(labels, features[:40], words) == {"a": 1.0}
    assert from_zeros(labels, features[:40] + 1, features[40:] + 1) == {"a": 0.5}


def test_error_is_logged(monkeypatch):
    """In pieces of one vector."""
    monkeypatch.setattr("shufflebits.attacks.attributes._PIECE", 1)
    callback = BalancedAccuracy("test_error", np.zeros((2, 1)), {"a": np.array([0, 1]), "b": np.array([1, 1])})
    callback.set_model(lambda features, training: {"a": np.eye(2)[[0]], "b": np.eye(2)[[1]]})
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs == {"test_error": pytest.approx(1 - (0.5 + 1) / 2)}
