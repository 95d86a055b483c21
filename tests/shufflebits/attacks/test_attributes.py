"""Labels, weights and scores of attributes, by hand."""

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
from shufflebits.cipher.keys import Key
from shufflebits.cipher.shuffle import encrypt


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
    answers = {"a": np.eye(2)[[0]], "b": np.eye(2)[[1]]}
    callback.set_model(lambda features, training: answers if len(features) == 1 and training is False else None)
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs == {"test_error": pytest.approx(1 - (0.5 + 1) / 2)}
