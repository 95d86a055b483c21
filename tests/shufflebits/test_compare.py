"""Runs of several victim models and local sets side by side: every number, bar and tile."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from common.experiments.config import to_json
from common.report import plots
from shufflebits import compare as program
from shufflebits import tables
from shufflebits.attacks.encryption_settings import ANOTHER, ONE_KEY, PLAIN
from shufflebits.attacks.reconstructions import image_file
from shufflebits.compare import compare
from shufflebits.config import PRESETS, RECONSTRUCTIONS, CompareArguments
from tests.helpers import assert_figures

RUNS = [(dataset, model) for dataset in ("market1501", "duke") for model in ("bot", "agw", "sbs")]
NAMES = {"bot": "BoT", "agw": "AGW", "sbs": "SBS"}
CHANCE = {"market1501": {"age": 0.25, "hat": 0.5}, "duke": {"boots": 0.5}}
IMAGES = [f"query/{number}.jpg" for number in range(3)]


def number_of(dataset, model, attack):
    """A distance that tells its cell, from 0.01 to 0.18."""
    return (1 + 3 * RUNS.index((dataset, model)) + RECONSTRUCTIONS.index(attack)) / 100


def shade(dataset, model, attack):
    return round(1000 * number_of(dataset, model, attack))


def records(dataset, model):
    plain = {name: chance + 0.1 + 0.01 * RUNS.index((dataset, model)) for name, chance in CHANCE[dataset].items()}
    accuracies = {PLAIN: plain, ONE_KEY: CHANCE[dataset]}
    classifier = {"attack": "attributes", "seed": 0, "chance": CHANCE[dataset], "balanced_accuracy": accuracies}
    return [classifier] + [
        {
            "attack": attack,
            "seed": 0,
            "cosine_distance": {PLAIN: number_of(dataset, model, attack), ANOTHER: 0.9, ONE_KEY: 0.8},
        }
        for attack in RECONSTRUCTIONS
    ]


def write_run(folder, dataset, model):
    """What is left of a run: its config, its numbers, and a reconstruction of one shade of gray per attack."""
    folder.mkdir(parents=True)
    config = replace(PRESETS[f"{dataset}_{model}"][1], name=folder.name)
    (folder / "config.json").write_text(json.dumps(to_json(config)))
    (folder / "report.json").write_text(json.dumps({"trials": records(dataset, model)}))
    for attack in RECONSTRUCTIONS:
        for image in IMAGES:
            file = Path(image_file(folder / f"{attack}-seed0", PLAIN, image))
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), np.full((8, 4, 3), shade(dataset, model, attack), "uint8"))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Six runs, and the users' images that all of them have reconstructed."""
    for number, image in enumerate(IMAGES):
        (tmp_path / "query").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / image), np.full((12, 6, 3), 10 + number, "uint8"))
    users = pd.DataFrame({"path": [str(tmp_path / image) for image in IMAGES]})
    monkeypatch.setattr(program, "read", lambda config: SimpleNamespace(users=users))
    published = {d: {a: {m: number_of(d, m, a) / 2 for m in NAMES} for a in RECONSTRUCTIONS} for d in CHANCE}
    monkeypatch.setattr(tables, "PAPER", published)
    return [write_run(tmp_path / f"runs/shufflebits/{dataset}_{model}", dataset, model) for dataset, model in RUNS]


def recorded_figures(monkeypatch):
    figures = {}
    for name in ("bars", "image_rows"):
        monkeypatch.setattr(plots, name, lambda path, content, *_: figures.update({path.stem: content}))
    return figures


