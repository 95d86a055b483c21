"""`score` against a textbook that sorts every row, on random cases full of ties, and by hand."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.jit import compiled
from common.retrieval import Embeddings, distances, score
from common.retrieval.distances import Distances


class NoMatchError(Exception):
    pass


def textbook(distances, query, gallery, ranks, trapezoid):
    """mAP, CMC, mINP, AP of each valid query and their indices, in float64 with one sort per query."""
    average_precision, first, penalties, valid = [], [], [], []
    for q in range(len(query.identities)):
        order = np.argsort(distances[q], kind="stable")
        same = gallery.identities[order] == query.identities[q]
        ignored = (same & (gallery.cameras[order] == query.cameras[q])) | (gallery.identities[order] == -1)
        matches = same[~ignored]
        if not matches.any():
            continue
        valid.append(q)
        recall, precision, area, hits, precisions = 0.0, 1.0, 0.0, 0, []
        for position, match in enumerate(matches):  # the loop of the original Market-1501 script
            hits += match
            new_recall, new_precision = hits / matches.sum(), hits / (position + 1)
            area += (new_recall - recall) * (precision + new_precision) / 2
            recall, precision = new_recall, new_precision
            if match:
                precisions.append(new_precision)
        places = np.flatnonzero(matches) + 1
        average_precision.append(area if trapezoid else np.mean(precisions))
        first.append(places[0])
        penalties.append(matches.sum() / places[-1])
    if not valid:
        raise NoMatchError
    cmc = {rank: np.mean(np.array(first) <= rank) for rank in ranks}
    return np.mean(average_precision), cmc, np.mean(penalties), average_precision, valid


def people(rng, size, width=2, identities=4, cameras=2, lowest=-1):
    return Embeddings(
        rng.integers(-2, 3, (size, width)), rng.integers(lowest, identities, size), rng.integers(0, cameras, size)
    )


def check(scores, expected):
    mean, cmc, penalty, average_precision, valid = expected
    np.testing.assert_array_equal(scores.valid_queries, valid)
    assert scores.num_valid_queries == len(valid)
    np.testing.assert_allclose(scores.average_precision, average_precision, rtol=0, atol=1e-9)
    assert scores.mean_average_precision == pytest.approx(mean, abs=1e-9)
    assert scores.mean_inverse_negative_penalty == pytest.approx(penalty, abs=1e-9)
    assert scores.cmc == pytest.approx(cmc, abs=1e-9)


@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_queries=st.integers(1, 12),
    num_gallery=st.integers(1, 40),
    identities=st.integers(1, 6),
    cameras=st.integers(1, 4),
    rule=st.sampled_from(["standard", "trapezoid"]),
    source=st.sampled_from(["euclidean", "array", "blocks"]),
)
def test_equals_the_textbook(seed, num_queries, num_gallery, identities, cameras, rule, source):
    """Integer features and distances: float32 is exact, ties are everywhere, many queries have no match."""
    rng = np.random.default_rng(seed)
    query = people(rng, num_queries, identities=identities, cameras=cameras)
    gallery = people(rng, num_gallery, identities=identities, cameras=cameras)
    ranks, options = (1, 5, 100), {}
    if source == "euclidean":
        options["metric"] = "euclidean"
        distances = ((query.features[:, None] - gallery.features) ** 2).sum(axis=2)
    else:
        distances = rng.integers(0, rng.integers(1, 30), (num_queries, num_gallery)).astype(np.float32)
        options["distances"] = distances
        if source == "blocks":
            options["distances"] = (row[None].copy() for row in distances)
    try:
        expected = textbook(distances, query, gallery, ranks, rule == "trapezoid")
    except NoMatchError:
        with pytest.raises(ValueError, match=f"None of the {num_queries} queries has a match"):
            score(query, gallery, ranks=ranks, average_precision=rule, **options)
        return
    scores = score(query, gallery, ranks=ranks, average_precision=rule, **options)
    check(scores, expected)
    assert scores.num_skipped_queries == num_queries - len(expected[4])


@pytest.mark.parametrize("rule", ["standard", "trapezoid"])
@pytest.mark.parametrize("identities", [4, 40])
def test_equals_the_textbook_in_long_rows(identities, rule):
    """Rows of several chunks; 2250 matches, which are counted in another way than some 200 are."""
    rng = np.random.default_rng(0)
    query, gallery = people(rng, 8, identities=1), people(rng, 9000, identities=identities)
    distances = rng.integers(0, 300, (8, 9000)).astype(np.float32)
    expected = textbook(distances, query, gallery, (1,), rule == "trapezoid")
    assert 5 <= len(expected[4]) < 8 and (np.sum(gallery.identities == 0) > 1500) == (identities == 4)
    check(score(query, gallery, ranks=(1,), average_precision=rule, distances=distances), expected)


def test_cosine_equals_the_textbook_in_float64():
    rng = np.random.default_rng(1)
    query, gallery = (
        Embeddings(rng.standard_normal((size, 16)), rng.integers(0, 9, size), rng.integers(0, 3, size))
        for size in (40, 300)
    )
    unit = [x.features.astype(np.float64) for x in (query, gallery)]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in unit]
    check(score(query, gallery, ranks=(1, 10)), textbook(1 - unit[0] @ unit[1].T, query, gallery, (1, 10), False))


def test_worked_example():
    """Gallery nearest first: wrong, match, junk, same camera, match, wrong, match, wrong.

    Without junk and same camera: wrong, match, match, wrong, match, wrong: matches at ranks 2, 3 and 5.
    Standard AP = (1/2 + 2/3 + 3/5) / 3 = 53/90. Trapezoid: the precision one place before each match is
    0/1, 1/2 and 2/4, so AP = ((1/2 + 0) + (2/3 + 1/2) + (3/5 + 1/2)) / 2 / 3 = 83/180. mINP = 3/5.
    The second query's only image of its identity is by its own camera: skipped.
    """
    query = Embeddings([[1.0, 0.0], [0.0, 1.0]], [7, 9], [0, 0])
    gallery = Embeddings(np.ones((8, 2)), [0, 7, -1, 7, 7, 9, 7, 0], [0, 1, 1, 0, 2, 0, 1, 2])
    distances = np.arange(16.0).reshape(2, 8)
    scores = score(query, gallery, ranks=(1, 2, 20), distances=distances)
    assert scores.mean_average_precision == pytest.approx(53 / 90, abs=1e-12)
    assert scores.mean_inverse_negative_penalty == pytest.approx(3 / 5, abs=1e-12)
    assert scores.cmc == {1: 0, 2: 1, 20: 1}
    assert (scores.num_valid_queries, scores.num_skipped_queries, scores.valid_queries.tolist()) == (1, 1, [0])
    trapezoid = score(query, gallery, average_precision="trapezoid", distances=distances)
    assert trapezoid.mean_average_precision == pytest.approx(83 / 180, abs=1e-12)
    np.testing.assert_array_equal(distances, np.arange(16.0).reshape(2, 8))  # left as it was


def test_ties_are_ranked_by_gallery_index():
    query = Embeddings([[1.0]], [1], [0])
    for place in range(4):
        identities = np.zeros(4, int)
        identities[place] = 1
        gallery = Embeddings(np.ones((4, 1)), identities, np.ones(4, int))
        for metric in ("cosine", "euclidean"):
            assert score(query, gallery, metric=metric).first_match_rank.tolist() == [place + 1]


def test_zero_vectors_have_cosine_distance_one():
    """Order: the opposite of the query is farther than a zero vector, which ties with the right angle."""
    query = Embeddings([[1.0, 0.0]], [1], [0])
    gallery = Embeddings([[-1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [0, 0, 1, 0], [1, 1, 1, 1])
    assert score(query, gallery).first_match_rank.tolist() == [3]
    np.testing.assert_allclose(
        next(iter(Distances(query.features, gallery.features, "cosine"))), [[2, 1, 1, 1 - 0.5**0.5]]
    )


def test_identity_zero_is_a_person_like_others():
    query = Embeddings([[1.0, 0.0]], [0], [0])
    gallery = Embeddings([[1.0, 0.0], [0.0, 1.0]], [0, 1], [1, 1])
    assert score(query, gallery).mean_average_precision == 1


def test_float64_distances_keep_their_digits():
    query, gallery = Embeddings([[1.0]], [1], [0]), Embeddings([[1.0], [1.0]], [0, 1], [1, 1])
    distances = np.array([[1 + 1e-12, 1.0]])
    assert score(query, gallery, distances=distances).first_match_rank.tolist() == [1]
    assert score(query, gallery, distances=distances.astype("float32")).first_match_rank.tolist() == [2]
    distances.flags.writeable = False
    assert score(query, gallery, distances=[distances]).first_match_rank.tolist() == [1]


def test_blocks_do_not_change_the_distances(monkeypatch):
    rng = np.random.default_rng(2)
    left, right = rng.integers(-9, 9, (50, 5)).astype("float32"), rng.integers(-9, 9, (30, 5)).astype("float32")
    whole = np.concatenate([block.copy() for block in Distances(left, right, "euclidean")])
    assert 4 * distances.BLOCK == 128 * 2**20  # bytes
    monkeypatch.setattr("common.retrieval.distances.BLOCK", 7 * 30)
    parts = [block.copy() for block in Distances(left, right, "euclidean")]
    assert [len(part) for part in parts] == [7] * 7 + [1]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(whole, ((left[:, None] - right) ** 2).sum(axis=2))


ONE = Embeddings([[1.0, 2.0]], [1], [0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([[1.0, np.nan], [1, 1], [np.inf, 0]], [1, 2, 3], [0, 0, 0]),
            "NaN or infinity in 2 of 3 rows, first in row 0;",
        ),
        (([[1e39]], [1], [0]), "must be finite in float32, got NaN or infinity in 1 of 1 rows"),
        (([["a"]], [1], [0]), "features must be an .N, D. array of numbers"),
        (([[1.0], [1.0, 2.0]], [1], [0]), "features must be an .N, D. array of numbers"),
        (([1.0, 2.0], [1, 2], [0, 0]), "must have shape .N, D. with at least one row and column, got .2,.; flatten"),
        ((np.zeros((0, 4)), [], []), "with at least one row and column, got .0, 4."),
        (([[1.0]], ["0002"], [0]), "identities must be integers, got <U4; number them"),
        (([[1.0]], [2], [1.0]), "cameras must be integers, got float64; number them"),
        (([[1.0]], [1, 2], [0]), "identities must have one number for each of the 1 rows of features, got shape .2,."),
        (([[1.0]], [1], [[0]]), "cameras must have one number for each of the 1 rows of features, got shape .1, 1."),
    ],
)
def test_embeddings_refuse_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        Embeddings(*arguments)


@pytest.mark.parametrize(
    ("gallery", "options", "message"),
    [
        (Embeddings([[1.0]], [1], [1]), {}, "must be of equal width, got 2 and 1; compute both with the same model"),
        (ONE, {}, "None of the 1 queries has a match: .* under another camera; check .* that camera ids are real"),
        (ONE, {"metric": "l1"}, "metric must be 'cosine' or 'euclidean', got 'l1'"),
        (ONE, {"ranks": (0,)}, "ranks must be one or more integers from 1 on, got .0,."),
        (ONE, {"average_precision": "mean"}, "average_precision must be 'standard' or 'trapezoid', got 'mean'"),
        (ONE, {"distances": np.ones((2, 1))}, "distances must be a .1, 1. array, .* got shape .2, 1."),
        (ONE, {"distances": np.ones(1)}, "distances must be a .1, 1. array, .* got shape .1,."),
        (ONE, {"distances": [np.ones((1, 2))]}, "distances must be a .1, 1. array, .* got shape .1, 2."),
        (ONE, {"distances": [np.ones((1, 1))] * 2}, "distances must be a .1, 1. array"),
        (ONE, {"distances": []}, "distances must have a row for each of the 1 queries, got 0 rows"),
        (ONE, {"distances": np.full((1, 1), np.nan)}, "distances must not be NaN"),
        (Embeddings([[1e-20, 0.0]], [1], [1]), {}, "lengths in .1e-15, 1e.15., got 1e-20 to 1e-20; scale all"),
        (Embeddings([[9.9e-16, 0.0]], [1], [1]), {}, "got 9.9e-16 to 9.9e-16; scale all"),
        (Embeddings([[1.01e15, 0.0]], [1], [1]), {}, "got 1.01e.15 to 1.01e.15; scale all"),
    ],
)
def test_score_refuses_bad_input(gallery, options, message):
    with pytest.raises(ValueError, match=message):
        score(ONE, gallery, **options)


@pytest.mark.parametrize("length", [1.01e-15, 9.9e14])
def test_lengths_up_to_the_bounds_are_ranked(length):
    assert score(ONE, Embeddings([[length, 0.0]], [1], [1])).mean_average_precision == 1


def test_bad_features_are_counted_beyond_the_first_block():
    features = np.ones((5000, 1))
    features[[4500, 4999]] = np.inf
    with pytest.raises(ValueError, match="in 2 of 5000 rows, first in row 4500"):
        Embeddings(features, np.zeros(5000, int), np.zeros(5000, int))


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "ZipCacheLocator")  # finds no place for this file

    def double(x):
        return 2 * x

    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(double)
    assert compiled()(double)(21) == 42


@pytest.mark.parametrize("row", [0, 4095, 4096, 8192])
def test_each_row_is_looked_at_for_nan(row):
    """Also where one block of rows ends and the next one begins."""
    features = np.ones((8193, 2), "float32")
    features[row, 1] = np.nan
    with pytest.raises(ValueError, match=f"in 1 of 8193 rows, first in row {row};"):
        Embeddings(features, np.ones(8193, int), np.ones(8193, int))
