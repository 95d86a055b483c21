import json
import shutil
import statistics
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from common.datasets import digits
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.config import to_json
from common.experiments.entry import Results
from common.experiments.run_folder import open_run
from common.files import write_json
from common.metrics import clustering_accuracy
from common.report import plots as common_plots
from l2_autoencoder import evaluate as evaluation
from l2_autoencoder import plots
from l2_autoencoder.clustering import keep_a_tenth
from l2_autoencoder.config import PRESETS, Trial, trials
from l2_autoencoder.data import training_images
from l2_autoencoder.evaluate import evaluate, outputs
from l2_autoencoder.model import restore
from l2_autoencoder.paper_results import BORROWED_ACCURACY, BORROWED_AUC, PAPER_ACCURACY, PAPER_AUC
from l2_autoencoder.train import train
from tests.helpers import run_python
from tests.l2_autoencoder import evaluation_oracle as oracle

SMOKE = replace(PRESETS["smoke"][1], name="run", normalizations=("none", "l2"), kmeans_restarts=1)
KNOWN = replace(SMOKE, kmeans_restarts=6, seeds=(0, 3), epochs=2, pixel_range="-1..1", dataset="mnist")
SCALED = oracle.IMAGES * 2 - 1


@pytest.fixture
def known(tmp_path, monkeypatch):
    """Function from changes of a config to a run whose networks are known functions, and those by trial."""
    networks = {}

    def known_network(config, trial, image_shape, folder):
        assert folder.name == trial.name and image_shape == (2, 2, 1)
        return networks.setdefault(trial.name, oracle.KnownNetwork(trial.normalization))

    monkeypatch.setattr(digits, "read", lambda dataset, data_dir: oracle.DATA)
    monkeypatch.setattr(evaluation, "restore", known_network)

    def made(**changes):
        config = replace(KNOWN, runs_dir=tmp_path, **changes)
        run = open_run(config, "l2_autoencoder")
        for number, trial in enumerate(trials(config)):
            (run / trial.name).mkdir()
            (run / trial.name / BEST_WEIGHTS).write_text(trial.name)
            log = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25 + number]})
            log.to_csv(run / trial.name / "log.csv", index=False)
        return config, run, networks

    return made


@pytest.fixture
def figures(monkeypatch):
    """File name -> figure, of which no file is made. t-SNE leaves the first two dimensions as they are."""
    figures = {}
    for module in (plots, common_plots):
        monkeypatch.setattr(module, "save", lambda figure, path, *_: figures.update({path.name: figure}))
    monkeypatch.setattr(evaluation.common_plots, "in_plane", lambda vectors, cosine: vectors)
    return figures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(replace(SMOKE, runs_dir=tmp_path_factory.mktemp("runs")))


def rows_of(run):
    """Cells of the first table of a run's report, by heading."""
    text, _, _ = (run / "report.md").read_text().partition("## Differences")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(header, row)) for row in rows]


def shown(values, decimals):
    return f"{statistics.mean(values):.{decimals}f} ± {statistics.stdev(values):.{decimals}f}"


