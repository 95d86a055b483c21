"""Training, resuming and evaluating a tiny network on a few synthetic people."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from adaptive_l2 import evaluate as evaluation
from adaptive_l2.config import PRESETS, ROWS, Arguments, Trial
from adaptive_l2.train import augmentation, train
from common.datasets.augmentation import augment
from common.retrieval import load_embeddings, score
from tests.common import known_people
from tests.common import tiny_trainings as tiny
from tests.helpers import assert_figures

SMOKE = replace(
    PRESETS["smoke"][1],
    name="run",
    image_size=tiny.SIZE,
    regularizations=("adaptive",),
    regional_branches=True,
    epochs=2,
)


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    return tiny.trained(SMOKE, people, tmp_path_factory.mktemp("runs"), rerank=True)


def test_killed_in_the_second_stage_it_ends_with_the_same_weights(run, tmp_path):
    tiny.assert_kill_changes_nothing(run[0], tmp_path, "adaptive-seed0")


def test_more_epochs_go_on_where_the_others_ended(run, tmp_path):
    tiny.assert_more_epochs_go_on(run[0], tmp_path, "adaptive-seed0")


def test_backbone_is_frozen_in_the_first_stage(run):
    names = {"upper_reduced/kernel", "global_logits/kernel"}
    tiny.assert_first_stage_was_frozen(*run, Trial("adaptive", 0), names)


# Of the four steps of each stage, from seed 0: the training as a whole. A change of these is a change of results.
GOLDEN_LOSSES = {
    "tensorflow": {"frozen": 8.48257, ".": 9.12911},
    "jax": {"frozen": 8.47737, ".": 9.12098},
    "torch": {"frozen": 8.51123, ".": 9.33049},
}


def test_golden_training_log(run):
    tiny.assert_first_losses(run[0] / "adaptive-seed0", GOLDEN_LOSSES)


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
    tiny.assert_looks_are_of_the_embeddings(run[0] / "adaptive-seed0", "mAP", evaluation.FEATURES, "lower")


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
    """At a CPU's scale the heads train for five passes over the data."""
    for name, (_, config) in PRESETS.items():
        small = name.startswith(("mobilenet", "lite0"))
        assert config.frozen_epochs == (5 if small else 2 * config.warmup_epochs) or name == "smoke"


def test_report_has_its_table_and_figures(run):
    folder, _ = run
    text = (folder / "report.md").read_text()
    assert "adaptive L2, re-ranked" in text
    assert_figures(folder, "loss", "ranked_lists", "factors", "factor_histogram")


def test_the_page_of_a_run_in_a_browser(run, browser):
    """The lowest average precision first, five lists at a time, and every curve of both stages."""
    folder, _ = run
    pictures = browser.open_report(folder)
    query, gallery = load_embeddings(folder / "adaptive-seed0" / evaluation.FEATURES)
    scores = score(query, gallery)
    order = scores.valid_queries[np.argsort(scores.average_precision, kind="stable")]
    spread = scores.valid_queries[np.linspace(0, len(order) - 1, 30).astype(int)]
    lists = browser.value("document.querySelectorAll('article').length")
    assert lists == len({*order[:30], *spread}) and len(order) > 30
    assert pictures == lists * 11 + browser.value("document.querySelectorAll('.figure').length")
    numbers = [int(title.split()[1].strip(",")) for title in browser.shown_lists()]
    assert numbers == order[:5].tolist()
    assert f"AP {100 * scores.average_precision.min():.1f} %" in browser.shown_lists()[0]
    browser.click(".lists .next")
    numbers = [int(title.split()[1].strip(",")) for title in browser.shown_lists()]
    assert numbers == order[5:10].tolist()
    charts = browser.value("[...document.querySelectorAll('.chart h3')].map(h => h.textContent)")
    assert charts == ["loss", "test mAP (%)", "loss, frozen", "test mAP (%), frozen"]
    assert browser.value("[...document.querySelectorAll('h2')].at(-1).textContent") == "Settings"


def test_finished_trainings_are_not_evaluated_again(run, monkeypatch):
    folder, config = run
    monkeypatch.setattr(evaluation, "restore", None)
    arguments = config, Trial("adaptive", 0), None, folder / "adaptive-seed0", Arguments(rerank=True)
    assert "reranked_mAP" in evaluation.evaluate_trial(*arguments)


def test_published_rows_differ_by_one_part_each():
    rows = ["minimal", "triplet", "regional", "erasing", "clipping", "baseline", "adaptive"]
    names = ("triplet", "regional_branches", "random_erasing", "clipping", "regularizations")
    differences = [
        [name for name in names if getattr(ROWS[a][1], name) != getattr(ROWS[b][1], name)]
        for a, b in zip(rows, rows[1:])
    ]
    assert differences == [[name] for name in (*names, "regularizations")]


def test_a_damaged_image_ends_the_training_with_its_name(tmp_path):
    people = known_people.draw(tmp_path / "people")
    config = replace(SMOKE, dataset="market1501", data_dir=people, runs_dir=tmp_path / "runs")
    for path in (people / "bounding_box_train").iterdir():
        path.write_bytes(b"no image")
    with (
        known_people.few_people(),
        tiny.tiny_backbones(__package__.split(".")[-1]),
        pytest.raises(ValueError, match="The image .*_c.s1_.*jpg cannot be read; it is missing or damaged"),
    ):
        train(config)
