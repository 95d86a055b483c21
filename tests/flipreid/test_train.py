"""Training, resuming, evaluating and exporting a tiny network on a few synthetic people."""

from dataclasses import replace

import numpy as np
import pytest
import tyro

from common.datasets.augmentation import augment
from common.experiments.config import EvaluationArguments, ExportArguments
from flipreid import evaluate as evaluation
from flipreid.config import PRESETS, Trial
from flipreid.evaluate import FEATURES, gap
from flipreid.export import export as exported
from flipreid.model import restore
from flipreid.train import augmentation
from tests.common import tiny_trainings as tiny
from tests.helpers import assert_figures, onnx_outputs, run_python, run_snippet

SMOKE = replace(
    PRESETS["smoke"][1], name="run", image_size=tiny.SIZE, methods=("aggregator",), regional_branches=True,
    frozen_epochs=1, epochs=2, steps_per_epoch=4,
)  # fmt: skip
PAPER = PRESETS["market1501_resnet50"][1]


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    return tiny.trained(SMOKE, people, tmp_path_factory.mktemp("runs"))


def test_killed_in_the_second_stage_it_ends_with_the_same_weights(run, tmp_path):
    tiny.assert_kill_changes_nothing(run[0], tmp_path, "aggregator-seed0")


def test_more_epochs_go_on_where_the_others_ended(run, tmp_path):
    tiny.assert_more_epochs_go_on(run[0], tmp_path, "aggregator-seed0")


def test_backbone_is_frozen_in_the_first_stage(run):
    names = {"upper_reduced/kernel", "global_logits/kernel", "global_pooled/power", "global_scores/kernel"}
    tiny.assert_first_stage_was_frozen(*run, Trial("aggregator", 0), names)


def test_only_the_baseline_mirrors_in_its_augmentation():
    methods = ("baseline", "flipreid", "flipping_loss", "aggregator")
    assert [augmentation(PAPER, method).mirror for method in methods] == [0.5, 0, 0, 0]


def test_padding_is_five_percent_in_total_of_the_mean_color():
    """5 % of 384 × 128 is 19.2 × 6.4, so an image moves by 10 rows and 3 columns at most, to each side."""
    plain = augmentation(replace(PAPER, gray_patch=0.0, erasing=0.0), "flipreid")
    images = np.full((150, 384, 128, 3), 255, "uint8")
    augment(images, plain, seed=0, epoch=0)
    border = (images == (124, 117, 104)).all(axis=-1)  # of 123.68, 116.779 and 103.939
    assert ((images == 255).all(axis=-1) | border).all()
    rows, columns = border.all(axis=2), border.all(axis=1)
    for lines, most in ((rows, 10), (rows[:, ::-1], 10), (columns, 3), (columns[:, ::-1], 3)):
        assert lines[:, :most].sum(axis=1).max() == lines.sum(axis=1).max() == most


def test_patches_have_the_published_probability_and_area():
    images = np.full((2000, 96, 64, 3), 255, "uint8")
    augment(images, augmentation(replace(PAPER, padding=0.0, gray_patch=0.0), "flipreid"), seed=0, epoch=0)
    erased = (images == (124, 117, 104)).all(axis=-1).mean(axis=(1, 2))
    happens = erased > 0
    assert happens.mean() == pytest.approx(0.8, abs=0.027)  # three standard errors
    assert erased[happens].min() == pytest.approx(0.02, abs=0.003) and erased.max() == pytest.approx(0.4, abs=0.02)
    red = np.zeros((500, 96, 64, 3), "uint8") + np.array((200, 0, 0), "uint8")
    augment(red, augmentation(replace(PAPER, padding=0.0, erasing=0.0), "flipreid"), seed=0, epoch=0)
    gray = (red == 60).all(axis=-1).any(axis=(1, 2))  # 0.299 · 200
    assert gray.mean() == pytest.approx(0.8, abs=0.054)


