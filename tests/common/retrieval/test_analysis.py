"""Scores by camera and attribute, bootstrap, verification and the command line."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from common.retrieval import (
    Embeddings,
    Protocol,
    Scores,
    Verification,
    Verifier,
    calibrate,
    confidence_interval,
    load_embeddings,
    rerank,
    score,
    score_by,
    score_by_camera_pair,
    verification,
    verification_rates,
)
from common.retrieval.__main__ import main
from tests.helpers import run_python

EUCLIDEAN = Protocol("euclidean")


def people(seed, num_identities=60, num_images=6, width=16, spread=0.8, cameras=3):
    """Query: one image of each identity; gallery: the others, some of them junk."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(num_identities), num_images)
    features = rng.standard_normal((num_identities, width))[ids] + spread * rng.standard_normal((len(ids), width))
    seen_by = rng.integers(0, cameras, len(ids))
    first = np.arange(len(ids)) % num_images == 0
    ids = np.where(~first & (rng.random(len(ids)) < 0.1), -1, ids)
    return Embeddings(features[first], ids[first], seen_by[first]), Embeddings(
        features[~first], ids[~first], seen_by[~first]
    )


def scores_of(average_precision, skipped=0):
    """Scores with the given AP; all else follows from hand-made ranks 1 (AP 1) and 2 (any other)."""
    average_precision = np.asarray(average_precision, float)
    first = np.where(average_precision == 1, 1, 2)
    valid = np.arange(len(average_precision)) + skipped
    return Scores(
        valid, skipped, average_precision, first, average_precision, average_precision, average_precision, (1, 5)
    )


def test_camera_pairs_equal_scores_of_the_parts():
    query, gallery = people(0)
    table = score_by_camera_pair(query, gallery)
    assert list(zip(table.query_camera, table.gallery_camera)) == [(a, b) for a in range(3) for b in range(3) if a != b]
    for row in table.itertuples(index=False):
        expected = score(query.take(query.cameras == row[0]), gallery.take(gallery.cameras == row[1]))
        assert row[2:] == (expected.mean_average_precision, expected.cmc[1], expected.num_valid_queries)


def test_camera_pair_without_a_match():
    query = Embeddings(np.eye(2), [1, 2], [0, 1])
    gallery = Embeddings(np.eye(2), [1, 1], [1, 2])
    table = score_by_camera_pair(query, gallery).set_index(["query_camera", "gallery_camera"])
    assert table.loc[(0, 1)].tolist() == [1, 1, 1] and table.loc[(0, 2)].tolist() == [1, 1, 1]
    assert np.isnan(table.loc[(1, 2), "mAP"]) and table.loc[(1, 2), "valid_queries"] == 0
    assert len(table) == 3  # gallery camera 1 meets no queries of its own


def test_scores_by_attribute():
    """The first query is skipped: its label does not count."""
    table = score_by(scores_of([1, 0.5, 0.25, 1], skipped=1), np.array(["hat", "hat", "hat", "bag", "bag"]))
    assert table.loc["hat"].tolist() == [0.75, 0.5, 2]
    assert table.loc["bag"].tolist() == [0.625, 0.5, 2]
    scores = replace(scores_of([1, 0.5]), ranks=(5,))  # rank-1 is in the table also where the CMC lacks it
    assert score_by(scores, np.array(["a", "a"])).loc["a"].tolist() == [0.75, 0.5, 2]
    with pytest.raises(ValueError, match="Expected one label for each of the 5 queries, got shape .4,."):
        score_by(scores_of([1, 0.5, 0.25, 1], skipped=1), np.zeros(4))


def test_interval_by_hand():
    """One query of AP 1, three queries of AP 0 of another person. Draws of the two: both the first (1/4), one of
    each (1/2), both the second (1/4); mAP is 1, 1/4, 0 and not the 1, ... that draws of queries would give."""
    scores, identities = scores_of([1, 0, 0, 0]), np.array([4, 9, 9, 9])
    wide = confidence_interval(scores, identities)
    assert wide.loc["mAP"].tolist() == [0.25, 0, 1] and wide.loc["rank-5"].tolist() == [1, 1, 1]
    assert confidence_interval(scores, identities, level=0.4).loc["mAP"].tolist() == [0.25, 0.25, 0.25]
    with pytest.raises(ValueError, match="level must be in .0, 1. and resamples at least 1, got 95 and 1000"):
        confidence_interval(scores, identities, level=95)


