import numpy as np
import pytest
from sklearn.cluster import KMeans

from l2_autoencoder.clustering import keep_a_tenth, kmeans_starts, normality, unit_length


def test_normality_by_hand():
    # Eq. 5.6. Centroids point along (1, 0) and (3/5, 4/5) whatever their length.
    centroids = np.array([[0.5, 0.0], [6.0, 8.0]])
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, -0.8]])
    # (1,0): max(1, .6); (0,1): max(0, .8); (-1,0): max(-1, -.6); (.6,-.8): max(.6, .36-.64).
    np.testing.assert_allclose(normality(embeddings, centroids), [1.0, 0.8, -0.6, 0.6])
    np.testing.assert_allclose(normality(unit_length(embeddings * 7), centroids), [1.0, 0.8, -0.6, 0.6])


def test_unit_length_keeps_zero():
    np.testing.assert_allclose(unit_length(np.array([[0.0, 0.0], [3.0, 4.0]])), [[0, 0], [0.6, 0.8]])


def test_tenths_are_random_and_those_of_the_class():
    """Of 999 pairs of successive members about 1 in 10 are in one tenth; a cut in order has 990, every tenth one 0."""
    labels = np.repeat([0, 1], 1000)
    tenths = np.empty((2, 1000), int)
    for abnormal in (0, 1):
        for partition in range(10):
            rows = keep_a_tenth(labels, abnormal, partition)
            tenths[abnormal, rows[labels[rows] == abnormal] % 1000] = partition
    together = (np.diff(tenths) == 0).sum(axis=1)
    assert (np.abs(together - 99.9) < 4 * np.sqrt(99.9 * 0.9)).all()
    assert (np.bincount(tenths[0]) == 100).all()
    assert np.mean(tenths[0] == tenths[1]) < 0.2  # another class is split in another way


def test_first_start_is_the_one_scikit_learn_would_keep_or_better():
    points = np.random.default_rng(0).normal(size=(60, 4))
    starts = kmeans_starts(points, 7, restarts=10, seed=3)
    assert len(starts) == 10
    inertias = [start.inertia_ for start in starts]
    assert inertias == sorted(inertias) and len(set(inertias)) > 1
    assert inertias[0] <= 1.02 * KMeans(7, n_init=10, random_state=0).fit(points).inertia_
    seeds = [start.random_state for start in starts]
    assert sorted(seeds) == list(range(30, 40))  # start i has 3 · 10 + i, so that no two seeds share one
    alone = KMeans(7, n_init=1, random_state=seeds[0]).fit(points)
    np.testing.assert_array_equal(starts[0].labels_, alone.labels_)
    np.testing.assert_array_equal(starts[0].cluster_centers_, alone.cluster_centers_)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.full((30, 2), np.nan), "NaN or infinite values"),
        (np.random.default_rng(0).normal(size=(4, 2)), "5 clusters need at least as many samples, got 4"),
        (np.ones((30, 2)), "5 clusters need as many distinct embeddings, got 1. Are the images constant"),
        (np.repeat(np.arange(4.0), 500)[:, None], "got 4"),
    ],
)
def test_impossible_clusterings_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        kmeans_starts(points, 5, restarts=2, seed=0)


def test_distinct_points_behind_many_copies_count():
    points = np.concatenate([np.zeros(1000), np.arange(1.0, 5.0)])[:, None]
    assert kmeans_starts(points, 5, restarts=3, seed=0)[0].inertia_ == pytest.approx(0)


def test_protocol_keeps_a_tenth_of_one_class_and_all_of_the_others():
    labels = np.repeat([0, 1, 2], [40, 57, 30])
    parts = [keep_a_tenth(labels, 1, partition) for partition in range(10)]
    for part in parts:
        counts = np.bincount(labels[part])
        assert counts[0] == 40 and counts[2] == 30 and counts[1] in (5, 6)
    abnormal = np.concatenate([part[labels[part] == 1] for part in parts])
    assert sorted(abnormal) == list(range(40, 97))  # disjoint and complete
    np.testing.assert_array_equal(keep_a_tenth(labels, 1, 13), parts[3])
    assert (np.diff(parts[3]) > 0).all()
    with pytest.raises(ValueError, match="Class 3 has 0 samples; ten partitions need ten"):
        keep_a_tenth(labels, 3, 0)
