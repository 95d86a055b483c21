"""Neighbors of a gallery, exact to the last bit, and the threshold by hand."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vehicle_attributes.gallery.small_gallery import angles, build
from vehicle_attributes.gallery import Gallery, search
from vehicle_attributes.gallery.search import HalfFeatures, compressed, nearest
from vehicle_attributes.gallery.thresholds import distances_within, threshold
from vehicle_attributes.gallery.validation import unit
from vehicle_attributes.gallery.voting import class_means, means_of, prior_corrected_vote
from vehicle_attributes.recognition import majority


def oracle(queries, exemplars):
    """1 - cosine, (Q, N): products and squares of float32 are exact in float64, and so are their sums as fractions."""

    def dot(x, y):
        return sum(Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, y))

    lengths = [[float(dot(x, x)) ** 0.5 for x in part] for part in (queries, exemplars)]
    return np.array(
        [[1 - float(dot(x, y)) / (a * b) for y, b in zip(exemplars, lengths[1])] for x, a in zip(queries, lengths[0])]
    )


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    number=st.integers(1, 30),
    dimensions=st.integers(1, 9),
    num_queries=st.integers(1, 5),
    k=st.integers(1, 40),
    kinds=st.integers(1, 3),
)
def test_neighbors_are_those_of_exact_arithmetic(seed, number, dimensions, num_queries, k, kinds):
    """Few kinds of numbers make many equal exemplars and equal distances; sizes differ by ten orders of magnitude."""
    random = np.random.default_rng(seed)
    exemplars, queries = (
        random.integers(1, kinds + 1, (n, dimensions)) * random.choice([-1, 1], (n, 1)) * 10.0 ** random.integers(-5, 5)
        for n in (number, num_queries)
    )
    exemplars, queries = unit(exemplars), unit(queries)
    indices, distances = nearest(queries, exemplars, k)
    exact = oracle(queries, exemplars)
    assert indices.shape == distances.shape == (num_queries, min(k, number))
    np.testing.assert_allclose(distances, np.take_along_axis(exact, indices, 1), atol=2e-7)
    rest = exact.copy()
    np.put_along_axis(rest, indices, np.inf, 1)
    assert np.all(rest.min(axis=1, initial=np.inf) >= np.take_along_axis(exact, indices, 1).max(axis=1) - 1e-7)
    step = np.diff(distances, axis=1)
    assert np.all(step >= 0) and np.all(np.diff(indices, axis=1)[step == 0] > 0)
    same = (queries[:, np.newaxis] == exemplars).all(axis=2)
    assert np.all(distances[np.take_along_axis(same, indices, 1)] == 0)


def test_neighbors_where_float32_cannot_tell():
    """Products in float32 err by more than the exemplars differ; the order is that of float64 all the same."""
    random = np.random.default_rng(0)
    query = random.normal(size=4096)
    offsets = random.permutation(3000) * 1e-7
    other = random.normal(size=4096)
    exemplars = unit(query / np.linalg.norm(query) + (0.2 + offsets)[:, np.newaxis] * other / np.linalg.norm(other))
    queries = unit(query[np.newaxis])
    x, y = (part.astype(np.float64) for part in (queries[0], exemplars))
    exact = 0.5 * np.sum((x / np.linalg.norm(x) - y / np.linalg.norm(y, axis=1, keepdims=True)) ** 2, axis=1)
    expected = np.lexsort((np.arange(3000), exact.astype(np.float32)))[:50]
    indices, distances = nearest(queries, exemplars, 50)
    np.testing.assert_array_equal(indices[0], expected)
    assert np.mean(np.argsort(1 - exemplars @ queries[0], kind="stable")[:50] == expected) < 0.9
    np.testing.assert_array_equal(distances[0], exact[expected].astype(np.float32))


@pytest.mark.parametrize("scores", [1, 700, 10**6])
def test_blocks_do_not_matter(scores, monkeypatch):
    random = np.random.default_rng(1)
    exemplars = unit(random.normal(size=(300, 16)))
    queries = np.concatenate([exemplars[:7], unit(random.normal(size=(20, 16)))])
    expected = nearest(queries, exemplars, 4)
    monkeypatch.setattr(search, "_SCORES", scores)
    monkeypatch.setattr(search, "_NUMBERS", 40)
    for ours, wanted in zip(nearest(queries, exemplars, 4), expected):
        np.testing.assert_array_equal(ours, wanted)
    assert expected[0][:7, 0].tolist() == list(range(7)) and not expected[1][:7, 0].any()


def test_equal_exemplars_come_in_order_of_adding(tmp_path):
    gallery = build(tmp_path / "g", np.tile([[3.0, 4.0]], (1000, 1)))
    gallery.add([[0.3, 0.4]], "van", ["/late"])
    answers = gallery.query([[6.0, 8.0]], 1001)
    assert answers.paths[0].tolist() == [*(f"/pictures/{i}.png" for i in range(1000)), "/late"]
    assert not answers.distances.any()


def test_distances_by_hand(tmp_path):
    gallery = build(tmp_path / "g", angles(0, 90, 180) * [[5], [1e-30], [1e30]], ["a", "b", "c"])
    answers = gallery.query(angles(60) * 1e-35, 3)
    assert answers.labels.tolist() == [["b", "a", "c"]] and answers.recognized.tolist() == ["b"]
    np.testing.assert_allclose(answers.distances, [[1 - 3**0.5 / 2, 0.5, 1.5]], rtol=1e-6)
    assert gallery.query(np.empty((0, 2)), 3).distances.shape == (0, 3)
    np.testing.assert_allclose(np.linalg.norm(gallery.features, axis=1), 1, rtol=1e-7)


def test_class_means_by_hand(tmp_path):
    """Exemplars of a at 0° and 60°, of b at 50°: 38° is 12° from b and 22° from a, but 8° from the mean of a."""
    gallery = build(tmp_path / "g", angles(0, 50, 60) * [[3], [2], [1]], ["a", "b", "a"], threshold=1e-6)
    assert gallery.query(angles(38)).recognized.tolist() == ["unknown"]
    assert gallery.query(angles(38)).labels.tolist() == [["b"]]
    answers = gallery.query(angles(38, 45), 5, by="class_means")
    assert answers.recognized.tolist() == ["a", "b"] and answers.labels.tolist() == [["a", "b"], ["b", "a"]]
    np.testing.assert_allclose(answers.distances, 1 - np.cos(np.radians([[8, 12], [5, 15]])), rtol=1e-5)
    assert answers.paths.tolist() == [["", ""], ["", ""]]
    gallery.add(angles(40), "b", ["later"])  # the mean of b moves to 45°
    np.testing.assert_allclose(gallery.query(angles(45), by="class_means").distances, [[0]], atol=1e-7)


def test_class_means_of_many_exemplars_are_summed_in_float64():
    """Of 50,000 exemplars in two directions the mean is between them; in float32 the sums would be off by 1e-4."""
    features = unit(np.tile(angles(10, 50), (25_000, 1)))
    means, names = class_means(features, np.array(["a"] * 50_000))
    np.testing.assert_allclose(means, angles(30), atol=2e-7)
    assert names.tolist() == ["a"]


def test_class_means_of_parts_are_those_of_the_whole():
    """The last part has the shorter names."""
    means, names = means_of([(angles(10, 50), np.array(["minibus", "car"])), (angles(30), np.array(["car"]))])
    assert names.tolist() == ["car", "minibus"]
    np.testing.assert_allclose(means, angles(40, 10), atol=1e-6)


def test_votes_are_corrected_for_the_exemplars_of_each_class():
    """Eight exemplars of a, two of b, one of c. Three of a have 3/8, so one of b with 1/2 wins, and one of c with 1."""
    labels = np.array(list("aaaaaaaabbc"))
    neighbors = [[0, 1, 8, 2], [0, 1, 8, 10], [0, 1, 2, 3], [10, 8, 9, 0]]
    assert prior_corrected_vote(np.array(neighbors), labels).tolist() == ["b", "c", "a", "c"]  # last: c and b have one
    ties = [[8, 0, 1, 2, 3], [0, 8, 1, 2, 3], [9, 10, 8, 0, 1]]  # four of a have 1/2, as one of b; two of b have one
    assert prior_corrected_vote(np.array(ties), labels).tolist() == ["b", "a", "b"]
    assert prior_corrected_vote(np.empty((0, 3), int), labels).shape == (0,)


@given(seed=st.integers(0, 10_000))
def test_equal_classes_vote_as_a_majority_and_all_exemplars_as_the_nearest(seed):
    """With as many of each class the weights are equal; where all exemplars vote, each class has one: a tie."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(list("abc"), 4))
    indices = np.stack([random.permutation(12) for _ in range(5)])
    assert prior_corrected_vote(indices[:, :5], labels).tolist() == majority(labels[indices[:, :5]]).tolist()
    assert prior_corrected_vote(indices, labels).tolist() == labels[indices[:, 0]].tolist()


