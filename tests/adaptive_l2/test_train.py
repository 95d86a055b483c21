"""Training, resuming and evaluating on a few synthetic people."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from adaptive_l2 import evaluate as evaluation
from adaptive_l2.config import PRESETS, ROWS, Trial
from adaptive_l2.data import read
from adaptive_l2.evaluate import evaluate
from adaptive_l2.model import build, restore
from adaptive_l2.train import augmentation, train
from common.datasets.augmentation import augment
from common.datasets.images import read_image
from common.retrieval import load_embeddings, score
from tests.helpers import assert_figures, truncate
from tests.resuming import assert_same_checkpoints, stopping

pytest.importorskip("tensorflow")

SMOKE = replace(PRESETS["smoke"][1], name="run", regularizations=("adaptive",), regional_branches=True)


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path_factory.mktemp("runs"))
    folder = train(config)
    evaluate(folder, rerank=True)
    return folder, config


def test_stopped_between_and_in_the_stages_it_ends_with_the_same_weights(run, people, tmp_path):
    """The second stage starts from the first one's weights, also when they come from its checkpoint."""
    whole, _ = run
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path)
    with stopping(lambda folder: folder.name != "frozen") as folders:
        train(config)
    assert folders == ["frozen", "adaptive-seed0"]
    assert_same_checkpoints(train(config), whole, "adaptive-seed0")


def test_backbone_is_frozen_in_the_first_stage(run):
    folder, config = run
    initial = build(config, Trial("adaptive", 0), 8)
    variables = initial.training_model.variables
    with np.load(folder / "adaptive-seed0/frozen/checkpoint/state.npz") as state:
        moved = {v.path: not np.array_equal(v, state[f"arr_{i}"]) for i, v in enumerate(variables)}
    frozen = {v.path for block in initial.frozen_blocks for v in block.variables}
    assert not any(moved[path] for path in frozen)
    assert moved["upper_reduced/kernel"] and moved["global_logits/kernel"]


# Of the four steps of each stage, from seed 0: the training as a whole. A change of these is a change of results.
GOLDEN_LOSSES = {"frozen": 10.53865, ".": 18.62340}


def test_golden_training_log(run):
    logs = {stage: pd.read_csv(run[0] / "adaptive-seed0" / stage / "log.csv") for stage in GOLDEN_LOSSES}
    assert {stage: log["loss"][0] for stage, log in logs.items()} == pytest.approx(GOLDEN_LOSSES, rel=2e-3)


def test_log_has_each_loss_and_each_category(run):
    folder, config = run
    log = pd.read_csv(folder / "adaptive-seed0/log.csv")
    assert len(log) == config.epochs
    branches = ("global", "upper", "lower")
    assert {f"{b}_{o}_loss" for b in branches for o in ("logits", "embedding")} <= set(log.columns)
    factors = {f"factor_{c}" for c in ("conv_kernel", "conv_bias", "bn_gamma", "bn_beta", "dense_kernel")}
    assert factors <= set(log.columns)
    assert (log[sorted(factors)] <= config.amplitude / 2 + 1e-9).all(axis=None)


def test_log_has_the_map_of_double_images_and_what_the_clip_does(run):
    folder, config = run
    log = pd.read_csv(folder / "adaptive-seed0/log.csv")
    record = json.loads((folder / "adaptive-seed0" / evaluation.METRICS).read_text())
    assert log["test_mAP"].iloc[-1] == pytest.approx(record["mAP"], rel=1e-6)
    _, gallery = load_embeddings(folder / "adaptive-seed0" / evaluation.FEATURES)
    lower = gallery.features[:, 144:]  # 96 features of the global branch, 48 of each regional one
    assert log["lower_saturated"].iloc[-1] == pytest.approx((lower == 1).mean(), abs=1e-6)
    assert log["lower_dead"].iloc[-1] == pytest.approx((lower == 0).mean(), abs=1e-3)
    assert "test_mAP" in pd.read_csv(folder / "adaptive-seed0/frozen/log.csv")