def check_numbers(records, expected, fields):
    for record, numbers in zip(records, expected, strict=True):
        assert record.keys() == {"normalization", "seed", "abnormal_digit", "images", "made_from", *numbers, *fields}
        for name, value in numbers.items():
            assert record[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("split", ["all", "train"])
def test_numbers_of_clustering_are_those_of_other_programs(known, figures, split):
    """Accuracy, NMI, ARI and errors in `metrics.json`, then in the table, for a network that is a known function."""
    _, run, networks = known(split=split)
    records = evaluate(run)
    images, labels = (part[: None if split == "all" else oracle.TRAIN] for part in (SCALED, oracle.LABELS))
    planned = [("none", 0), ("l2", 0), ("none", 3), ("l2", 3)]
    expected = [oracle.clustering(images, labels, name, 6, seed) for name, seed in planned]
    assert [(record["normalization"], record["seed"]) for record in records] == planned
    check_numbers(records, expected, ())
    for record, (name, seed) in zip(records, planned):
        trial = f"{name}-seed{seed}"
        assert json.loads((run / trial / "metrics.json").read_text()) == record and record["images"] == len(images)
        np.testing.assert_array_equal(networks[trial].seen[0], images)
        with np.load(run / trial / "outputs.npz") as arrays:
            np.testing.assert_allclose(arrays["embeddings"], oracle.embed(images, name))
            np.testing.assert_array_equal(arrays["labels"], labels)
            assert oracle.accuracy(labels, arrays["clusters"]) == record["accuracy"]
    if split == "all":  # they are far enough from each other that none can stand for another
        assert len({round(value, 4) for value in expected[0].values()}) == 8 and min(expected[0].values()) > 0
    table = rows_of(run)
    for cells, name in zip(table[-2:], ("none", "l2"), strict=True):
        paper = PAPER_ACCURACY.get(("mnist", "convolutional", name))  # a new project has no numbers yet
        mine = [numbers for numbers, (other, _) in zip(expected, planned) if other == name]
        accuracies = [100 * numbers["accuracy"] for numbers in mine]
        assert cells == {
            "normalization": {"none": "no normalization", "l2": "L2"}[name],
            "accuracy, paper (%)": "–" if paper is None else f"{paper:.2f}",
            "accuracy (%)": shown(accuracies, 2),
            "each seed (%)": " ".join(f"{value:.1f}" for value in accuracies),
            "NMI": shown([numbers["nmi"] for numbers in mine], 3),
            "ARI": shown([numbers["ari"] for numbers in mine], 3),
            "MSE": shown([numbers["reconstruction_error"] for numbers in mine], 4),
        }
    borrowed = BORROWED_ACCURACY.get(("mnist", "convolutional"), {})
    assert [row["normalization"] for row in table[:-2]] == list(borrowed)


def test_figures_of_clustering_show_the_first_seed(known, figures):
    _, run, _ = known()
    evaluate(run)
    order = np.random.default_rng(0).permutation(len(SCALED))
    panels = figures["tsne.png"].axes
    names = ["no normalization", "no normalization, L2 after training", "L2"]
    assert [panel.get_title() for panel in panels] == names
    for panel, normalization in zip(panels, ("none", "l2", "l2")):
        points = np.concatenate([dots.get_offsets() for dots in panel.collections])
        of_class = np.argsort(oracle.LABELS[order], kind="stable")
        np.testing.assert_allclose(points, oracle.embed(SCALED[order][of_class], normalization), rtol=1e-6)
    for panel, name in zip(figures["confusion.png"].axes, ("none", "l2"), strict=True):
        with np.load(run / f"{name}-seed0/outputs.npz") as arrays:
            clusters = arrays["clusters"]
        counts = np.array([[int(text.get_text() or 0) for text in panel.texts]]).reshape(4, 4)
        assert np.trace(counts) / 64 == oracle.accuracy(oracle.LABELS, clusters)
        np.testing.assert_array_equal(counts.sum(axis=1), [16] * 4)  # a row for each digit
        np.testing.assert_array_equal(np.sort(counts.sum(axis=0)), np.sort(np.bincount(clusters)))
    images = [axis.images[0].get_array() for axis in figures["reconstructions.png"].axes]
    pictures = np.array(images).reshape(3, 12, 2, 2)
    np.testing.assert_allclose(pictures[0], oracle.IMAGES[:12, ..., 0])  # back in [0, 1]
    for row in pictures[1:]:
        np.testing.assert_allclose(row[:, 1, 0], 0.5)  # the third pixel becomes 0 of [-1, 1]
        np.testing.assert_allclose(row[:, 0], oracle.IMAGES[:12, 0, :, 0], atol=1e-6)
    labels = [axis.get_ylabel() for axis in figures["reconstructions.png"].axes if axis.get_ylabel()]
    assert labels == ["input", "no normalization", "L2"]
    lines = [line.get_ydata().tolist() for line in figures["loss.png"].axes[0].lines]
    of_seeds = [[0.5, 0.25 + number] for number in range(4)]  # of none and L2 with seed 0, and with seed 3
    none, l2 = (np.mean(of_seeds[place::2], axis=0).tolist() for place in (0, 1))
    assert lines == [of_seeds[0], of_seeds[2], none, of_seeds[1], of_seeds[3], l2]


def test_numbers_of_anomaly_detection_are_those_of_other_programs(known, figures):
    """Areas of each score in `metrics.json`, then in the table: pairs of test images, one normal and one not."""
    _, run, networks = known(abnormal_digits=(1, 2))
    records = evaluate(run)
    planned = [(name, digit, seed) for seed in (0, 3) for digit in (1, 2) for name in ("none", "l2")]
    assert [(r["normalization"], r["abnormal_digit"], r["seed"]) for r in records] == planned
    expected, test = [], SCALED[oracle.TRAIN :]
    for name, digit, seed in planned:
        images, test_images = networks[f"{name}-digit{digit}-seed{seed}"].seen
        rows = keep_a_tenth(oracle.LABELS[: oracle.TRAIN], digit, seed)
        np.testing.assert_array_equal(images, SCALED[rows])
        np.testing.assert_array_equal(test_images, test)
        normal = oracle.LABELS[oracle.TRAIN :] != digit
        expected.append(oracle.anomaly(images, test, normal, name, 6, seed))
    check_numbers(records, expected, ["roc"])
    for record, numbers in zip(records, expected):
        assert record["images"] == 36 + (2 if record["seed"] == 0 else 1)  # of 12 in ten parts the first two have two
        assert record["normalization"] == "l2" or len({round(value, 3) for value in numbers.values()}) == 4
        for score in ("reconstruction", "cluster", "cluster_cosine"):
            false_positives, true_positives = record["roc"][score]
            np.testing.assert_allclose(false_positives, np.arange(101) / 100)
            assert np.trapezoid(true_positives, false_positives) == pytest.approx(numbers[f"auc_{score}"], abs=0.01)
    # By their errors the abnormal images of digit 1 are found, and those of digit 2 are the most normal ones.
    assert records[0]["auc_reconstruction"] > 0.8 and records[2]["auc_reconstruction"] < 0.25
    table = rows_of(run)
    columns = {
        "CAE L2 recons": ("l2", "reconstruction", 0), "CAE recons": ("none", "reconstruction", None),
        "CAE cluster": ("none", "cluster", 1), "CAE cluster, cosine": ("none", "cluster_cosine", None),
        "CAE L2 cluster": ("l2", "cluster", 2),
    }  # fmt: skip
    for cells, digit in zip(table, (1, 2), strict=True):
        assert (cells.pop("abnormal digit"), cells.pop("partitions")) == (str(digit), "2")
        for heading, (name, score, paper) in columns.items():
            values = [e[f"auc_{score}"] for e, (n, d, _) in zip(expected, planned) if (n, d) == (name, digit)]
            assert cells.pop(heading) == shown(values, 4)
            if paper is not None and PAPER_AUC:
                assert cells.pop(f"{heading}, paper") == f"{PAPER_AUC[digit][paper]:.4f}"
        others = dict(zip(("AE recons, paper", "VAE recons, paper"), BORROWED_AUC.get(digit, ())))
        assert cells == {heading: f"{value:.3f}" for heading, value in others.items()}
    assert [panel.get_title() for panel in figures["roc.png"].axes] == ["abnormal digit 1", "abnormal digit 2"]
    lines = {line.get_label().split(" (AUC")[0]: line for line in figures["roc.png"].axes[0].lines}
    for record, name in zip(records[:2], ("no normalization", "L2")):
        for score in ("reconstruction", "cluster"):
            line = lines.pop(f"{name}, {score}: {record[f'auc_{score}']:.3f}")
            np.testing.assert_array_equal(line.get_xydata().T, record["roc"][score])
    assert len(lines) == 1  # of chance
    assert figures["loss.png"].axes[0].get_ylabel() == "mean squared error"


def test_second_evaluation_keeps_the_numbers_until_the_weights_change(known, figures, monkeypatch):
    monkeypatch.setattr(evaluation, "draw_clustering", lambda results: ({}, []))
    _, run, networks = known()
    first, path = evaluate(run), run / "l2-seed0/metrics.json"
    path.write_text(path.read_text().replace(f'"nmi": {first[1]["nmi"]}', '"nmi": 7'))
    assert evaluate(run)[1]["nmi"] == 7
    assert len(networks["none-seed3"].seen) == 1
    (run / "l2-seed0" / BEST_WEIGHTS).write_text("others")
    again = evaluate(run)
    assert again[1] != first[1] and again[1] == {**first[1], "made_from": again[1]["made_from"]}
    assert again[0] == first[0]


def test_real_networks_are_reported_with_real_figures(run, monkeypatch):
    monkeypatch.setattr(evaluation, "TSNE_SAMPLES", 40)
    monkeypatch.setattr(common_plots, "_DPI", 50)
    records = evaluate(run)
    written = json.loads((run / "report.json").read_text())["trials"]
    assert written == records and [record["normalization"] for record in records] == ["none", "l2"]
    for record in records:
        with np.load(run / f"{record['normalization']}-seed0/outputs.npz") as arrays:
            assert record["accuracy"] == clustering_accuracy(arrays["labels"], arrays["clusters"])
            np.testing.assert_array_equal(arrays["labels"], digits.read_embedded().labels)
            lengths = np.linalg.norm(arrays["embeddings"], axis=1)
        assert (np.ptp(lengths) < 1e-5) == (record["normalization"] == "l2")
    figures = {path.name: cv2.imread(str(path)) for path in (run / "figures").iterdir()}
    assert figures.keys() == {"tsne.png", "confusion.png", "reconstructions.png", "loss.png"}
    assert all(figure is not None and np.ptp(figure) == 255 for figure in figures.values())


def test_restored_network_has_the_trained_weights(run):
    """The error on the training images is near the last epoch's loss, and far from an untrained network's."""
    (trial,) = [trial for trial in trials(SMOKE) if trial.normalization == "l2"]
    images, _ = training_images(SMOKE, trial, digits.read_embedded())
    restored = restore(SMOKE, trial, (8, 8, 1), run / trial.name)
    logged = float((run / "l2-seed0/log.csv").read_text().split()[-1].split(",")[1])
    assert outputs(restored, images).errors.mean() == pytest.approx(logged, rel=0.2)
    with np.load(run / "l2-seed0/checkpoint/state.npz") as state:  # the second epoch is the best: the same weights
        trained = [state[name] for name in state.files if name.startswith("arr_")]
    for weight, value in zip(restored.training_model.get_weights(), trained):
        np.testing.assert_array_equal(weight, value)


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
    ):
        _, err = run_python("-m", *command, status=1)
        assert sentence in err.splitlines()[-1] and "Traceback" not in err