def test_copies_in_half_precision_and_the_bound_of_their_error():
    """A half-precision number has eleven digits; by 2^15, those down to 2^-29 have all of them."""
    features = unit(np.random.default_rng(0).normal(size=(500, 33)) ** 5)
    half, error = compressed(features)
    copies = half.view(np.float16).astype(np.float64) / 2**15
    errors = np.linalg.norm(features - copies, axis=1)
    assert errors.max() <= error < errors.max() * 1.0001
    big = np.abs(features) > 2.0**-29
    assert np.all(np.abs(copies - features)[big] <= np.abs(features)[big] * 2.0**-11)
    assert compressed(features[:0])[1] == 0
    pool = HalfFeatures.of(features)
    assert pool.half.nbytes == features.nbytes / 2 and len(pool.take(np.arange(7))) == 7


@pytest.mark.parametrize("number", [1, 4, 5])  # queries: one by one, four together, and a remainder
def test_half_precision_alone_would_be_wrong(number):
    """Exemplars that are closer to each other than their copies: the nearest copy is mostly not the nearest one."""
    random = np.random.default_rng(number)
    queries = unit(random.normal(size=(number, 64)))
    spread = 1e-3 * random.normal(size=(number, 400, 64))
    exemplars = unit((queries[:, np.newaxis] + spread).reshape(-1, 64))
    exact = 0.5 * np.square(queries[:, None].astype(float) - exemplars).sum(axis=2)
    indices, _ = nearest(queries, exemplars, 3)
    np.testing.assert_array_equal(np.sort(indices), np.sort(np.argsort(exact, axis=1)[:, :3]))
    copies = compressed(exemplars)[0].view(np.float16).astype(float) / 2**15
    rough = np.argsort(0.5 * np.square(queries[:, None] - copies).sum(axis=2), axis=1)[:, :3]
    assert number == 1 or np.any(np.sort(rough) != np.sort(indices))


