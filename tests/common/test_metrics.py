import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.metrics import clustering_accuracy, cosine_distances, match_clusters


def textbook(labels, clusters):
    """Eq. 5.1 by trying every one-to-one mapping."""
    label_names, cluster_names = sorted(set(labels)), sorted(set(clusters))
    size = max(len(label_names), len(cluster_names))
    targets = label_names + [None] * (size - len(label_names))
    return max(
        sum(dict(zip(cluster_names, order)).get(q) == p for p, q in zip(labels, clusters)) / len(labels)
        for order in itertools.permutations(targets, len(cluster_names))
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-2, 2)), min_size=1, max_size=40))
def test_equals_the_best_of_all_mappings(pairs):
    labels, clusters = map(list, zip(*pairs))
    assert clustering_accuracy(labels, clusters) == pytest.approx(textbook(labels, clusters), abs=1e-12)


@pytest.mark.parametrize(
    ("labels", "clusters", "accuracy"),
    [
        ([0, 0, 1, 1], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [7, 7, 7, 7], 0.5),  # fewer clusters than labels
        ([5, 5, 5, 5], [0, 1, 2, 2], 0.5),  # more clusters than labels: one of them counts
        ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 0], 4 / 6),
    ],
)
def test_known_cases(labels, clusters, accuracy):
    assert clustering_accuracy(labels, clusters) == pytest.approx(accuracy)


def test_matching_names_the_labels():
    assert match_clusters([3, 3, 9], [1, 1, 0]) == {0: 9, 1: 3}


@pytest.mark.parametrize(("labels", "clusters"), [([], []), ([1, 2], [1]), ([[1]], [[1]])])
def test_refuses_arrays_that_do_not_fit(labels, clusters):
    with pytest.raises(ValueError, match="of equal length and not empty, got shapes"):
        clustering_accuracy(labels, clusters)


def test_cosine_distances_by_hand():
    """Lengths do not count: 45°, 180°, 60° in space, equal ones, and a zero row, which is at a right angle to all."""
    a = np.array([[1, 0, 0], [2, 0, 0], [1, 1, 0], [3, 4, 0], [0, 0, 0]], float)
    b = np.array([[5, 5, 0], [-3, 0, 0], [0, 2, 2], [30, 40, 0], [1, 2, 3]], float)
    np.testing.assert_allclose(cosine_distances(a, b), [1 - 0.5**0.5, 2, 0.5, 0, 1], atol=1e-15)
