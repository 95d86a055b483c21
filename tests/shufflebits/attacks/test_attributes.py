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
    sample_weights,
)
from shufflebits.cipher.keys import Key
from shufflebits.cipher.shuffle import encrypt


def table(**columns):
    count = len(next(iter(columns.values())))
    images = {"path": [f"{i}.jpg" for i in range(count)], "identity": range(count), "camera": [1] * count}
    return pd.DataFrame({**images, **columns})


LOCAL = table(
    age=[1, 4, 2, -1],
    hat=[1, 1, 1, 1],
    up=[1, 2, 1, 2],
    upred=[2, 1, 2, 1],
    upblue=[1, 2, 2, 1],  # both colors, then none
    downblack=[2, 1, 2, 1],
    downpink=[1, 2, 1, 2],
)
USERS = table(age=[3, 1], hat=[1, 2], up=[1, 2], upred=[2, 1], upblue=[1, 2], downblack=[2, 2], downpink=[1, 1])


def test_colors_become_one_label_for_those_with_exactly_one():
    labels = read_labels(LOCAL, USERS)
    assert labels.classes == {"age": ["1", "2", "3", "4"], "up": ["1", "2"], "upper_color": ["blue", "red"]}
    np.testing.assert_array_equal(labels.local["upper_color"], [1, 0, -1, -1])
    np.testing.assert_array_equal(labels.users["upper_color"], [1, 0])


def test_values_that_are_not_annotated_are_unknown_and_what_does_not_vary_is_left_out():
    labels = read_labels(LOCAL, USERS)
    np.testing.assert_array_equal(labels.local["age"], [0, 3, 1, -1])
    np.testing.assert_array_equal(labels.users["age"], [2, 0])  # 3 is no local age
    assert not {"hat", "lower_color"} & set(labels.classes)
    assert labels.chance == {"age": 1 / 2, "up": 1 / 2, "upper_color": 1 / 2}
    with pytest.raises(ValueError, match="No attribute varies in both the local set and the users' images"):
        read_labels(LOCAL[["path", "hat"]], USERS[["path", "hat"]])


def test_weights_are_inverse_to_the_frequency():
    """Three of class 0, one of class 2, one unknown, none of class 1: 4 / (2 · 3) and 4 / (2 · 1)."""
    weights = sample_weights(np.array([0, 0, 2, -1, 0]))
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2, 0, 2 / 3], rtol=1e-6)
    assert weights.dtype == np.float32


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


def test_validation_error_is_logged():
    callback = BalancedAccuracy(np.zeros((2, 1)), {"a": np.array([0, 1]), "b": np.array([1, 1])})

    class Model:
        def predict(self, features, **options):
            return {"a": np.eye(2)[[0, 0]], "b": np.eye(2)[[1, 1]]}

    callback.set_model(Model())
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs == {"validation_error": pytest.approx(1 - (0.5 + 1) / 2)}
