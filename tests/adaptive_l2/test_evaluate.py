"""Every number of an evaluation, from image files and weights on disk, against NumPy, SciPy and textbooks."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from adaptive_l2 import evaluate as evaluation
from adaptive_l2.config import Config, Trial
from tests.common import known_people

PROJECT = __package__.split(".")[-1]
CONFIG = Config(
    name="run", dataset="market1501", backbone="known", weights="none", image_size=known_people.SIZE,
    regularizations=("constant", "adaptive"), constant_factor=0.003, amplitude=0.04, epochs=2, steps_per_epoch=7,
    frozen_epochs=3,
)  # fmt: skip
MEDIANS = {"conv_kernel": [0.02, 0.01], "conv_bias": [0.02, 0.015]}


def known_features(model):
    """The function of one image that a network is: the mean of its features and of those of its mirror."""
    layers = known_people.layers_of(model, model.inference_model)

    def pool(branch, maps):
        return maps.mean(axis=(0, 1))

    def features(image):
        both = [known_people.embedding(view, layers.get, pool) for view in (image, image[:, ::-1])]
        return np.mean(both, axis=0)

    return features


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run of known weights, what its evaluation returned and drew, and what both rankings should score."""
    folder, figures, expected = tmp_path_factory.mktemp("evaluated"), {}, {}
    with known_people.known_networks(PROJECT), pytest.MonkeyPatch.context() as patch:
        run, networks = known_people.write_trainings(CONFIG, PROJECT, folder)
        for trial, model in networks:
            columns = {f"factor_{category}": medians for category, medians in MEDIANS.items()}
            factors = [f"factor_{name}" for name in ("bn_beta", "bn_gamma", "dense_kernel")]
            looks = {"test_mAP": [np.nan, 0.25], "penalty": [0.5, 0.25]}
            columns |= {"epoch": [1, 2], "loss": [2.0, 1.0], **looks, **dict.fromkeys(factors, 0.02)}
            pd.DataFrame(columns).to_csv(run / trial.name / "log.csv", index=False)
            query, gallery = (
                known_people.embedded(folder / "people", split, known_features(model))
                for split in ("query", "bounding_box_test")
            )
            again = known_people.scores(query, gallery, known_people.reranked(query, gallery))
            expected[trial.regularization] = SimpleNamespace(
                query=query, gallery=gallery, plain=known_people.scores(query, gallery), reranked=again
            )
            expected["theta"] = getattr(model.regularizer, "theta", None)
        for name in ("curves", "bars", "training_curves", "ranked_lists"):
            save = lambda *values, name=name, **options: figures.setdefault(name, []).append((values, options))  # noqa: E731
            patch.setattr(evaluation.plots, name, save)
        plain = evaluation.evaluate(run)
        records = evaluation.evaluate(run, rerank=True)  # adds to the cached numbers
        for record, other in zip(records, plain):
            assert other == {name: value for name, value in record.items() if not name.startswith("reranked_")}
    return SimpleNamespace(run=run, records=records, figures=figures, expected=expected)


def test_scores_are_those_of_the_known_network(evaluated):
    for record, trial in zip(evaluated.records, (Trial("constant", 0), Trial("adaptive", 0))):
        expected = evaluated.expected[trial.regularization]
        saved = json.loads((evaluated.run / trial.name / evaluation.METRICS).read_text())
        assert saved == record and (record["regularization"], record["seed"]) == (trial.regularization, 0)
        known_people.assert_record(record, expected.plain)
        # The training, scores, its progress, counts and factors, `made_from`, re-ranked scores.
        assert len(record) == 2 + 8 + 2 + 3 + 1 + 7
        assert record["curve"] == {"2": 0.25} and record["converged"] is False
        known_people.assert_record(record, expected.reranked, "reranked_")
        # Twelve queries, the last of which has no match by another camera.
        assert (record["valid_queries"], record["skipped_queries"]) == (11, 1)


def test_another_data_set_has_numbers_of_its_own(evaluated, tmp_path):
    """The same images as DukeMTMC-reID names them, without junk and with two people to train on, not five."""
    market = json.loads((evaluated.run / "config.json").read_text())["data_dir"]
    for path in Path(market).rglob("*.jpg"):
        identity, camera, number, _ = path.name.split("_")
        if identity != "-1" and (path.parent.name != "bounding_box_train" or int(identity) < 6):
            duke = tmp_path / "duke" / path.parent.name / f"{identity}_{camera[:2]}_f{int(number):07d}.jpg"
            duke.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, duke)
    before = {path: path.read_bytes() for path in evaluated.run.rglob("*.json")}
    run = shutil.copytree(evaluated.run, tmp_path / "moved")
    with known_people.known_networks(PROJECT):
        records = evaluation.evaluate(run, dataset="duke", data_dir=tmp_path / "duke")
    for record, other in zip(records, evaluated.records):
        assert record["mAP"] == pytest.approx(other["mAP"]) and record["rank1"] == other["rank1"]
    assert (run / "on-duke/report.md").is_file()
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(ValueError, match="Numbers on duke are of no row of the publication; leave out --publish"):
        evaluation.evaluate(run, dataset="duke", data_dir=tmp_path / "duke", publish=True)


