"""Every number of an evaluation, from image files and weights on disk, against NumPy, SciPy and textbooks."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from common.experiments.reid import report
from common.retrieval import load_embeddings
from flipreid import evaluate as evaluation
from flipreid.config import Config
from tests.common import known_people

PROJECT = __package__.split(".")[-1]
METHODS = ("flipreid", "flipping_loss", "aggregator")
CONFIG = Config(
    name="run", dataset="market1501", backbone="known", weights="none", image_size=known_people.SIZE, methods=METHODS,
    epochs=1, frozen_epochs=0, choose_epoch="best_test",
)  # fmt: skip
ROWS = {"flipreid": ["2.1", "2.2"], "flipping_loss": ["3.1", "3.2", "3.3"], "aggregator": ["4.1", "4.2", "4.3"]}


def known_features(model, method):
    """The function of one image that a network is: its single and its double features."""
    extractor = model.single.get_layer("extractor")
    layers = known_people.layers_of(model, extractor)

    def pool(branch, maps):
        power = float(extractor.get_layer(f"{branch}_pooled").trained_power)
        return np.mean(np.maximum(maps, 1e-6) ** power, axis=(0, 1)) ** (1 / power)

    def scored(branch, embedding):
        for name, bend in ((f"{branch}_scores_hidden", True), (f"{branch}_scores", False)):
            kernel, bias = model.double.get_layer(name).get_weights()
            embedding = embedding @ kernel + bias
            embedding = np.maximum(embedding, 0) if bend else embedding
        return embedding

    def single(image):
        return known_people.embedding(image, layers.get, pool)

    def double(image):
        pair = single(image), single(image[:, ::-1])
        if method != "aggregator":
            return np.mean(pair, axis=0)
        joined = []
        for branch, part in {"global": slice(16), "upper": slice(16, 24), "lower": slice(24, 32)}.items():
            first, second = (each[part] for each in pair)
            weight = expit(scored(branch, first) - scored(branch, second))
            joined.append(weight * first + (1 - weight) * second)
        return np.concatenate(joined)

    return {"single": single, "double": double}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A run of known weights, what its evaluation returned and drew, and what its rankings should score."""
    folder, figures, expected = tmp_path_factory.mktemp("evaluated"), {}, {}
    with known_people.known_networks(PROJECT), pytest.MonkeyPatch.context() as patch:
        run, networks = known_people.write_trainings(CONFIG, PROJECT, folder)
        for trial, model in networks:
            pd.DataFrame({"epoch": [1], "loss": [1.0]}).to_csv(run / trial.name / "log.csv", index=False)
            images = {}
            for inference, function in known_features(model, trial.method).items():
                images[inference] = [
                    known_people.embedded(folder / "people", split, function)
                    for split in ("query", "bounding_box_test")
                ]
            double = images["double"]
            expected[trial.method] = SimpleNamespace(
                images=images,
                single=known_people.scores(*images["single"]),
                double=known_people.scores(*double),
                reranked=known_people.scores(*double, known_people.reranked(*double)),
            )
        for module, name in (
            (evaluation.plots, "bars"),
            (evaluation.plots, "training_curves"),
            (report.plots, "ranked_lists"),
        ):
            patch.setattr(module, name, lambda *values, name=name, **options: figures.update({name: values}))
        records = evaluation.evaluate(run)
    return SimpleNamespace(run=run, records=records, figures=figures, expected=expected)


def inferences(method):
    """Only trainings with the flipping loss are re-ranked."""
    return ("single", "double", *(["reranked"] if method != "flipreid" else []))


def test_scores_are_those_of_the_known_network(evaluated):
    for method, record in zip(METHODS, evaluated.records, strict=True):
        saved = json.loads((evaluated.run / f"{method}-seed0" / evaluation.METRICS).read_text())
        assert saved == record and (record["method"], record["seed"]) == (method, 0)
        for inference in inferences(method):
            known_people.assert_record(record, getattr(evaluated.expected[method], inference), f"{inference}_")
        assert ("reranked_mAP" in record) == (method != "flipreid")


