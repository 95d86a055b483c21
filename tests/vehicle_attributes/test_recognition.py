"""Choosing a gallery, and its nearest exemplars."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from vehicle_attributes.gallery.voting import choose_gallery
from vehicle_attributes.recognition import (
    accuracy,
    class_accuracies,
    majority,
    nearest_class_means,
    nearest_exemplars,
    scores,
)

LABELS = np.array(["van"] * 5 + ["car"] * 30 + ["bus"] * 2)


def test_gallery_has_the_requested_number_of_each_class_or_all():
    chosen = choose_gallery(LABELS, 4, seed=0)
    names, counts = np.unique(LABELS[chosen], return_counts=True)
    assert dict(zip(names, counts)) == {"bus": 2, "car": 4, "van": 4}
    assert np.all(np.diff(chosen) > 0)
    np.testing.assert_array_equal(chosen, choose_gallery(LABELS, 4, seed=0))
    assert not np.array_equal(chosen, choose_gallery(LABELS, 4, seed=1))


def test_larger_galleries_contain_smaller_ones_and_classes_have_counts_of_their_own():
    small, large = (set(choose_gallery(LABELS, {"car": n, "van": 3}, seed=2)) for n in (2, 20))
    assert small < large and len(large - small) == 18
    assert not any(LABELS[i] == "bus" for i in large)
    assert len(choose_gallery(LABELS, {"car": 0, "bus": 1}, seed=0)) == 1


def test_gallery_is_uniform():
    counts = sum(np.bincount(choose_gallery(LABELS, 10, seed), minlength=len(LABELS)) for seed in range(600))
    cars = counts[5:35]
    assert counts[:5].min() == 600 and abs(cars - 200).max() < 5 * np.sqrt(600 * (1 / 3) * (2 / 3))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_the_nearest_are_those_of_scikit_learn(seed, k):
    random = np.random.default_rng(seed)
    gallery, queries = random.normal(size=(12, 4)).astype("float32"), random.normal(size=(7, 4)).astype("float32")
    oracle = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(gallery, np.arange(12))
    distances, indices = oracle.kneighbors(queries)
    ours, our_distances = nearest_exemplars(queries, gallery, k)
    np.testing.assert_array_equal(ours, indices)
    np.testing.assert_allclose(our_distances, distances, atol=1e-6)


def test_a_gallery_smaller_than_k_is_returned_whole():
    indices, _ = nearest_exemplars(np.eye(2, dtype="float32"), np.eye(2, dtype="float32"), 5)
    np.testing.assert_array_equal(indices, [[0, 1], [1, 0]])


def test_class_means_by_hand():
    """Exemplars of a at 0° and 60°, a third as long, and of b at 50°: 38° is next to b's, and to the mean of a, 30°."""
    angles = np.radians([0, 60, 50, 38, 45])
    points = (np.stack([np.cos(angles), np.sin(angles)], axis=1) * [[3], [1], [2], [5], [1]]).astype("float32")
    exemplars, queries, labels = points[:3], points[3:], np.array(["a", "a", "b"])
    assert list(labels[nearest_exemplars(queries, exemplars, 1)[0][:, 0]]) == ["b", "b"]
    assert list(nearest_class_means(queries, exemplars, labels)) == ["a", "b"]  # 8° and 12°, 15° and 5°
    with pytest.raises(ValueError, match="The features of the mean of 'a' must be finite and not all zero"):
        nearest_class_means(queries, np.float32([[1, 0], [-1, 0], [0, 1]]), labels)


def test_majority_and_its_ties():
    votes = np.array([list("abbca"), list("abcde"), list("bccbb"), list("cabab")])
    assert list(majority(votes)) == ["a", "a", "b", "a"]  # in the first and last two labels have two votes each


def test_accuracy_by_hand():
    true, predicted = np.array(list("aaab")), np.array(list("aabc"))
    assert accuracy(true, predicted) == 0.5  # Eq. 3.1
    assert class_accuracies(true, predicted) == pytest.approx({"a": 2 / 3, "b": 0.0})
    assert accuracy(true[:0], predicted[:0]) is None
    assert class_accuracies(true, np.array(list("0abb"))) == pytest.approx(
        {"a": 1 / 3, "b": 1.0}
    )  # 0 is no class of them


def test_scores_of_an_attribute():
    neighbors = np.array([list("abb"), list("aab"), list("bba")])
    true, means = np.array(list("bab")), np.array(list("abb"))
    record = scores(true, neighbors, means, np.array([[0.1, 0.9], [0.2, 0.8], [3.0, 1.0]]), ["a", "b"])
    assert record["accuracy"] == pytest.approx(2 / 3) and record["accuracy_of_vote"] == 1
    assert record["macro_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert record["accuracy_of_classifier"] == record["accuracy_of_class_means"] == pytest.approx(1 / 3)
    assert scores(true, neighbors, means, None, ["a", "b"])["accuracy_of_classifier"] is None
