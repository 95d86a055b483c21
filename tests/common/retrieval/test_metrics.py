"""`score` against a textbook that sorts every row, on random cases full of ties, and by hand."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.jit import compiled
from common.retrieval import Embeddings, Protocol, distances, rerank, score, search
from common.retrieval.distances import Distances


class NoMatchError(Exception):
    pass


def textbook(distances, query, gallery, ranks, trapezoid):
    """mAP, CMC, mINP, AP, R-precision, AP@R of each valid query and their indices, in float64, one sort per query."""
    average_precision, first, penalties, valid, at_r = [], [], [], [], []
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
        number = matches.sum()  # R
        running = np.cumsum(matches[:number]) / np.arange(1, number + 1)
        at_r.append((matches[:number].mean(), (running * matches[:number]).mean()))
    if not valid:
        raise NoMatchError
    cmc = {rank: np.mean(np.array(first) <= rank) for rank in ranks}
    return np.mean(average_precision), cmc, np.mean(penalties), average_precision, valid, np.array(at_r)


def people(rng, size, width=2, identities=4, cameras=2, lowest=-1):
    return Embeddings(
        rng.integers(-2, 3, (size, width)), rng.integers(lowest, identities, size), rng.integers(0, cameras, size)
    )


def check(scores, expected):
    mean, cmc, penalty, average_precision, valid, at_r = expected
    of_each = np.stack([scores.r_precision, scores.average_precision_at_r], axis=1)
    np.testing.assert_allclose(of_each, at_r, rtol=0, atol=1e-9)
    means = scores.mean_r_precision, scores.mean_average_precision_at_r
    np.testing.assert_allclose(means, at_r.mean(axis=0), rtol=0, atol=1e-9)
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
        with pytest.raises(
            ValueError, match=f"None of the {num_queries} queries has a match|All {num_gallery} gallery images are junk"
        ):
            score(query, gallery, ranks=ranks, protocol=Protocol(ap=rule), **options)
        return
    scores = score(query, gallery, ranks=ranks, protocol=Protocol(ap=rule), **options)
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
    check(score(query, gallery, ranks=(1,), protocol=Protocol(ap=rule), distances=distances), expected)


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
    assert scores.mean_r_precision == pytest.approx(2 / 3, abs=1e-12)  # of the first three, two
    assert scores.mean_average_precision_at_r == pytest.approx((1 / 2 + 2 / 3) / 3, abs=1e-12)
    trapezoid = score(query, gallery, protocol=Protocol(ap="trapezoid"), distances=distances)
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
        next(iter(Distances(query.features, gallery.features, "cosine"))), [[2, 1, 1, 1 - 0.5**0.5]], rtol=1e-6
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
    assert search(query, gallery, 1, distances=distances).indices.tolist() == [[1]]
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
    np.testing.assert_allclose(whole, np.sqrt(((left[:, None] - right) ** 2).sum(axis=2)), rtol=1e-6)


ONE = Embeddings([[1.0, 2.0]], [1], [0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([[1.0, np.nan], [1, 1], [np.inf, 0]], [1, 2, 3], [0, 0, 0]),
            "NaN or infinity in 2 of 3 rows, first in row 0;",
        ),
        (([[1e39]], [1], [0]), "must be finite in float32, got NaN or infinity in 1 of 1 rows"),
        (
            ([["a"]], [1], [0]),
            "features must be an .N, D. array of numbers, got rows of several lengths, or no numbers",
        ),
        (([[1.0], [1.0, 2.0]], [1], [0]), "features must be an .N, D. array of numbers, got rows of several lengths"),
        ((np.zeros((1, 2), "datetime64[s]"), [1], [0]), "features must be an .N, D. array of numbers, got datetime64"),
        (([1.0, 2.0], [1, 2], [0, 0]), "must have shape .N, D. with at least one row and column, got .2,.; flatten"),
        ((np.zeros((0, 4)), [], []), "with at least one row and column, got .0, 4."),
        (([[1.0]], [True], [0]), "identities must be integers or strings, got bool; give each"),
        (([[1.0], [2.0]], np.array([1, "a"], object), [0, 0]), "identities must be .*, got values of several kinds;"),
        (([[1.0], [2.0]], [1, 2], [1.0, 1.5]), "cameras must be strings or whole numbers .*, got 1.5 in row 1;"),
        (([[1.0]], [np.nan], [0]), "identities must be strings or whole numbers .*, got nan in row 0;"),
        (([[1.0]], np.float32([2**25]), [0]), "whole numbers that float32 holds exactly, got 33554432.0 in row 0"),
        (([[1.0]], [1, 2], [0]), "identities must have one entry for each of the 1 rows of features, got shape .2,."),
        ((np.ones((4, 1)), [1] * 4, np.ones((2, 2))), "cameras must have one entry for each of the 4 .* shape .2, 2."),
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
        (ONE, {"distances": np.ones((2, 1))}, "distances must be a .1, 1. array, .* got shape .2, 1."),
        (ONE, {"distances": np.ones(1)}, "distances must be a .1, 1. array, .* got shape .1,."),
        (ONE, {"distances": [np.ones((1, 2))]}, "distances must be a .1, 1. array, .* got shape .1, 2."),
        (ONE, {"distances": [np.ones((1, 1))] * 2}, "distances must be a .1, 1. array"),
        (ONE, {"distances": []}, "distances must have a row for each of the 1 queries, got 0 rows"),
        (ONE, {"distances": np.full((1, 1), np.nan)}, "distances must not be NaN"),
        (Embeddings([[1.0, 2.0]], [1]), {}, "The gallery has no cameras, but images of a query's own camera are to be"),
        (Embeddings([[1.0, 2.0]], ["1"], [1]), {}, "identities of query and gallery .* got integers .* and strings in"),
        (Embeddings([[1.0, 2.0]], [-1], [1]), {}, "All 1 gallery images are junk .identity -1.; check identities"),
        (
            ONE,
            {"protocol": Protocol(leave_one_out=True, same_camera=True)},
            "None of the 1 queries has a match: no ident"
            "ity of theirs is in the gallery; check that identities are numbered alike in both[.]",
        ),
    ],
)
def test_score_refuses_bad_input(gallery, options, message):
    with pytest.raises(ValueError, match=message):
        score(ONE, gallery, **options)


@pytest.mark.parametrize("ap", ["mean", None])
def test_protocol_refuses_unknown_options(ap):
    with pytest.raises(ValueError, match=f"ap, the rule of average precision, must be one of .*, got {ap!r}"):
        Protocol(ap=ap)
    with pytest.raises(ValueError, match="metric must be 'cosine' or 'euclidean', got 'l2'"):
        Protocol(metric="l2")


@pytest.mark.parametrize("size", [1e-44, 1e-17, 1.0, 1e17, 1e38])
def test_distances_of_features_of_any_size(size):
    """Vectors whose squares float32 does not hold, as far as it holds them themselves."""
    rng = np.random.default_rng(0)
    left, right = ((size * rng.standard_normal((n, 8))).astype("float32") for n in (5, 7))
    x, y = left.astype(float), right.astype(float)
    euclidean = np.linalg.norm(x[:, None] - y, axis=2)
    cosine = 1 - (x @ y.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)
    expected = {"euclidean": np.where(euclidean > 3.4e38, np.inf, euclidean), "cosine": cosine}
    for metric, values in expected.items():
        block = Distances(left, right, metric).block(slice(None))
        np.testing.assert_allclose(block, values, rtol=2e-6, atol=1e-44 if metric == "euclidean" else 1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("places", [1, 3])
def test_distances_of_tight_clusters_have_their_digits(metric, places):
    """At one place far from the origin, and at several; the oracle is float64 on differences."""
    rng = np.random.default_rng(0)
    where = rng.standard_normal((places, 1, 32)) + 2
    points = (where + 1e-4 * rng.standard_normal((places, 20, 32))).reshape(-1, 32).astype("float32")
    x = points.astype(float)
    if metric == "cosine":
        x /= np.linalg.norm(x, axis=1, keepdims=True)
    expected = np.linalg.norm(x[:, None] - x, axis=2)
    expected = expected**2 / 2 if metric == "cosine" else expected
    block = Distances(points[:25], points, metric).block(slice(None))
    tolerance = 1e-4 if places == 1 else 1e-3
    np.testing.assert_allclose(block, expected[:25], rtol=tolerance, atol=0)
    assert not np.diagonal(block).any()  # exactly
    within = Distances(points, points, metric)
    rows, columns = np.divmod(np.arange(len(x) ** 2), len(x))
    np.testing.assert_allclose(within.pairs(rows, columns).reshape(expected.shape), expected, rtol=tolerance, atol=0)
    assert expected.max() * (1 - 1e-6) <= within.bound() < 5 * expected.max()
    assert Distances(points, points[10:], metric).bound() >= expected.max() * (1 - 1e-6)


def test_tight_clusters_are_ranked():
    """Identities 1e-4 apart, images 5e-6: float64 ranks them without an error, and so do float32 products now."""
    rng = np.random.default_rng(0)
    identities = np.repeat(np.arange(50), 4)
    features = rng.standard_normal((50, 64))[identities] + 0.05 * rng.standard_normal((200, 64))
    points = Embeddings(rng.standard_normal(64) + 1e-4 * features, identities)
    for metric in ("cosine", "euclidean"):
        protocol = Protocol(metric, same_camera=True, leave_one_out=True)
        assert score(points, points, protocol=protocol).mean_average_precision == 1


def test_names_of_identities_keep_their_meaning():
    """Each kind of name ranks as plain numbers do; hashes of 64 bits do not become negative, or junk."""
    rng = np.random.default_rng(0)
    numbers = [rng.integers(-1, 4, size) for size in (20, 50)]
    features, cameras = (
        [rng.standard_normal((len(n), 3)) for n in numbers],
        [n % 3 for n in (np.arange(20), np.arange(50))],
    )
    expected = score(*map(Embeddings, features, numbers, cameras)).average_precision
    names = {
        "strings": np.array([f"{n:04d}" if n >= 0 else "-1" for n in range(-1, 4)]),
        "texts": np.array([f"{n}".encode() for n in range(-1, 4)]),
        "objects": np.array(["-1", *"abcd"], object),
        "floats": np.arange(-1.0, 4.0),
        "columns": np.arange(-1, 4)[:, None],
    }
    for kind, table in names.items():
        sides = [Embeddings(x, table[n + 1], (c * 1.0)[None]) for x, n, c in zip(features, numbers, cameras)]
        np.testing.assert_array_equal(score(*sides).average_precision, expected, err_msg=kind)
    hashes = np.array([2**64 - 1, 2**63, 5, 2**63 + 1, 2**53], "uint64")
    sides = [Embeddings(x, hashes[n + 1], [f"camera {i}" for i in c]) for x, n, c in zip(features, numbers, cameras)]
    everyone = [Embeddings(x, n + 1, c) for x, n, c in zip(features, numbers, cameras)]
    np.testing.assert_array_equal(score(*sides).average_precision, score(*everyone).average_precision)
    small = sides[1].take(sides[1].identities <= 2**53)
    assert small.identities.dtype == "int64" and sides[0].identities.dtype == "uint64"
    assert score(sides[0], small).num_valid_queries == np.isin(numbers[0], (1, 3)).sum()


def test_rules_of_the_protocol_by_hand():
    """Gallery nearest first: junk, the query's own image, a match of its camera, a wrong one, a match, nobody (0)."""
    places = np.arange(6.0)[:, None]
    gallery = Embeddings(places, [-1, 7, 7, 8, 7, 0], [1, 0, 0, 1, 1, 1], list("abcdef"))
    query = Embeddings([[0.0], [5.0]], [7, 0], [0, 0], ["b", "z"])

    def ranks(**rules):
        scores = score(
            query, gallery, protocol=Protocol("euclidean", **rules), distances=np.abs(query.features - places.T)
        )
        return scores.first_match_rank.tolist(), scores.average_precision.round(9).tolist()

    assert ranks() == ([2, 1], [0.5, 1])  # wrong, match; identity 0 is somebody
    assert ranks(distractors=(0,)) == ([2], [0.5])
    with_own = ranks(distractors=("0",), same_camera=True)  # match, match, wrong, match
    assert with_own == ([1], [round((1 + 1 + 3 / 4) / 3, 9)])
    without = ranks(distractors=(0,), same_camera=True, leave_one_out=True)  # match, wrong, match
    assert without == ([1], [round((1 + 2 / 3) / 2, 9)])
    assert ranks(distractors=(0,), junk=None) == ([3], [round(1 / 3, 9)])  # what was junk is a wrong answer now
    assert ranks(distractors=(0,), junk=8) == ([2], [0.5])  # and where 8 is, the first one counts instead


