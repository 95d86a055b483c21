"""Re-ranking and query expansion against dense float64 textbooks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.retrieval import Embeddings, Protocol, expand, rerank, score, search


def textbook(features, num_queries, k1, k2, lambda_value, metric):
    """The definition in `rerank`'s docstring with dense matrices and Python sets."""
    x = features.astype(np.float64)
    if metric == "cosine":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        squared = (1 - x @ x.T) ** 2
    else:
        squared = ((x[:, None] - x) ** 2).sum(axis=2)
    distance = squared / squared.max(axis=1, keepdims=True)
    np.fill_diagonal(squared, -1)
    order = np.argsort(squared, axis=1, kind="stable")
    number = len(x)

    def reciprocal(i, k):
        return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}

    weights = np.zeros((number, number))
    for i in range(number):
        core = reciprocal(i, k1)
        members = set(core)
        for j in core:
            neighbors = reciprocal(j, int(np.around(k1 / 2)))
            if len(neighbors & core) > 2 / 3 * len(neighbors):
                members |= neighbors
        for j in members:
            weights[i, j] = np.exp(-distance[i, j])
        weights[i] /= weights[i].sum()
    weights = np.stack([weights[order[i, :k2]].mean(axis=0) for i in range(number)])
    shared = np.minimum(weights[:num_queries, None], weights[None, num_queries:]).sum(axis=2)
    jaccard = 1 - shared / (2 - shared)
    return lambda_value * distance[:num_queries, num_queries:] + (1 - lambda_value) * jaccard


def clusters(seed, num_queries, num_gallery, spread=0.6, identities=8, width=12):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, identities, num_queries + num_gallery)
    features = rng.standard_normal((identities, width))[ids] + spread * rng.standard_normal((len(ids), width))
    cameras = rng.integers(0, 3, len(ids))
    return [
        Embeddings(features[rows], ids[rows], cameras[rows]) for rows in (slice(num_queries), slice(num_queries, None))
    ]


def whole(blocks):
    return np.concatenate([block.copy() for block in blocks])


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_queries=st.integers(1, 20),
    num_gallery=st.integers(5, 60),
    k1=st.integers(1, 25),
    k2=st.integers(1, 8),
    lambda_value=st.sampled_from([0.0, 0.3, 1.0]),
    metric=st.sampled_from(["cosine", "euclidean"]),
)
def test_equals_the_dense_textbook(seed, num_queries, num_gallery, k1, k2, lambda_value, metric):
    query, gallery = clusters(seed, num_queries, num_gallery)
    k1, k2 = (min(k, num_queries + num_gallery - 1) for k in (k1, k2))
    features = np.concatenate([query.features, gallery.features])
    expected = textbook(features, num_queries, k1, k2, lambda_value, metric)
    reranked_distances = rerank(query, gallery, k1=k1, k2=k2, lambda_value=lambda_value, metric=metric)
    assert reranked_distances.shape == expected.shape
    np.testing.assert_allclose(whole(reranked_distances), expected, rtol=0, atol=1e-6)


