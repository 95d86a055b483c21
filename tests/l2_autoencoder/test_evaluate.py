import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest

from common.datasets import digits
from common.experiments.run_folder import open_run
from common.metrics import clustering_accuracy
from l2_autoencoder import evaluate as evaluation
from l2_autoencoder.config import PRESETS, trials
from l2_autoencoder.evaluate import Outputs, anomaly_record, clustering_record, evaluate, outputs
from l2_autoencoder.model import restore
from l2_autoencoder.train import train
from tests.helpers import run_python

SMOKE = replace(PRESETS["smoke"][1], name="run", normalizations=("none", "l2"))


@pytest.fixture(autouse=True)
def _quick_figures(monkeypatch):
    monkeypatch.setattr(evaluation, "TSNE_SAMPLES", 100)
    monkeypatch.setattr("common.report.plots._DPI", 50)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(replace(SMOKE, runs_dir=tmp_path_factory.mktemp("runs")))


def test_report_agrees_with_the_cached_outputs(run):
    records = evaluate(run)
    written = json.loads((run / "report.json").read_text())["trials"]
    assert written == records and [record["normalization"] for record in records] == ["none", "l2"]
    for record in records:
        with np.load(run / f"{record['normalization']}-seed0/outputs.npz") as arrays:
            assert record["accuracy"] == clustering_accuracy(arrays["labels"], arrays["clusters"])
            np.testing.assert_array_equal(arrays["labels"], digits.read_embedded().labels)
        assert record["accuracy_median_start"] <= record["accuracy_most_accurate_start"]
        assert f"{100 * record['accuracy']:.2f}" in (run / "report.md").read_text()
    figures = {path.name for path in (run / "figures").iterdir()}
    assert figures == {"tsne.png", "confusion.png", "reconstructions.png", "loss.png"}


def test_second_evaluation_keeps_the_numbers_until_the_weights_change(run, monkeypatch):
    monkeypatch.setattr(evaluation, "draw_clustering", lambda *_: {})
    first = evaluate(run)
    path = run / "l2-seed0/metrics.json"
    path.write_text(path.read_text().replace(f'"nmi": {first[1]["nmi"]}', '"nmi": 7'))
    assert evaluate(run)[1]["nmi"] == 7
    path.write_text(path.read_text().replace(first[1]["made_from"], "0"))
    assert evaluate(run) == first


def test_restored_network_has_the_trained_weights(run):
    """The error on the training images is near the last epoch's loss, and far from an untrained network's."""
    (trial,) = [trial for trial in trials(SMOKE) if trial.normalization == "l2"]
    images = digits.read_embedded().images
    error = outputs(restore(SMOKE, trial, (8, 8, 1), run / trial.name), images).errors.mean()
    logged = float((run / "l2-seed0/log.csv").read_text().split()[-1].split(",")[1])
    assert error == pytest.approx(logged, rel=0.2)


def test_clustering_of_separate_blobs_is_perfect():
    labels = np.repeat(np.arange(10), 30)
    centers = np.eye(10)[labels]
    embeddings = centers + 0.01 * np.random.default_rng(0).normal(size=centers.shape)
    record, clusters = clustering_record(Outputs(embeddings, np.full(300, 0.25)), labels, restarts=20, seed=0)
    assert record["accuracy"] == record["nmi"] == record["ari"] == 1.0
    assert record["reconstruction_error"] == 0.25 and record["inertia_excess_of_most_accurate_start"] == 0
    assert clustering_accuracy(labels, clusters) == 1.0


def test_anomaly_scores_by_hand():
    # Two clusters along the axes. Tested: on an axis (normal), on the diagonal (abnormal).
    trained = Outputs(np.repeat(np.eye(2), 20, axis=0), np.zeros(40))
    diagonal = np.full((5, 2), 0.5**0.5)
    tested = Outputs(np.concatenate([np.eye(2), diagonal]), np.array([0.3, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2]))
    normal = np.array([True, True, False, False, False, False, False])
    record = anomaly_record(trained, tested, normal, num_clusters=2, restarts=3, seed=0)
    assert record["auc_cluster"] == record["auc_cluster_cosine"] == 1.0
    assert record["auc_reconstruction"] == 0.5  # one normal image has the largest error, one the smallest


def test_anomaly_run_reports_every_score(run, tmp_path, monkeypatch):
    """Its networks are those of the clustering run, so that training finds them finished."""
    config = replace(SMOKE, runs_dir=tmp_path, abnormal_digits=(1,))
    folder = open_run(config, "l2_autoencoder")
    numbers = shutil.ignore_patterns(evaluation.METRICS, evaluation.OUTPUTS)
    for trial in trials(config):
        shutil.copytree(run / f"{trial.normalization}-seed0", folder / trial.name, ignore=numbers)
    monkeypatch.setattr(keras.Model, "fit", None)
    records = evaluate(train(config))
    assert [(record["normalization"], record["abnormal_digit"]) for record in records] == [("none", 1), ("l2", 1)]
    for record in records:
        assert 0 <= record["auc_cluster"] <= 1 and 0 <= record["auc_reconstruction"] <= 1
        # Under the constraint embeddings have unit length, so that both forms of Eq. 5.6 are one.
        assert (record["auc_cluster"] == pytest.approx(record["auc_cluster_cosine"])) or record[
            "normalization"
        ] == "none"
    assert (tmp_path / "l2_autoencoder/run/figures/roc.png").exists()


def test_folder_that_is_no_run_and_run_that_is_not_finished(run, tmp_path):
    with pytest.raises(ValueError, match="is not a run folder"):
        evaluate(tmp_path)
    shutil.copy(run / "config.json", tmp_path)
    with pytest.raises(ValueError, match="No training in .* is finished"):
        evaluate(tmp_path)


def test_commands_report_errors_in_one_sentence(tmp_path):
    for command, sentence in (
        (["l2_autoencoder.evaluate", str(tmp_path)], "is not a run folder: it has no config.json. Train first"),
        (
            ["l2_autoencoder", "usps_conv_l2", "--data-dir", "nowhere", "--runs-dir", str(tmp_path)],
            "nowhere does not exist",
        ),
        (
            ["l2_autoencoder", "mnist_conv_l2", "--runs-dir", str(tmp_path)],
            "'mnist' is read from a folder: pass --data-dir",
        ),
    ):
        _, err = run_python("-m", *command, status=1)
        assert sentence in err.splitlines()[-1] and "Traceback" not in err
