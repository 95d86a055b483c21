"""What each setting changes: the network that is built, its losses, and the images that reach it."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from adaptive_l2.config import Config, Trial, trials
from adaptive_l2.factors import FactorLog
from adaptive_l2.model import build, with_mirror
from common.experiments.reid.periodic_evaluation import PeriodicEvaluation
from tests.common import known_people, recorded
from tests.common.tiny_trainings import SIZE, WIDTHS, tiny_backbones

CONFIG = Config(
    name="run", backbone="of the test", weights="none", image_size=SIZE, identities_per_batch=3, images_per_identity=2,
    steps_per_epoch=5, padding=0, random_erasing=False, amplitude=0.02, constant_factor=0.003, label_smoothing=0.3,
)  # fmt: skip
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), dtype="uint8")


def built(regularization="adaptive", **changes):
    with tiny_backbones(__package__.split(".")[-1]):
        return build(replace(CONFIG, **changes), Trial(regularization, 0), 7)


def outputs(model):
    return {name: output.shape[1] for name, output in model.training_model.output.items()}


def test_backbone_and_weights_are_those_of_the_settings(tmp_path):
    recorded.assert_backbone_is_of_the_settings(CONFIG, Trial("adaptive", 0), tmp_path)


def test_initial_weights_are_a_function_of_the_seed():
    recorded.assert_initial_weights_are_of_the_seed(CONFIG, Trial("adaptive", 0))


@pytest.mark.parametrize("branches", [("global", "upper", "lower"), ("global",)])
@pytest.mark.parametrize("triplet", [True, False])
def test_branches_and_triplet_loss_are_outputs_of_the_training(branches, triplet):
    model = built(regional_branches=len(branches) > 1, triplet=triplet)
    expected = {f"{branch}_logits": 7 for branch in branches}
    assert outputs(model) == expected | ({f"{b}_embedding": WIDTHS[b] for b in branches} if triplet else {})
    assert model.inference_model.output_shape == (None, sum(WIDTHS[branch] for branch in branches))


@pytest.mark.parametrize("clipping", [True, False])
def test_clipping(clipping):
    model = built(clipping=clipping)
    for layer in model.frozen_blocks[1].layers:
        if isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(np.full(16, 300.0))
    assert (keras.ops.convert_to_numpy(model.inference_model(IMAGES)).max() == 1) == clipping


@pytest.mark.parametrize(
    ("regularization", "factor", "learned"),
    [("none", None, 0), ("constant", 0.003, 0), ("shared", 0.01, 1), ("adaptive", 0.01, 1)],
)
def test_regularization(regularization, factor, learned):
    """The factors begin at half of the amplitude, 0.02 / 2, or are the constant one."""
    model = built(regularization)
    network = built("none").training_model
    assert len(model.training_model.trainable_variables) == len(network.trainable_variables) + learned
    assert (model.regularizer is None) == (factor is None)
    if factor is not None:
        np.testing.assert_allclose(model.regularizer.factors(), np.full(25, factor), rtol=1e-6)


def test_double_images_are_the_mean_over_the_horizontal_mirror():
    model = built()
    single = model.inference_model
    expected = (np.asarray(single(IMAGES)) + np.asarray(single(IMAGES[:, :, ::-1]))) / 2
    np.testing.assert_allclose(with_mirror(single)(IMAGES), expected, rtol=1e-5)
    assert np.abs(expected - np.asarray(single(IMAGES))).max() > 1e-5


def test_trainings_are_whole_seeds():
    names = [trial.name for trial in trials(replace(CONFIG, seeds=(4, 5), regularizations=("none", "adaptive")))]
    assert names == ["none-seed4", "adaptive-seed4", "none-seed5", "adaptive-seed5"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return known_people.draw(tmp_path_factory.mktemp("colors") / "people")


def test_a_training_has_its_losses_targets_and_callbacks(people, tmp_path):
    calls = recorded.calls_of_both_stages(replace(CONFIG, regularizations=("none", "adaptive")), people, tmp_path)
    for call in calls:
        assert set(call.loss) == {f"{branch}_{kind}" for branch in WIDTHS for kind in ("logits", "embedding")}
        for name, loss in call.loss.items():
            if name.endswith("embedding"):
                assert type(loss).__name__ == "BatchHardTriplet" and loss.margin == "soft"
            else:
                # Logits 2 and six of 0, ε = 0.3: targets 0.7 + 0.3/7 and 0.3/7.
                log_sum = np.log(np.exp(2) + 6)
                expected = -(0.7 + 0.3 / 7) * (2 - log_sum) + 6 * 0.3 / 7 * log_sum
                np.testing.assert_allclose(loss(np.eye(7)[:1], 2 * np.eye(7)[:1]), expected, rtol=1e-6)
        ((_, targets),) = recorded.batches_of(call, 1)
        labels = targets["upper_embedding"]
        assert labels.shape == (6,) and targets.keys() == set(call.loss)
        np.testing.assert_array_equal(targets["lower_logits"], np.eye(5)[labels])
        *factors, evaluation = call.callbacks
        assert type(evaluation) is PeriodicEvaluation
        assert [type(callback) for callback in factors] == [FactorLog] * ("adaptive-seed0" in str(call.folder))
        single, double = (np.asarray(evaluation.embedder(images)) for images in (IMAGES, IMAGES[:, :, ::-1]))
        np.testing.assert_allclose(single, double, rtol=1e-5)
    assert calls[3].callbacks[0].layer is calls[3].model.get_layer("regularizer")
    assert len(calls[3].trained) == len(calls[1].trained) + 1


def test_seeds_have_batches_of_their_own(people, tmp_path):
    recorded.assert_seeds_have_batches_of_their_own(CONFIG, people, tmp_path)


def changed(people, folder, **changes):
    _, call = recorded.calls_of(replace(CONFIG, **changes), people, folder)
    return recorded.whole_and_mirrored(people, call)


def test_images_are_mirrored_at_random(people, tmp_path):
    (plain, mirrored), _ = changed(people, tmp_path)
    assert plain + mirrored == 120 and 43 <= mirrored <= 77  # three standard errors


def test_random_erasing(people, tmp_path):
    whole, images = changed(people, tmp_path, random_erasing=True)
    erased = (images == (125, 123, 114)).all(axis=-1).any(axis=(1, 2))
    assert sum(whole) == 120 - erased.sum() and 43 <= erased.sum() <= 77


def test_padding(people, tmp_path):
    """Of 6 pixels in total: at most three rows or columns are black, at either side."""
    _, images = changed(people, tmp_path, padding=6)
    black = (images == 0).all(axis=-1)
    for lines in (black.all(axis=2), black.all(axis=1)):
        assert lines[:, :3].any(axis=0).all() and lines[:, -3:].any(axis=0).all() and not lines[:, 3:-3].any()