def test_ways_by_hand(tmp_path):
    """Nine old exemplars and a new one at 12.4°: at 11° an old one is nearest, and the votes are for the new."""
    old = [0, 2, 4, 6, 8, 9, 10.5, 11.5, 20]
    gallery = build(tmp_path / "g", angles(*old, 12.4), ["old"] * 9 + ["new"])
    ways = {
        way: gallery.query(angles(11), 3, by=way, voters=4) for way in ("nearest", "balanced", "votes", "class_means")
    }
    assert {way: answers.recognized[0] for way, answers in ways.items() if way != "balanced"} == {
        "nearest": "old", "votes": "new", "class_means": "new",
    }  # fmt: skip
    balanced = ways["balanced"]
    assert sorted(balanced.labels[0]) == ["new", "old"] and balanced.ids[0].tolist()[0] == 9
    again = gallery.query(angles(11), 3, by="balanced")
    assert again.ids.tolist() == balanced.ids.tolist()
    assert ways["votes"].ids.tolist() == ways["nearest"].ids.tolist() and ways["class_means"].ids.tolist() == [[-1, -1]]
    limited = build(tmp_path / "h", angles(*old, 12.4), ["old"] * 9 + ["new"], threshold=1e-6)
    for way, answer in (("nearest", "unknown"), ("balanced", "unknown"), ("votes", "unknown"), ("class_means", "new")):
        assert limited.query(angles(11), 3, by=way).recognized.tolist() == [answer]
    with pytest.raises(ValueError, match="by must be one of nearest, balanced, votes, class_means, got 'most'"):
        gallery.query(angles(1), by="most")