def test_leave_one_out_finds_the_own_image_by_path_or_by_place():
    points = Embeddings([[0.0], [1.0], [1.5], [4.0]], list("abab"))
    protocol = Protocol("euclidean", same_camera=True, leave_one_out=True)
    # From 0: b, a, b. From 1: a at 1.5 first, then a, then b. From 1.5: b, a, b. From 4: a, b, a.
    assert score(points, points, protocol=protocol).first_match_rank.tolist() == [2, 3, 2, 2]
    with pytest.raises(ValueError, match="Leave-one-out needs paths, or the same images in the same order"):
        score(points.take([1, 0]), points, protocol=protocol)
    named = Embeddings(points.features, points.identities, paths=list("wxyz"))
    assert score(named.take([3, 0]), named, protocol=protocol).first_match_rank.tolist() == [2, 2]
    with pytest.raises(ValueError, match="Leave-one-out by paths needs different ones in the gallery, the queries'"):
        score(Embeddings([[1.0]], ["a"], paths=["v"]), named, protocol=protocol)


def test_reranked_distances_are_for_their_own_images_and_protocol():
    rng = np.random.default_rng(0)
    query, gallery = people(rng, 6, lowest=0), people(rng, 30)
    reranked = rerank(query, gallery, k1=5, k2=2, metric="euclidean")
    scores = score(query, gallery, distances=reranked)
    assert scores.protocol == Protocol("euclidean")
    copies = [part.take(np.arange(len(part))) for part in (query, gallery)]
    trapezoid = score(*copies, distances=reranked, protocol=Protocol("euclidean", ap="trapezoid"))
    np.testing.assert_array_equal(trapezoid.first_match_rank, scores.first_match_rank)
    with pytest.raises(ValueError, match="The re-ranked distances are of another query; call rerank with the one"):
        score(query.take([1, 0, 2, 3, 4, 5]), gallery, distances=reranked)
    with pytest.raises(ValueError, match="The re-ranked distances are of another gallery"):
        score(query, gallery.take(np.arange(29, -1, -1)), distances=reranked)
    with pytest.raises(ValueError, match="were re-ranked under .*'euclidean'.*, but are to be scored under .*'cosine'"):
        score(query, gallery, distances=reranked, metric="cosine")


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "ZipCacheLocator")  # finds no place for this file

    def double(x):
        return 2 * x

    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(double)
    assert compiled()(double)(21) == 42


@pytest.mark.parametrize("rows", [[0], [4095, 4096], [8192]])
def test_each_row_is_looked_at_for_nan(rows):
    """Also where one block of rows ends and the next one begins."""
    features = np.ones((8193, 2), "float32")
    features[rows, 1] = np.nan
    with pytest.raises(ValueError, match=f"in {len(rows)} of 8193 rows, first in row {rows[0]};"):
        Embeddings(features, np.ones(8193, int), np.ones(8193, int))
