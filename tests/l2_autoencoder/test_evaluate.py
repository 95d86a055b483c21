import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from common import report
from common.config import to_json
from common.datasets import digits
from common.metrics import clustering_accuracy
from l2_autoencoder import evaluate as evaluation
from l2_autoencoder import results
from l2_autoencoder.config import PRESETS, trials
from l2_autoencoder.evaluate import Outputs, anomaly_record, clustering_record, evaluate, outputs, restore
from l2_autoencoder.train import train
from tests.helpers import run_python

SMOKE = replace(PRESETS["smoke"][1], name="run", normalizations=("none", "l2"))


@pytest.fixture(autouse=True)
def _small_tsne(monkeypatch):
    monkeypatch.setattr(evaluation, "TSNE_SAMPLES", 100)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(replace(SMOKE, runs_dir=tmp_path_factory.mktemp("runs")))


def test_report_agrees_with_the_kept_outputs(run):
    records = evaluate(run)
    written = json.loads((run / "report.json").read_text())["trials"]
    assert written == records and [record["normalization"] for record in records] == ["none", "l2"]
    for record in records:
        with np.load(run / f"{record['normalization']}-seed0/outputs.npz") as found:
            assert record["accuracy"] == clustering_accuracy(found["labels"], found["clusters"])
            np.testing.assert_array_equal(found["labels"], digits.read_embedded().labels)
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
    error = outputs(restore(run, SMOKE, trial, (8, 8, 1)), images).errors.mean()
    logged = float((run / "l2-seed0/log.csv").read_text().split()[-1].split(",")[1])
    assert error == pytest.approx(logged, rel=0.2)


def test_clustering_of_separate_blobs_is_perfect():
    labels = np.repeat(np.arange(10), 30)
    centres = np.eye(10)[labels]
    embeddings = centres + 0.01 * np.random.default_rng(0).normal(size=centres.shape)
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


def test_anomaly_run_reports_every_score(tmp_path):
    config = replace(SMOKE, runs_dir=tmp_path, epochs=1, abnormal_digits=(0, 1))
    records = evaluate(train(config))
    assert len(records) == 4
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


def test_commands_tell_errors_in_one_sentence(tmp_path):
    for command, sentence in (
        (["evaluate", str(tmp_path)], "is not a run folder: it has no config.json. Train first"),
        (["train", "usps_conv_l2", "--data-dir", "nowhere", "--runs-dir", str(tmp_path)], "nowhere does not exist"),
        (["train", "mnist_conv_l2", "--runs-dir", str(tmp_path)], "'mnist' is read from a folder: pass --data-dir"),
    ):
        _, err = run_python("-m", f"l2_autoencoder.{command[0]}", *command[1:], status=1)
        assert sentence in err.splitlines()[-1] and "Traceback" not in err


def test_published_numbers_reach_the_readme(run, tmp_path, monkeypatch):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    monkeypatch.setattr(results, "HERE", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.json")
    record = {"normalization": "l2", "seed": 0, "accuracy": 0.9, "nmi": 0.8, "ari": 0.7, "reconstruction_error": 0.01}
    record |= {"accuracy_most_accurate_start": 0.95, "inertia_excess_of_most_accurate_start": 0.0012}
    records = [record, {**record, "seed": 1, "accuracy": 0.92}]
    results.publish(replace(PRESETS["usps_conv_l2"][1], name="usps_conv_l2", seeds=(0, 1), epochs=150), records)
    lines = readme.read_text().splitlines()
    (line,) = [line for line in lines if "`usps_conv_l2`" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["`usps_conv_l2`", "91.35", "91.00 ± 1.41", "90.0 92.0", "0.800 ± 0.000", "0.700 ± 0.000",
                     "0.0100 ± 0.0000", "150 of 200"]  # fmt: skip
    (line,) = [line for line in lines if "`mnist_conv_l2`" in line]
    assert "not run" in line
    results.publish(replace(PRESETS["usps_conv_l2"][1], name="study_batch", batch_size=64), records[:1])
    lines = readme.read_text().splitlines()
    for name, expected in (
        (
            "usps_conv_l2",
            "epochs 150 | 91.00 ± 1.41 | 90.0 92.0 | 0.800 ± 0.000 | 0.0100 ± 0.0000 | 95.0 95.0 | 0.12 0.12",
        ),
        ("study_batch", "batch_size 64 | 90.00 | 90.0 | 0.800 | 0.0100 | 95.0 | 0.12"),
    ):
        line = [line for line in lines if f"`{name}`" in line][-1]
        assert [cell.strip() for cell in line.strip("|").split("|")][1:] == expected.split(" | ")


def test_published_runs_have_the_settings_of_their_presets():
    published = report.published(results.RESULTS)
    assert {f"usps_conv_{name}" for name in ("none", "batch", "layer", "l2")} <= set(published)
    for name in set(published) & set(PRESETS):
        config, preset = published[name]["config"], to_json(PRESETS[name][1])
        # The tables tell these two.
        differing = {field for field in config if config[field] != preset[field]} - {"name", "epochs", "seeds"}
        assert config["name"] == name and not differing, f"{name} was run with another {differing}"