def test_interval_is_of_95_percent_of_the_scores_of_whole_identities():
    """1.96 standard errors of the mean of 400 normal ones; a bound from 1000 draws has an error of 0.085 of them."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    interval = confidence_interval(scores_of(values), np.arange(400)).loc["mAP"]
    error = stats.sem(values)
    for bound, sign in (("low", -1), ("high", 1)):
        assert (interval[bound] - interval["score"]) / error == pytest.approx(1.96 * sign, abs=0.25)


def test_interval_covers_the_truth():
    """90 % intervals of 300 experiments: persons differ (standard deviation 0.1), their 8 images little. The
    percentile bootstrap of 40 persons covers slightly less than 90 %; three standard errors are 5 %."""
    rng, covered = np.random.default_rng(0), 0
    identities = np.repeat(np.arange(40), 8)
    for _ in range(300):
        values = 0.5 + 0.1 * rng.standard_normal(40)[identities] + 0.02 * rng.standard_normal(320)
        interval = confidence_interval(scores_of(values), identities, level=0.9, resamples=400).loc["mAP"]
        covered += interval["low"] <= 0.5 <= interval["high"]
    assert 0.84 < covered / 300 < 0.94


def pairs_of(query, gallery, metric):
    """Distances and labels of all pairs that count, the slow way."""
    x, y = (part.features.astype(np.float64) for part in (query, gallery))
    if metric == "cosine":
        x, y = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (x, y))
        distances = 1 - x @ y.T
    else:
        distances = np.sqrt(((x[:, None] - y) ** 2).sum(axis=2))
    same = query.identities[:, None] == gallery.identities
    used = ~(same & (query.cameras[:, None] == gallery.cameras)) & (gallery.identities != -1)
    return distances[used], same[used]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_verification_equals_scikit_learn(metric):
    query, gallery = people(1)
    distances, same = pairs_of(query, gallery, metric)
    rates = verification_rates(query, gallery, protocol=Protocol(metric))
    assert (rates.same[-1], rates.different[-1]) == (same.sum(), (~same).sum())
    assert rates.area == pytest.approx(roc_auc_score(same, -distances), abs=1e-5)
    false_positives, true_positives, _ = roc_curve(same, -distances, drop_intermediate=False)
    for rate in (1e-1, 1e-2, 1e-3):
        expected = true_positives[np.searchsorted(false_positives, rate, "right") - 1]
        assert rates.true_positive_rate_at(rate) == pytest.approx(expected, abs=1.5 / same.sum())
        within = distances <= rates.threshold(rate)
        assert within[~same].mean() <= rate < within[~same].mean() + 2 / (~same).sum()
    with pytest.raises(ValueError, match="rate must be in .0, 1., got 0"):
        rates.threshold(0)
    with pytest.raises(ValueError, match="rate must be in .0, 1., got 1.01"):
        rates.true_positive_rate_at(1.01)


def test_verification_by_hand():
    """Same at 0.1 and 0.3, different at 0.2 and 0.4: of four pairs of pairs the same one is nearer in three."""
    query, places = Embeddings([[0.0]], [1], [0]), np.array([[0.1], [0.2], [0.3], [0.4]])
    rates = verification_rates(query, Embeddings(places, [1, 2, 1, 2], [1, 1, 1, 1]), protocol=EUCLIDEAN)
    over = rates.thresholds / places[:, 0] - 1  # upper edges of bins, whose width is 2^-15 of them
    assert (over > -1e-7).all() and (over < 2**-15).all()
    assert (rates.same.tolist(), rates.different.tolist()) == ([1, 1, 2, 2], [0, 1, 1, 2])
    assert rates.area == pytest.approx(3 / 4)
    for rate, threshold, share in ((0.4, 0.1, 0.5), (0.5, 0.3, 1), (0.99, 0.3, 1), (1, 0.4, 1)):
        assert rates.threshold(rate) == pytest.approx(threshold, abs=1e-5)
        assert rates.true_positive_rate_at(rate) == share
    other = verification_rates(query, Embeddings(places, [2, 1, 1, 2], [1, 1, 1, 1]), protocol=EUCLIDEAN)
    assert other.threshold(0.4) == -1 and other.true_positive_rate_at(0.4) == 0


def test_thresholds_end_before_the_next_bin():
    """A bin ends at 2: what is just below it is accepted at a threshold that a distance of 2 does not meet."""
    places = np.array([[2 - 2**-17], [2.0], [1.0]])
    rates = verification_rates(
        Embeddings([[0.0]], [1], [0]), Embeddings(places, [1, 2, 2], [1, 1, 1]), protocol=EUCLIDEAN
    )
    assert rates.thresholds[1] == np.nextafter(np.float32(2), np.float32(0)) and rates.thresholds[2] >= 2
    assert rates.same.tolist() == [0, 1, 1] and rates.different.tolist() == [1, 1, 2]
    assert [rates.supports(rate) for rate in (0.49, 0.5)] == [False, True]  # of two pairs


def test_queries_that_are_nobody_make_no_pairs():
    """Junk and distractors may show whom the gallery shows: neither the same nor different."""
    places = np.array([[1.0], [2.0]])
    gallery = Embeddings(places, [1, 0], [1, 1])
    query = Embeddings([[0.0], [0.0], [0.0]], [1, -1, 0], [0, 0, 0])
    rates = verification_rates(query, gallery, protocol=Protocol("euclidean", distractors=(0,)))
    assert (rates.same[-1], rates.different[-1]) == (1, 1)
    everybody = verification_rates(query, gallery, protocol=Protocol("euclidean", junk=None))
    assert (everybody.same[-1], everybody.different[-1]) == (2, 4)


def test_verification_refuses_pairs_of_one_kind():
    query = Embeddings([[1.0]], [1], [0])
    with pytest.raises(ValueError, match="pairs of the same and of different identities .*, got 0 and 1; check"):
        verification_rates(query, Embeddings([[1.0]], [2], [1]))


def test_calibration_holds_for_unseen_identities():
    """Thousands of pairs on each side: the rate at the threshold is near the wanted one, and probabilities are
    those of the counted shares; a prior of 1 % makes the odds 99 times smaller than an even one."""
    query, gallery = people(2, num_identities=600, spread=0.7)
    verifier = calibrate(query, gallery, false_positive_rate=0.01)
    assert verifier.held_out["false_positive_rate"] == pytest.approx(0.01, abs=0.003)
    everyone = verification_rates(query, gallery)
    assert verifier.held_out["true_positive_rate"] == pytest.approx(everyone.true_positive_rate_at(0.01), abs=0.05)
    assert verifier.held_out["area"] == pytest.approx(everyone.area, abs=0.01)
    assert verifier.held_out["expected_calibration_error"] < 0.03
    assert verifier.same([verifier.threshold - 1e-6, verifier.threshold + 1e-6]).tolist() == [True, False]
    even, rare = (verifier.probability(verifier.threshold, prior) for prior in (0.5, 0.01))
    assert even / (1 - even) / (rare / (1 - rare)) == pytest.approx(99)
    shift = np.log(2) / verifier.coefficient  # halves the odds: the logistic function's slope
    later = verifier.probability(verifier.threshold - shift)
    assert even / (1 - even) / (later / (1 - later)) == pytest.approx(2)
    with pytest.raises(ValueError, match="images in both halves of the identities"):
        calibrate(query.take([0]), gallery)
    few = [part.take(part.identities < 12) for part in (query, gallery)]
    with pytest.raises(ValueError, match="rate of 1e-05 is less than one of the .* pairs of different identities in a"):
        calibrate(*few, false_positive_rate=1e-5)


def test_calibration_fits_on_one_half_of_the_identities_and_measures_on_the_other():
    """Four identities have six halves: the threshold is that of one, and all rates are those of the other two."""
    rng = np.random.default_rng(0)

    def images(count, camera):
        features = rng.normal(size=(4, 1, 2)) + rng.normal(size=(4, count, 2))
        return Embeddings(features.reshape(-1, 2), np.repeat(range(4), count), np.full(4 * count, camera))

    def rates_of(chosen):
        parts = [part.take(np.isin(part.identities, chosen)) for part in (query, gallery)]
        return verification_rates(*parts, protocol=EUCLIDEAN)

    query, gallery = images(5, 0), images(9, 1)
    verifier = calibrate(query, gallery, protocol=EUCLIDEAN, false_positive_rate=0.2)
    fits = []
    for half in itertools.combinations(range(4), 2):
        fitting, held_out = rates_of(half), rates_of(list({0, 1, 2, 3} - set(half)))
        within = held_out.thresholds <= verifier.threshold
        rates = {
            "area": held_out.area,
            "true_positive_rate": held_out.same[within][-1] / held_out.same[-1] if within.any() else 0,
            "false_positive_rate": held_out.different[within][-1] / held_out.different[-1] if within.any() else 0,
        }
        fits.append(
            fitting.threshold(0.2) == verifier.threshold
            and rates == pytest.approx({name: verifier.held_out[name] for name in rates})
        )
    assert sum(fits) == 1


def test_calibration_error_by_hand():
    """Pairs at distance 0 are the same in three of four, at distance 1 in one of four, as many as there are of each.

    The logistic function that fits has logits ±log 3; on such pairs again it errs by nothing, and after a shift of the
    intercept by log 3, which makes them log 9 and 0, by the mean of 0.9 - 0.75 and 0.5 - 0.25.
    """
    rates = Verification(np.array([1e-9, 1.0]), np.array([3, 4]), np.array([1, 4]))
    verifier = Verifier(0.5, -2 * np.log(3), np.log(3), {})
    assert analysis_of(verifier, rates) == pytest.approx([0.75, 0.25, 0.75, 0], abs=1e-8)
    moved = replace(verifier, intercept=2 * np.log(3), threshold=1.0)
    assert analysis_of(moved, rates) == pytest.approx([1, 1, 0.75, 0.2])
    assert verifier.probability(0.5) == pytest.approx(0.5) and verifier.probability(0, 0.25) == pytest.approx(0.5)


def analysis_of(verifier, rates):
    names = ("true_positive_rate", "false_positive_rate", "area", "expected_calibration_error")
    return [verification._measure(verifier, rates)[name] for name in names]


def save(path, query, gallery, leave_out=()):
    sides = {"query": query, "gallery": gallery}
    parts = ("features", "identities", "cameras")
    arrays = {f"{side}_{part}": getattr(value, part) for side, value in sides.items() for part in parts}
    np.savez(path, **{name: array for name, array in arrays.items() if name not in leave_out})


@pytest.mark.parametrize("reranked", [False, True])
def test_command_prints_the_scores(tmp_path, monkeypatch, capsys, reranked):
    query, gallery = people(3)
    save(tmp_path / "features.npz", query, gallery)
    options, distances = ["--metric", "euclidean", "--ranks", "1", "3"], None
    if reranked:
        options += ["--rerank", "--k1", "9", "--k2", "3", "--lambda-value", "0.5"]
        distances = rerank(query, gallery, k1=9, k2=3, lambda_value=0.5, metric="euclidean")
    monkeypatch.setattr("sys.argv", ["retrieval", str(tmp_path / "features.npz"), *options])
    main()
    out = capsys.readouterr().out
    rows = {cells[1].strip(): cells[2:5] for cells in (line.split("|") for line in out.splitlines()) if len(cells) > 4}
    scores, trapezoid = (
        score(query, gallery, protocol=replace(EUCLIDEAN, ap=rule), ranks=(1, 3), distances=distances)
        for rule in ("standard", "trapezoid")
    )
    expected = confidence_interval(scores, query.identities)
    expected.loc["mAP, trapezoid rule"] = confidence_interval(trapezoid, query.identities).loc["mAP"]
    assert expected.loc["mAP, trapezoid rule", "score"] < scores.mean_average_precision
    for name, values in expected.iterrows():
        np.testing.assert_allclose([float(cell) for cell in rows.pop(name)], 100 * values, rtol=0, atol=0.0051)
    rates = verification_rates(query, gallery, protocol=EUCLIDEAN)
    for rate in (0.01, 0.001, 0.0001):
        cells = [cell.strip() for cell in rows.pop(f"TPR at FPR {rate:g}")]
        if rate == 0.0001 and rates.different[-1] < 10_000:
            assert cells[0] == "–" and "A dash: too few pairs" in out
        else:
            assert float(cells[0]) == pytest.approx(100 * rates.true_positive_rate_at(rate), abs=0.0051)
        assert cells[1:] == ["–", "–"]
    assert [name for name in rows if not name.startswith(("-", "score"))] == []
    assert f"{scores.num_valid_queries} valid queries, {scores.num_skipped_queries} skipped" in out
    assert f"{len(gallery)} gallery images" in out and ("TPR without re-ranking" in out) == reranked


def test_command_tells_errors_in_one_sentence(tmp_path):
    query, gallery = people(3)
    path = tmp_path / "features.npz"
    with pytest.raises(ValueError, match=r"There is no file .*features.npz; write one with np.savez"):
        load_embeddings(path)
    path.write_text("no arrays")
    with pytest.raises(ValueError, match="features.npz is no npz file of plain arrays"):
        load_embeddings(path)
    np.savez(path, query_features=np.array(["a", None], object))
    with pytest.raises(ValueError, match="features.npz is no npz file of plain arrays"):
        load_embeddings(path)
    save(path, query, gallery, leave_out=["query_cameras", "gallery_identities"])
    _, err = run_python("-m", "common.retrieval", str(path), status=1)
    assert err.startswith("ValueError: ") and err.count("\n") == 1
    assert "lacks gallery_identities; it has query_features, query_identities, gallery_features, gallery_cameras" in err