def test_blocks_do_not_change_the_result(monkeypatch):
    """Small blocks: the symmetric search meets each pair once, in rows here and in columns there."""
    query, gallery = clusters(3, 60, 700, identities=40)
    expected = textbook(np.concatenate([query.features, gallery.features]), 60, 20, 6, 0.3, "cosine")
    monkeypatch.setattr("common.retrieval.distances.BLOCK", 100 * 760)
    monkeypatch.setattr("common.retrieval.reranking._ROWS", 99)
    reranked_distances = rerank(query, gallery)
    np.testing.assert_allclose(whole(reranked_distances), expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(whole(reranked_distances), whole(reranked_distances))  # can be read again
    plain, reranked = score(query, gallery), score(query, gallery, distances=reranked_distances)
    assert reranked.mean_average_precision == pytest.approx(
        score(query, gallery, distances=expected).mean_average_precision, abs=1e-12
    )
    assert reranked.mean_average_precision > plain.mean_average_precision + 0.02


def with_junk(seed):
    """Query, gallery, and that gallery with junk, which looks like the queries, at places in it."""
    query, gallery = clusters(seed, 20, 60)
    places = np.sort(np.random.default_rng(seed).choice(80, 60, replace=False))
    features, identities, cameras = np.repeat(query.features, 4, axis=0) + 0.01, np.full(80, -1), np.full(80, 5)
    features[places], identities[places], cameras[places] = gallery.features, gallery.identities, gallery.cameras
    return query, gallery, Embeddings(features, identities, cameras), places


def test_junk_is_nobodys_neighbor():
    """Re-ranked, expanded and searched with junk in the gallery or without: the same, and the textbook's."""
    query, gallery, both, places = with_junk(5)
    expected = textbook(np.concatenate([query.features, gallery.features]), 20, 20, 6, 0.3, "cosine")
    distances = whole(rerank(query, both))
    np.testing.assert_allclose(distances[:, places], expected, rtol=0, atol=1e-6)
    assert np.isinf(np.delete(distances, places, axis=1)).all() and distances.shape == (20, 80)
    alike = [score(query, g, distances=rerank(query, g)).average_precision for g in (gallery, both)]
    alike.append(score(query, both, distances=distances).average_precision)
    np.testing.assert_array_equal(alike[1:], [alike[0]] * 2)
    nearest, known = search(query, both, 7), search(query, gallery, 7)
    np.testing.assert_array_equal(nearest.indices, places[known.indices])
    for database_side in (False, True):
        one, other = (expand(query, g, database_side=database_side) for g in (gallery, both))
        np.testing.assert_allclose(one[0].features, other[0].features, atol=1e-6)
        np.testing.assert_allclose(one[1].features, other[1].features[places], atol=1e-6)
    counted = rerank(query, both, protocol=Protocol(junk=None))  # then junk is an identity like others
    dense = textbook(np.concatenate([query.features, both.features]), 20, 20, 6, 0.3, "cosine")
    np.testing.assert_allclose(whole(counted), dense, rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("same_camera", [True, False])
@pytest.mark.parametrize("own", [True, False])
def test_search_equals_sorted_distances(metric, same_camera, own):
    """The nearest of what counts, by the full sort of float64 distances; fewer than k where fewer count."""
    _, _, gallery, _ = with_junk(6)
    query = gallery if own else with_junk(7)[0]
    x, y = (part.features.astype(float) for part in (query, gallery))
    distances = np.linalg.norm(x[:, None] - y, axis=2)
    if metric == "cosine":
        distances = 1 - x @ y.T / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)
    same = (query.identities[:, None] == gallery.identities) & (query.identities[:, None] != -1)
    left_out = np.broadcast_to(gallery.identities == -1, same.shape).copy()
    left_out |= same & (query.cameras[:, None] == gallery.cameras) & (not same_camera)
    left_out |= np.eye(*same.shape, dtype=bool) & own
    nearest = search(query, gallery, 60, protocol=Protocol(metric, same_camera=same_camera, leave_one_out=own))
    distances = np.where(left_out, np.inf, distances)
    order = np.argsort(distances, axis=1, kind="stable")[:, :60]
    counted = ~np.take_along_axis(left_out, order, axis=1)
    np.testing.assert_array_equal(nearest.indices >= 0, counted)
    assert not counted.all() or same_camera
    np.testing.assert_allclose(nearest.distances, np.take_along_axis(distances, order, axis=1), rtol=2e-6, atol=2e-7)
    of_nearest = np.take_along_axis(distances, nearest.indices, axis=1)
    np.testing.assert_allclose(of_nearest[counted], nearest.distances[counted], rtol=2e-6, atol=2e-7)
    np.testing.assert_allclose(nearest.farthest, np.where(left_out, 0, distances).max(axis=1), rtol=2e-6)
    for k in (0, 81):
        with pytest.raises(ValueError, match=f"k must be from 1 to the 80 gallery images, got {k}"):
            search(query, gallery, k)


def test_queries_of_the_gallery_are_in_reranking_once():
    """Leave-one-out: the neighbors are those among the gallery's images, each of which is there once."""
    _, gallery = clusters(8, 1, 60)
    rows = np.array([3, 50, 7])
    names = Embeddings(gallery.features, gallery.identities, paths=[f"{i}.jpg" for i in range(60)])
    protocol = Protocol(same_camera=True, leave_one_out=True)
    everyone = whole(rerank(names, names, protocol=protocol))
    np.testing.assert_allclose(whole(rerank(names.take(rows), names, protocol=protocol)), everyone[rows], atol=1e-6)
    # The textbook takes the first images for queries: with the gallery in that order, the others' columns are these.
    order = np.concatenate([rows, np.delete(np.arange(60), rows)])
    dense = textbook(gallery.features[order], 3, 20, 6, 0.3, "cosine")
    np.testing.assert_allclose(everyone[rows][:, order[3:]], dense, rtol=0, atol=1e-6)
    own, _ = expand(names.take(rows), names, protocol=protocol, k=4)
    for row, features in zip(rows, own.features):
        others = np.delete(np.arange(60), row)
        alone, _ = expand(names.take([row]), names.take(others), k=4)
        np.testing.assert_allclose(features, alone.features[0], atol=1e-6)


def test_equal_images():
    """All distances are 0 and each image comes first among its own neighbors: reciprocal are i and, for the
    first two images, each other. Queries 0, 1; gallery 2, 3; k1 = 1: R(0) = {0, 1}, R(1) = {1, 0}, R(2) = {2},
    as 2's neighbor 0 has 1 on its list; so nothing is shared and the Jaccard distance is 1."""
    query, gallery = (Embeddings(np.ones((2, 3)), [0, 1], [0, 0]) for _ in range(2))
    np.testing.assert_allclose(whole(rerank(query, gallery, k1=1, k2=1)), np.full((2, 2), 0.7), atol=1e-7)


@pytest.mark.parametrize("options", [{"k1": 4}, {"k1": 0}, {"k1": 2, "k2": 5}, {"k1": 2, "lambda_value": 1.5}])
def test_refuses_parameters_out_of_range(options):
    query, gallery = clusters(0, 1, 3)
    with pytest.raises(
        ValueError, match=r"Re-ranking 4 images takes k1 in \[1, 3\], k2 in \[1, 4\] and lambda_value in"
    ):
        rerank(query, gallery, **options)


def textbook_expansion(query, gallery, k, alpha, database_side):
    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def expanded(x, pool, first):
        similarities = x @ pool.T
        if first:  # a sample is not its own neighbor
            np.fill_diagonal(similarities, 2)
        rows = []
        for i in range(len(x)):
            chosen = np.argsort(-similarities[i], kind="stable")[first : first + k]
            weights = np.maximum(0, similarities[i, chosen]) ** alpha
            rows.append(x[i] + weights @ pool[chosen])
        return unit(np.array(rows))

    x, pool = (unit(part.features.astype(np.float64)) for part in (query, gallery))
    if database_side:
        pool = expanded(pool, pool, 1)
    return expanded(x, pool, 0), pool


@pytest.mark.parametrize("database_side", [False, True])
@pytest.mark.parametrize(("k", "alpha"), [(1, 3.0), (5, 3.0), (20, 1.0)])
def test_expansion_equals_the_textbook(k, alpha, database_side):
    query, gallery = clusters(4, 30, 200, identities=20)
    expected = textbook_expansion(query, gallery, k, alpha, database_side)
    expanded = expand(query, gallery, k=k, alpha=alpha, database_side=database_side)
    np.testing.assert_allclose(expanded[0].features, expected[0], atol=1e-6)
    if database_side:
        np.testing.assert_allclose(expanded[1].features, expected[1], atol=1e-6)
    else:
        assert expanded[1] is gallery
    np.testing.assert_array_equal(expanded[0].identities, query.identities)


def test_expansion_has_five_neighbors_and_the_third_power_by_default():
    query, gallery = clusters(4, 5, 30, identities=3)
    expanded, same = expand(query, gallery)
    np.testing.assert_allclose(expanded.features, textbook_expansion(query, gallery, 5, 3.0, False)[0], atol=1e-6)
    assert same is gallery


def test_expansion_by_hand():
    """q = (1, 0), neighbors (0.6, 0.8) with weight 0.6³ and (0, 2), whose similarity and weight are 0."""
    query = Embeddings([[2.0, 0.0]], [0], [0])
    gallery = Embeddings([[0.0, 2.0], [-1.0, 0.0], [0.6, 0.8], [0.0, 0.0]], [0, 1, 2, 3], [0, 0, 0, 0])
    expanded, _ = expand(query, gallery, k=2)
    direction = np.array([1 + 0.6**3 * 0.6, 0.6**3 * 0.8])
    np.testing.assert_allclose(expanded.features[0], direction / np.linalg.norm(direction), atol=1e-6)
    zero, _ = expand(Embeddings([[0.0, 0.0]], [0], [0]), gallery, k=4, alpha=0)
    np.testing.assert_array_equal(zero.features, [[0, 0]])


def test_expansion_refuses_parameters_out_of_range():
    query, gallery = clusters(0, 1, 3)
    with pytest.raises(
        ValueError, match=r"with 3 gallery images takes k in \[1, 2\] and alpha from 0 on, got 3 and 3.0"
    ):
        expand(query, gallery, k=3, database_side=True)
    with pytest.raises(ValueError, match="got 2 and -1"):
        expand(query, gallery, k=2, alpha=-1)