def test_normalizations_are_compared_over_images_and_seeds(tmp_path):
    """Also with the run beside this one whose preset differs in the normalization alone."""
    labels = np.array([0, 0, 1, 1])
    clusters = {"none": [[0, 1, 1, 1], [1, 0, 0, 0]], "l2": [[1, 1, 0, 0], [0, 0, 1, 0]]}
    for normalization, rows in clusters.items():
        for seed, row in enumerate(rows):
            folder = tmp_path / f"usps_conv_{normalization}" / Trial(normalization, seed, None).name
            folder.mkdir(parents=True)
            np.savez(folder / evaluation.OUTPUTS, embeddings=0, clusters=np.array(row), labels=labels)
    config = replace(PRESETS["usps_conv_l2"][1], name="usps_conv_l2", seeds=(0, 1))
    other = replace(PRESETS["usps_conv_none"][1], name="usps_conv_none", data_dir=tmp_path)
    write_json(tmp_path / "usps_conv_none/config.json", to_json(other))
    results = Results(tmp_path / "usps_conv_l2", config, None, 2, [], [], None)
    (value,) = evaluation.clustering_differences(results)
    # Three of four images are right without it in both trainings; with it four, then three.
    assert (value["first"], value["second"], value["value"]) == ("l2", "none", 0.125) and value["low"] < 0
    alone = replace(results, config=replace(config, name="other"))
    assert evaluation.clustering_differences(alone) == []
    write_json(tmp_path / "usps_conv_none/config.json", to_json(replace(other, epochs=20)))
    assert evaluation.clustering_differences(results) == []