def test_every_cell_bar_and_tile(runs, tmp_path, monkeypatch, capsys):
    figures = recorded_figures(monkeypatch)
    values = compare(runs[::-1], tmp_path / "new/out")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    table = {tuple(row[:2]): row[2:] for row in rows if len(row) == 8 and row[0] in CHANCE}
    losses = ("pixel", "feature reconstruction", "feature reconstruction + adversarial")
    for dataset in CHANCE:
        for attack, loss in zip(RECONSTRUCTIONS, losses):
            ours = [f"{number_of(dataset, model, attack):.4f}" for model in NAMES]
            assert table[dataset, loss][1::2] == ours, (dataset, loss)
    assert table["duke", losses[2]] == ["0.06000", "0.1200", "0.07500", "0.1500", "0.09000", "0.1800"]
    assert figures["attributes_market1501"] == {"chance": [25, 50], "BoT": [35, 60], "AGW": [36, 61], "SBS": [37, 62]}
    assert figures["attributes_duke"] == {"chance": [50], "BoT": [63], "AGW": [64], "SBS": [65]}
    assert values["balanced_accuracy"]["duke"]["SBS"] == {"boots": pytest.approx(65)}
    for dataset in CHANCE:
        grid = figures[f"reconstructions_{dataset}"]
        original, *tiles = grid.items()
        assert original[0] == "original" and len(tiles) == 9
        assert (255 * original[1][:, 0, 0, 0]).round().tolist() == [10, 10, 10, 10, 11, 11, 11, 12]
        for (name, images), (attack, model) in zip(tiles, [(a, m) for a in RECONSTRUCTIONS for m in NAMES]):
            distance = f"{number_of(dataset, model, attack):.4f}"
            loss = losses[RECONSTRUCTIONS.index(attack)].replace(" + ", "\n+ ")
            assert name == f"{loss}, {NAMES[model]}\n{distance}"
            assert images.shape == (8, 12, 6, 3)
            np.testing.assert_allclose(255 * images, shade(dataset, model, attack))
    report = json.loads((tmp_path / "new/out/report.json").read_text())
    assert (
        len(report["trials"]) == 6 * 4 and {"dataset": "duke", "victim": "sbs"}.items() <= report["trials"][-1].items()
    )
    assert "| ShuffleBits, one key" in (tmp_path / "new/out/report.md").read_text()


def test_without_arguments_all_evaluated_runs_are_compared(runs, tmp_path, monkeypatch, capsys):
    (runs[0] / "report.json").unlink()
    report = tmp_path / "runs/shufflebits/comparison/report.json"
    with monkeypatch.context() as patches:
        recorded_figures(patches)
        program.main(CompareArguments(runs_dir=tmp_path / "runs"))
    assert len(json.loads(report.read_text())["trials"]) == 4 * 5
    program.main(CompareArguments((runs[1],), runs_dir=tmp_path / "runs"))
    assert len(json.loads(report.read_text())["trials"]) == 4
    assert_figures(tmp_path / "runs/shufflebits/comparison", "attributes_market1501", "reconstructions_market1501")
    assert "not run" in capsys.readouterr().out


def test_runs_that_cannot_be_compared(runs, tmp_path, monkeypatch):
    recorded_figures(monkeypatch)
    with pytest.raises(ValueError, match="There is no evaluated run to compare; train a preset first"):
        compare([], tmp_path / "new/out")
    other = write_run(tmp_path / "again", "duke", "bot")
    with pytest.raises(ValueError, match="duke_bot and .*again both attack the model 'bot' on duke; pass one of them"):
        compare([*runs, other], tmp_path / "new/out")
    (other / "report.json").unlink()
    with pytest.raises(ValueError, match=r"again is not evaluated; do that first: make eval-\w+ RUN=.*again"):
        compare([other], tmp_path / "new/out")
    absent = image_file(runs[1] / "feature-seed0", PLAIN, IMAGES[1])
    Path(absent).unlink()
    with pytest.raises(
        ValueError, match="market1501_agw has no .*1.png; runs on one local set must have the same users"
    ):
        compare(runs, tmp_path / "new/out")
    report = {"trials": [{**records("duke", "agw")[0], "chance": {"boots": 0.25}}]}
    (runs[4] / "report.json").write_text(json.dumps(report))
    with pytest.raises(
        ValueError, match="Runs on duke must have the same attributes and classes to be compared, got .*50"
    ):
        compare(runs[3:], tmp_path / "new/out")
    assert not (tmp_path / "new/out").exists()
