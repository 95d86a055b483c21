"""Training, resuming and evaluating a few drawn people."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from adaptive_l2 import evaluate as evaluation
from adaptive_l2 import train as training_program
from adaptive_l2.config import PRESETS, ROWS, Trial
from adaptive_l2.evaluate import evaluate
from adaptive_l2.train import build, read, train
from common.datasets.images import read_image
from common.retrieval import load_embeddings, score

pytest.importorskip("tensorflow")

SMOKE = replace(PRESETS["smoke"][1], name="run", regularizations=("adaptive",), regional_branches=True)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return tmp_path_factory.mktemp("people")


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path_factory.mktemp("runs"))
    folder = train(config)
    evaluate(folder, reranked=True)
    return folder, config


def test_stopped_between_and_in_the_stages_it_ends_with_the_same_weights(run, people, tmp_path, monkeypatch):
    """The second stage starts from the first one's weights, also when they come from its checkpoint."""
    whole, _ = run
    config = replace(SMOKE, data_dir=people, runs_dir=tmp_path)
    fit, stages = training_program.training.fit, []

    def stop_before_the_second_stage(model, batches, *, folder, **options):
        stages.append(folder.name)
        if folder.name != "frozen":
            raise SystemExit(143)
        return fit(model, batches, folder=folder, **options)

    monkeypatch.setattr(training_program.training, "fit", stop_before_the_second_stage)
    with pytest.raises(SystemExit):
        train(config)
    monkeypatch.undo()
    assert stages == ["frozen", "adaptive-seed0"]
    trained = np.load(train(config) / "adaptive-seed0/checkpoint/state.npz")
    expected = np.load(whole / "adaptive-seed0/checkpoint/state.npz")
    for name in expected.files:
        np.testing.assert_array_equal(trained[name], expected[name])


def test_backbone_rests_in_the_first_stage(run):
    folder, config = run
    initial = build(config, Trial("adaptive", 0), 8)
    with np.load(folder / "adaptive-seed0/frozen/checkpoint/state.npz") as state:
        arrays = [state[f"arr_{i}"] for i in range(len(initial.training.variables))]
    moved = {
        variable.path: not np.array_equal(variable, array)
        for variable, array in zip(initial.training.variables, arrays)
    }
    resting = {v.path for block in initial.backbone for v in block.variables}
    assert not any(moved[path] for path in resting)
    assert moved["upper_reduced/kernel"] and moved["global_logits/kernel"]


# Of the four steps of each stage, from seed 0: the training as a whole. A change of these is a change of results.
GOLDEN_LOSSES = {"frozen": 10.36565, ".": 18.73322}


def test_golden_training_log(run):
    found = {stage: pd.read_csv(run[0] / "adaptive-seed0" / stage / "log.csv")["loss"][0] for stage in GOLDEN_LOSSES}
    print(found)
    assert found == pytest.approx(GOLDEN_LOSSES, rel=2e-3)


def test_log_has_each_loss_and_each_category(run):
    folder, config = run
    log = pd.read_csv(folder / "adaptive-seed0/log.csv")
    assert len(log) == config.epochs
    branches = ("global", "upper", "lower")
    assert {f"{b}_{o}_loss" for b in branches for o in ("logits", "embedding")} <= set(log.columns)
    factors = {f"factor_{c}" for c in ("conv_kernel", "conv_bias", "bn_gamma", "bn_beta", "dense_kernel")}
    assert factors <= set(log.columns)
    assert (log[sorted(factors)] <= config.amplitude / 2 + 1e-9).all(axis=None)


def test_features_are_means_over_the_mirror_and_scores_are_theirs(run):
    folder, config = run
    data = read(config)
    model = evaluation.restore(folder, config, Trial("adaptive", 0), data.train.identity.nunique())
    images = np.stack([read_image(path, config.image_size) for path in data.query.path[:3]])
    expected = (np.asarray(model.inference(images)) + np.asarray(model.inference(images[:, :, ::-1]))) / 2
    query, gallery = load_embeddings(folder / "adaptive-seed0" / evaluation.FEATURES)
    np.testing.assert_allclose(query.features[:3], expected, rtol=1e-4, atol=1e-5)
    record = json.loads((folder / "adaptive-seed0" / evaluation.METRICS).read_text())
    found = score(query, gallery)
    assert record["mAP"] == pytest.approx(found.mean_average_precision) and record["rank1"] == pytest.approx(
        found.cmc[1]
    )
    assert 0 < record["mAP_interval"][0] <= record["mAP"] <= record["mAP_interval"][1] <= 1
    assert record["reranked_mAP"] != record["mAP"]


def test_report_has_its_table_and_figures(run):
    folder, _ = run
    text = (folder / "report.md").read_text()
    assert "adaptive L2, re-ranked" in text
    for name in ("loss", "ranked_lists", "factors", "factor_histogram"):
        assert cv2.imread(str(folder / f"figures/{name}.png")).shape[0] > 300


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


def test_bad_settings_are_told(tmp_path):
    with pytest.raises(ValueError, match="identities_per_batch and images_per_identity must be two or more"):
        replace(SMOKE, images_per_identity=1)
    with pytest.raises(ValueError, match="label_smoothing must be from 0 to below 1"):
        replace(SMOKE, label_smoothing=1.0)
    with pytest.raises(ValueError, match="image_size must be at least 32"):
        replace(SMOKE, image_size=(16, 32))
    with pytest.raises(ValueError, match="pass --data-dir"):
        train(replace(SMOKE, dataset="duke", runs_dir=tmp_path))


def test_a_damaged_image_ends_the_training_with_its_name(people, tmp_path):
    config = replace(SMOKE, data_dir=tmp_path / "people", runs_dir=tmp_path / "runs")
    data = read(config)
    for path in data.train.path:
        with open(path, "r+b") as file:
            file.truncate(300)
    with pytest.raises(ValueError, match="The image .*_c.s1_.*jpg cannot be read; it is missing or damaged"):
        train(config)