def test_padding_is_twenty_pixels_in_total_and_erasing_has_its_color():
    paper = PRESETS["market1501_adaptive"][1]
    images = np.full((150, 384, 128, 3), 255, "uint8")
    augment(images, augmentation(replace(paper, random_erasing=False)), seed=0, epoch=0)
    black = (images == 0).all(axis=-1)
    assert ((images == 255).all(axis=-1) | black).all()
    rows, columns = black.all(axis=2), black.all(axis=1)
    for lines in (rows, rows[:, ::-1], columns, columns[:, ::-1]):
        assert lines[:, :10].sum(axis=1).max() == lines.sum(axis=1).max() == 10
    images = np.full((2000, 96, 64, 3), 255, "uint8")
    augment(images, augmentation(replace(paper, padding=0)), seed=0, epoch=0)
    erased = (images == (125, 123, 114)).all(axis=-1).mean(axis=(1, 2))
    assert (erased > 0).mean() == pytest.approx(0.5, abs=0.034)  # three standard errors
    assert erased[erased > 0].min() == pytest.approx(0.02, abs=0.003) and erased.max() == pytest.approx(0.4, abs=0.02)


def test_frozen_stages_are_the_warm_up_and_as_many_epochs_at_the_peak():
    for name, (_, config) in PRESETS.items():
        assert config.frozen_epochs in (0, 2 * config.warmup_epochs) or name == "smoke"


def test_features_are_means_over_the_mirror_and_scores_are_theirs(run):
    folder, config = run
    data = read(config)
    model = restore(config, Trial("adaptive", 0), data.train.identity.nunique(), folder / "adaptive-seed0")
    images = np.stack([read_image(path, config.image_size) for path in data.query.path[:3]])
    expected = (np.asarray(model.inference_model(images)) + np.asarray(model.inference_model(images[:, :, ::-1]))) / 2
    query, gallery = load_embeddings(folder / "adaptive-seed0" / evaluation.FEATURES)
    np.testing.assert_allclose(query.features[:3], expected, rtol=1e-4, atol=1e-5)
    record = json.loads((folder / "adaptive-seed0" / evaluation.METRICS).read_text())
    scores = score(query, gallery)
    assert record["mAP"] == pytest.approx(scores.mean_average_precision)
    assert record["rank1"] == pytest.approx(scores.cmc[1])
    assert 0 < record["mAP_interval"][0] <= record["mAP"] <= record["mAP_interval"][1] <= 1
    assert record["reranked_mAP"] != record["mAP"]


def test_report_has_its_table_and_figures(run):
    folder, _ = run
    text = (folder / "report.md").read_text()
    assert "adaptive L2, re-ranked" in text
    assert_figures(folder, "loss", "ranked_lists", "factors", "factor_histogram")


def test_finished_trainings_are_not_evaluated_again(run, monkeypatch):
    folder, _ = run
    monkeypatch.setattr(evaluation, "restore", None)
    assert len(evaluate(folder)) == 1


def test_published_rows_differ_by_one_part_each():
    rows = ["minimal", "triplet", "regional", "erasing", "clipping", "baseline", "adaptive"]
    names = ("triplet", "regional_branches", "random_erasing", "clipping", "regularizations")
    differences = [
        [name for name in names if getattr(ROWS[a][1], name) != getattr(ROWS[b][1], name)]
        for a, b in zip(rows, rows[1:])
    ]
    assert differences == [[name] for name in (*names, "regularizations")]


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="identities_per_batch and images_per_identity must be two or more"):
        replace(SMOKE, images_per_identity=1)
    with pytest.raises(ValueError, match="choose_epoch best_test needs evaluate_every to be above zero"):
        replace(SMOKE, evaluate_every=0, choose_epoch="best_test")
    with pytest.raises(ValueError, match="label_smoothing must be from 0 to below 1"):
        replace(SMOKE, label_smoothing=1.0)
    with pytest.raises(ValueError, match="image_size must be at least 32"):
        replace(SMOKE, image_size=(16, 32))
    with pytest.raises(ValueError, match="pass --data-dir"):
        train(replace(SMOKE, dataset="duke", runs_dir=tmp_path))


def test_a_damaged_image_ends_the_training_with_its_name(people, tmp_path):
    config = replace(SMOKE, data_dir=tmp_path / "people", runs_dir=tmp_path / "runs")
    truncate(read(config).train["path"])
    with pytest.raises(ValueError, match="The image .*_c.s1_.*jpg cannot be read; it is missing or damaged"):
        train(config)