# Of the first four steps of each stage, from seed 0: the training as a whole. A change of these is a change of results.
GOLDEN_LOSSES = {
    "tensorflow": {"frozen": 8.37790, ".": 8.89097},
    "jax": {"frozen": 8.37136, ".": 8.90958},
    "torch": {"frozen": 8.40147, ".": 9.09734},
}


def test_golden_training_log(run):
    tiny.assert_first_losses(run[0] / "aggregator-seed0", GOLDEN_LOSSES)


def test_log_has_the_map_of_single_images_and_what_the_clip_does(run):
    """The author's program looks at single images while it trains, whatever the training."""
    tiny.assert_looks_are_of_the_embeddings(run[0] / "aggregator-seed0", "single_mAP", FEATURES["single"], "upper")


def test_gap_by_hand():
    """cos 60° and cos 0°: mean distance (0.5 + 0) / 2."""
    single, double = np.array([[1.0, 0], [2, 2]]), np.array([[0.5, np.sqrt(0.75)], [1, 1]])
    assert gap(single, double) == pytest.approx(0.25)


def test_report_has_its_rows_and_figures(run):
    folder, _ = run
    lines = (folder / "report.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:5] == ["–", "4.1", "4.2", "4.3"]
    assert_figures(folder, "loss", "inference", "ranked_lists")


def test_finished_trainings_are_not_evaluated_again(run, monkeypatch):
    folder, config = run
    monkeypatch.setattr(evaluation, "restore", None)
    arguments = config, Trial("aggregator", 0), None, folder / "aggregator-seed0", EvaluationArguments()
    assert "reranked_mAP" in evaluation.evaluate_trial(*arguments)


LOAD = """
import sys, numpy as np, tensorflow as tf

assert not any(name.split(".")[0] in ("flipreid", "common") for name in sys.modules)
model = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
outputs = {name: list(model.signatures[name](tf.constant(images)).values())[0] for name in ("single", "double")}
np.savez(sys.argv[3], **outputs)
"""


@pytest.mark.tensorflow
def test_exports_give_the_same_numbers_without_this_code(run, tmp_path):
    import tensorflow as tf

    folder, config = run

    def export(*options):
        exported.main(tyro.cli(ExportArguments, args=[str(folder), *options]))

    images = np.random.default_rng(0).integers(0, 256, (3, *config.image_size, 3), dtype="uint8")
    np.save(tmp_path / "images.npy", images)
    paths = [str(tmp_path / name) for name in ("model", "images.npy", "embeddings.npz")]
    with tiny.tiny_backbones(__package__.split(".")[-1]):
        export("--trial", "aggregator-seed0", "--out", paths[0])
        model = restore(config, Trial("aggregator", 0), 8, folder / "aggregator-seed0")
        with pytest.raises(ValueError, match="model exists; choose another --out"):
            export("--out", paths[0])
        with pytest.raises(ValueError, match="no finished training flipreid-seed0; finished are .'aggregator-seed0'."):
            export("--trial", "flipreid-seed0")
        export("--format", "onnx")
    for name in ("single", "double"):
        (embeddings,) = onnx_outputs(folder / f"aggregator-seed0/onnx/{name}.onnx", image=images).values()
        np.testing.assert_allclose(embeddings, getattr(model, name)(images), atol=1e-4)
    run_python("-c", LOAD, *paths, PYTHONPATH="", cwd=tmp_path)
    outputs = np.load(tmp_path / "embeddings.npz")
    for name in ("single", "double"):
        assert outputs[name].dtype == np.float32
        np.testing.assert_allclose(outputs[name], getattr(model, name)(images), rtol=1e-5, atol=1e-6)
    assert np.abs(outputs["single"] - outputs["double"]).max() > 1e-3
    (shown,) = run_snippet("flipreid", 0, {"people_embedder": paths[0]}, tf=tf, images=images)["shown"]
    np.testing.assert_allclose(shown, outputs["double"], rtol=1e-5, atol=1e-6)