def test_threshold_by_hand(tmp_path):
    """Twenty points with gaps of 1°, 2° … 19°: the nearest other one is 1°, 1°, 2°, 3° … 19° away."""
    gallery = build(tmp_path / "g", angles(*np.cumsum(np.arange(20)), -90), ["a"] * 20 + ["alone"])
    for accept, degrees in ((0.95, 19), (0.5, 10), (1 / 21, 1), (3 / 21, 2)):  # ranks 20, 11, 1, 3 of 20
        limit = gallery.calibrate(accept)
        assert limit == gallery.threshold == Gallery(tmp_path / "g").threshold
        assert limit == pytest.approx(1 - np.cos(np.radians(degrees)), rel=1e-4)
    assert gallery.query(angles(-1.9, -2.1)).recognized.tolist() == ["a", "unknown"]
    assert gallery.calibrate() == gallery.calibrate(0.95)
    with pytest.raises(ValueError, match="Accepting 0.96 of .* takes 24 or more to calibrate with, .* got 20; add"):
        gallery.calibrate(0.96)
    with pytest.raises(ValueError, match="Accepting 0.97 of .* takes 33 or more to calibrate with"):  # 32.3
        gallery.calibrate(0.97)
    with pytest.raises(ValueError, match="accept must be between 0 and 1, got 1"):
        gallery.calibrate(1)


def test_a_query_at_the_threshold_is_accepted(tmp_path):
    """The threshold is a distance that pictures of known classes do not exceed; the next float below rejects it."""
    distance = build(tmp_path / "g", angles(0)).query(angles(40)).distances[0, 0]
    for limit, answer in ((distance, "car"), (np.nextafter(distance, np.float32(0)), "unknown"), (None, "car")):
        gallery = build(tmp_path / "g", angles(0), threshold=limit, overwrite=True)
        assert gallery.query(angles(40, 0)).recognized.tolist() == [answer, "car"]
        assert gallery.threshold == Gallery(tmp_path / "g").threshold == limit
    for limit in (0, 2):  # the least and the largest distance that there is
        assert build(tmp_path / "g", angles(0), threshold=limit, overwrite=True).threshold == limit


def test_threshold_of_given_pictures(tmp_path):
    """Each is compared with its own class: 5° from a, though b is nearer."""
    gallery = build(tmp_path / "g", angles(0, 8, 90), ["a", "b", "b"])
    gallery.calibrate(0.5, angles(5, 91, 92), ["a", "b", "b"])
    assert gallery.threshold == pytest.approx(1 - np.cos(np.radians(2)), rel=1e-4)
    gallery.calibrate(0.75, angles(5, 91, 92), ["a", "b", "b"])
    assert gallery.threshold == pytest.approx(1 - np.cos(np.radians(5)), rel=1e-4)
    with pytest.raises(ValueError, match="calibration's label 'c' has no exemplar in the gallery"):
        gallery.calibrate(0.5, angles(5, 91), ["a", "c"])
    with pytest.raises(ValueError, match="got one of both"):
        gallery.calibrate(0.5, angles(5))
    assert gallery.threshold == pytest.approx(1 - np.cos(np.radians(5)), rel=1e-4)


@pytest.mark.parametrize("number, accept, rank", [(19, 0.95, 19), (59, 0.95, 57), (60, 0.95, 58), (999, 0.9, 900)])
def test_threshold_is_an_order_statistic(number, accept, rank):
    distances = np.random.default_rng(0).permutation(number).astype("float32") + 1
    assert threshold(distances, accept) == rank


def test_threshold_keeps_its_share():
    """Uniform distances: the mean share that is accepted is rank / (n + 1) = 30 / 31, where 0.95 is requested."""
    random = np.random.default_rng(0)
    shares = [threshold(random.random(30), 0.95) for _ in range(4000)]
    assert np.mean(shares) == pytest.approx(30 / 31, abs=5 * np.std(shares) / 4000**0.5)


def test_distances_within_are_those_of_a_loop():
    random = np.random.default_rng(3)
    features, labels = unit(random.normal(size=(60, 5))), random.choice(list("abcde"), 60)
    labels[0], features[1] = "single", features[2]
    products = 1 - features.astype("float64") @ features.T.astype("float64")
    products[(labels[:, np.newaxis] != labels) | np.eye(60, dtype=bool)] = np.inf
    expected = np.sort(products.min(axis=1))[:-1]
    np.testing.assert_allclose(np.sort(distances_within(features, labels)), expected, atol=2e-7)