def test_features_and_gap_are_those_of_the_known_network(evaluated):
    assert evaluation.FEATURES == {"single": "features_single.npz", "double": "features_double.npz"}
    for method, record in zip(METHODS, evaluated.records):
        images = evaluated.expected[method].images
        for inference, file in evaluation.FEATURES.items():
            parts = load_embeddings(evaluated.run / f"{method}-seed0" / file)
            for part, other in zip(parts, images[inference]):
                np.testing.assert_allclose(part.features, other.features, rtol=0, atol=1e-5)
                np.testing.assert_array_equal(part.identities, other.identities)
                np.testing.assert_array_equal(part.cameras, other.cameras)
            assert (part.features <= 1e-5).any() and (part.features == 1).any()
        pairs = zip(images["single"][1].features, images["double"][1].features)
        gap = np.mean([known_people.cdist(a[None], b[None], "cosine") for a, b in pairs])
        assert record["gap"] == pytest.approx(gap, abs=1e-6) and gap > 0.002


def test_tables_of_the_report(evaluated):
    text = (evaluated.run / "report.md").read_text()
    assert text.startswith(
        "# run: known on market1501, 0 + 1 epochs, the one with the best test mAP\n\n"
        "## Paper and this run (3 of 3 trainings)\n"
    )
    (compared,) = known_people.cells(text, {"row 3.2 against row 2.2"})
    gain = evaluated.records[1]["double_mAP"] - evaluated.records[0]["double_mAP"]
    assert compared[1].startswith(f"{100 * gain:+.1f} (") and compared[2:] == ["1", "undecided: one training"]
    rows = known_people.cells(text, {row for names in ROWS.values() for row in names})
    names = {"single": "single", "double": "double", "reranked": "double, re-ranked"}
    titles = dict(
        zip(METHODS, ("FlipReID without flipping loss", "FlipReID with flipping loss", "FlipReID, learned aggregate"))
    )
    for method, record in zip(METHODS, evaluated.records):
        for inference, row in zip(inferences(method), ROWS[method], strict=True):
            scores = getattr(evaluated.expected[method], inference).record.values()
            low, high = (known_people.percent(value) for value in record[f"{inference}_mAP_interval"])
            gap = f"{1000 * record['gap']:.1f}" if inference == "single" else "–"
            expected = [row, titles[method], names[inference], "–", "–", *map(known_people.percent, scores)]
            assert rows.pop(0) == [*expected, f"{low} to {high}", gap]
    last = evaluated.expected["aggregator"].images["double"]
    assert "## mAP (%) per camera pair, double images, aggregator-seed0\n" in text
    assert known_people.cells(text, {"1", "2", "3"}) == known_people.camera_rows(*last)


def test_figure_has_the_map_of_each_training_with_each_inference(evaluated):
    path, heights, names, *labels = evaluated.figures["bars"]
    assert path == evaluated.run / "figures/inference.png" and labels == ["training", "mAP (%)"]
    assert names == ["FlipReID without\nflipping loss", "FlipReID with\nflipping loss", "FlipReID,\nlearned\naggregate"]
    for label, inference in (("single image", "single"), ("double images", "double")):
        scores = [getattr(evaluated.expected[method], inference).record["mAP"] for method in METHODS]
        assert heights[label] == pytest.approx([round(100 * score, 1) for score in scores])
    run, trained, _ = evaluated.figures["training_curves"]
    assert run == evaluated.run and [trial.name for trial in trained] == [f"{method}-seed0" for method in METHODS]


def test_ranked_lists_are_those_of_double_images_of_the_last_training(evaluated):
    path, columns = evaluated.figures["ranked_lists"]
    assert path == evaluated.run / "figures/ranked_lists.png"
    known_people.assert_lists(columns, *evaluated.expected["aggregator"].images["double"])
