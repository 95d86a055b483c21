"""Scores by camera and attribute, bootstrap, verification and the command line."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from common.retrieval import (
    Embeddings,
    Scores,
    calibrate,
    confidence_interval,
    load_embeddings,
    score,
    score_by,
    score_by_camera_pair,
    verification_rates,
)
from tests.helpers import run_python


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
    return Scores(valid, skipped, average_precision, first, average_precision, (1, 5))


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
    rates = verification_rates(query, gallery, metric=metric)
    assert (rates.same[-1], rates.different[-1]) == (same.sum(), (~same).sum())
    assert rates.area == pytest.approx(roc_auc_score(same, -distances), abs=1e-5)
    false_positives, true_positives, _ = roc_curve(same, -distances, drop_intermediate=False)
    for rate in (1e-1, 1e-2, 1e-3):
        expected = true_positives[np.searchsorted(false_positives, rate, "right") - 1]
        assert rates.true_positive_rate_at(rate) == pytest.approx(expected, abs=1.5 / same.sum())
        within = distances <= rates.threshold(rate)
        assert within[~same].mean() <= rate < within[~same].mean() + 2 / (~same).sum()
    assert rates.threshold(1e-9) == -1 or rates.different[0] == 0
    with pytest.raises(ValueError, match="rate must be in .0, 1., got 0"):
        rates.threshold(0)


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


def save(path, query, gallery, leave_out=()):
    sides = {"query": query, "gallery": gallery}
    parts = ("features", "identities", "cameras")
    arrays = {f"{side}_{part}": getattr(value, part) for side, value in sides.items() for part in parts}
    np.savez(path, **{name: array for name, array in arrays.items() if name not in leave_out})


def test_command_prints_the_scores(tmp_path):
    query, gallery = people(3)
    save(tmp_path / "features.npz", query, gallery)
    out, _ = run_python(
        "-m", "common.retrieval", str(tmp_path / "features.npz"), "--metric", "euclidean", "--ranks", "1", "3"
    )
    rows = {cells[1].strip(): cells[2:5] for cells in (line.split("|") for line in out.splitlines()) if len(cells) > 4}
    scores = score(query, gallery, metric="euclidean", ranks=(1, 3))
    trapezoid = score(query, gallery, metric="euclidean", average_precision="trapezoid")
    expected = {
        "mAP": scores.mean_average_precision,
        "mAP, trapezoid rule": trapezoid.mean_average_precision,
        "rank-1": scores.cmc[1],
        "rank-3": scores.cmc[3],
        "mINP": scores.mean_inverse_negative_penalty,
    }
    for name, value in expected.items():
        shown, low, high = (float(cell) for cell in rows[name])
        assert shown == pytest.approx(100 * value, abs=0.0051) and low <= shown <= high
    shown = float(rows["TPR at FPR 0.01"][0])
    rates = verification_rates(query, gallery, metric="euclidean")
    assert shown == pytest.approx(100 * rates.true_positive_rate_at(0.01), abs=0.0051)
    assert f"{scores.num_valid_queries} valid queries, {scores.num_skipped_queries} skipped" in out


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
    save(path, query, gallery, leave_out=["query_cameras", "gallery_cameras"])
    _, err = run_python("-m", "common.retrieval", str(path), status=1)
    assert err.startswith("ValueError: ") and err.count("\n") == 1
    assert "lacks query_cameras, gallery_cameras; it has query_features, query_identities, gallery_features" in err