def test_features_are_clipped_means_over_image_and_mirror(evaluated):
    for regularization in CONFIG.regularizations:
        expected = evaluated.expected[regularization]
        query, gallery = evaluation.load_embeddings(evaluated.run / f"{regularization}-seed0" / evaluation.FEATURES)
        for part, other in ((query, expected.query), (gallery, expected.gallery)):
            np.testing.assert_allclose(part.features, other.features, rtol=0, atol=1e-5)
            np.testing.assert_array_equal(part.identities, other.identities)
            np.testing.assert_array_equal(part.cameras, other.cameras)
        assert (gallery.features == 0).any() and (gallery.features == 1).any()


def test_factors_by_hand(evaluated):
    """A = 0.04: λ = 0.04 · (0.5 + θ / 5), and the constant factor is the setting's."""
    constant, adaptive = (record["factors"] for record in evaluated.records)
    counts = {"bn_beta": 3, "bn_gamma": 3, "conv_bias": 5, "conv_kernel": 5, "dense_kernel": 3}
    assert {name: len(values) for name, values in adaptive.items()} == counts
    assert all(value == pytest.approx(0.003) for values in constant.values() for value in values)
    theta = np.asarray(evaluated.expected["theta"], "float64")
    expected = 0.04 * np.clip(0.5 + theta / 5, 0, 1)
    np.testing.assert_allclose(np.concatenate(list(adaptive.values())), expected, rtol=1e-5)


def test_tables_of_the_report(evaluated):
    text = (evaluated.run / "report.md").read_text()
    assert text.startswith("# run: known on market1501, 3 + 2 epochs\n\n## Paper and this run (2 of 2 trainings)\n")
    names = {"constant": "constant L2", "adaptive": "adaptive L2"}
    (control,) = known_people.cells(text, {"untrained: ImageNet's features, pooled"})
    assert control[3] == known_people.percent(json.loads((evaluated.run / "untrained.json").read_text())["mAP"])
    (compared,) = known_people.cells(text, {"adaptive L2 against constant L2"})
    gain = evaluated.records[1]["mAP"] - evaluated.records[0]["mAP"]
    assert compared[1].startswith(f"{100 * gain:+.1f} (") and compared[2:] == ["1", "undecided: one training"]
    rows = known_people.cells(text, {*names.values(), *(f"{name}, re-ranked" for name in names.values())})
    for regularization, record in zip(CONFIG.regularizations, evaluated.records):
        for prefix, suffix in (("", ""), ("reranked_", ", re-ranked")):
            low, high = (known_people.percent(value) for value in record[f"{prefix}mAP_interval"])
            values = vars(evaluated.expected[regularization])["reranked" if prefix else "plain"].record.values()
            cells = [known_people.percent(value) for value in values]
            name = names[regularization] + suffix
            assert rows.pop(0) == [name, "–", "–", *cells, f"{low} to {high}"]
    last = evaluated.expected["adaptive"]
    assert "## mAP (%) per camera pair, double images, adaptive-seed0\n" in text
    assert known_people.cells(text, {"1", "2", "3"}) == known_people.camera_rows(last.query, last.gallery)


def test_figures_have_the_numbers_of_the_adaptive_training(evaluated):
    (path, medians, x_label, y_label, scale), options = evaluated.figures["curves"][0]
    assert path == evaluated.run / "figures/factors.png" and options == {"step": 7}
    assert (x_label, y_label, scale) == ("iteration", "median factor", "linear")
    assert {name: list(medians[name]) for name in MEDIANS} == MEDIANS and len(medians) == 5
    (path, counts, bins, *_), _ = evaluated.figures["bars"][0]
    # Five bins over [0, A/2]; what lies above is counted in the last one.
    assert bins == ["0 to 0.004", "0.004 to 0.008", "0.008 to 0.012", "0.012 to 0.016", "0.016 to 0.02"]
    factors = evaluated.records[1]["factors"]
    for name, values in factors.items():
        assert list(counts[name]) == [sum(min(4, int(value / 0.004)) == i for value in values) for i in range(5)]
    (run, trained, columns), _ = evaluated.figures["training_curves"][0]
    assert run == evaluated.run and [trial.name for trial in trained] == ["constant-seed0", "adaptive-seed0"]
    assert list(columns) == ["loss", "test_mAP", "penalty"]


def test_ranked_lists_have_the_nearest_images_of_the_last_training(evaluated):
    (path, columns), _ = evaluated.figures["ranked_lists"][0]
    assert path == evaluated.run / "figures/ranked_lists.png"
    last = evaluated.expected["adaptive"]
    known_people.assert_lists(columns, last.query, last.gallery)
