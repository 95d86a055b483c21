"""What each setting changes: the network that is built, its losses, and the images that reach it."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from common.experiments.reid.periodic_evaluation import PeriodicEvaluation
from flipreid.config import Config, Trial, trials
from flipreid.model import build, flipping_loss
from tests.common import known_people, recorded
from tests.common.tiny_trainings import SIZE, WIDTHS, tiny_backbones

CONFIG = Config(
    name="run", backbone="of the test", weights="none", image_size=SIZE, identities_per_batch=3, images_per_identity=2,
    steps_per_epoch=5, padding=0.0, gray_patch=0.0, erasing=0.0, l2_factor=0.003,
)  # fmt: skip
IMAGES = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), dtype="uint8")


def built(method="flipping_loss", **changes):
    with tiny_backbones(__package__.split(".")[-1]):
        return build(replace(CONFIG, **changes), Trial(method, 0), 7)


def test_backbone_and_weights_are_those_of_the_settings(tmp_path):
    recorded.assert_backbone_is_of_the_settings(CONFIG, Trial("flipping_loss", 0), tmp_path)


def test_initial_weights_are_a_function_of_the_seed():
    recorded.assert_initial_weights_are_of_the_seed(CONFIG, Trial("flipping_loss", 0))


@pytest.mark.parametrize(
    ("branches", "method"),
    [*((tuple(WIDTHS), method) for method in ("baseline", "flipreid", "flipping_loss")), (("global",), "aggregator")],
)
def test_branches_and_methods_decide_the_outputs_of_the_training(branches, method):
    model = built(method, regional_branches=len(branches) > 1)
    kinds = ("embedding", "difference") if method in ("flipping_loss", "aggregator") else ("embedding",)
    expected = {f"{b}_logits": 7 for b in branches} | {f"{b}_{kind}": WIDTHS[b] for b in branches for kind in kinds}
    assert {name: output.shape[1] for name, output in model.training_model.output.items()} == expected
    for inference in (model.single, model.double):
        assert inference.output_shape == (None, sum(WIDTHS[branch] for branch in branches))
    # A hidden and an output layer of scores, with biases, for each branch.
    learned = [v for v in model.training_model.trainable_variables if "scores" in v.path]
    assert len(learned) == (4 * len(branches) if method == "aggregator" else 0)
    if learned:  # an eighth of the features in the hidden layer
        assert {v.path: tuple(v.shape) for v in learned if v.name == "kernel"} == {
            "global_scores_hidden/kernel": (16, 2), "global_scores/kernel": (2, 16)
        }  # fmt: skip


def test_l2_factor_is_constant_and_of_all_weights_but_the_powers():
    regularizer = built().training_model.get_layer("regularizer")
    np.testing.assert_allclose(regularizer.factors(), np.full(25, 0.003), rtol=1e-6)
    assert not [v for v in regularizer.trainable_variables if "theta" in v.path]


@pytest.mark.parametrize("views", ["separate", "concatenated"])
def test_views(views):
    """Whether images and mirrors become one batch; test_model.py has what that changes."""
    network = built(views=views).training_model.get_layer("regularizer").network
    operations = {type(operation).__name__ for operation in network.operations}
    assert "Flip" in operations and ("Concatenate" in operations) == (views == "concatenated")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_precision_is_that_of_the_convolutions(policy):
    model = built(precision=policy)
    extractor = model.single.get_layer("extractor")
    assert extractor.get_layer("upper_reduced").dtype_policy.name == policy
    assert {extractor.get_layer(f"{branch}_pooled").compute_dtype for branch in WIDTHS} == {"float32"}
    assert keras.config.dtype_policy().name == "float32"


def test_pooling_begins_as_the_mean_with_a_power_for_each_branch():
    extractor = built().single.get_layer("extractor")
    poolings = [extractor.get_layer(f"{branch}_pooled") for branch in WIDTHS]
    assert [float(pooling.trained_power) for pooling in poolings] == [1, 1, 1] and poolings[0].epsilon == 1e-6


def test_trainings_are_whole_seeds():
    names = [trial.name for trial in trials(replace(CONFIG, seeds=(4, 5), methods=("baseline", "aggregator")))]
    assert names == ["baseline-seed4", "aggregator-seed4", "baseline-seed5", "aggregator-seed5"]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return known_people.draw(tmp_path_factory.mktemp("colors") / "people")


def test_a_training_has_its_losses_targets_and_callbacks(people, tmp_path):
    calls = recorded.calls_of_both_stages(replace(CONFIG, methods=("baseline", "flipping_loss")), people, tmp_path)
    for call in calls:
        kinds = {"logits", "embedding"} | ({"difference"} if "flipping" in str(call.folder) else set())
        assert set(call.loss) == {f"{branch}_{kind}" for branch in WIDTHS for kind in kinds}
        for name, loss in call.loss.items():
            if name.endswith("embedding"):
                assert type(loss).__name__ == "BatchHardTriplet" and loss.margin == "soft"
            elif name.endswith("difference"):
                assert loss is flipping_loss
            else:  # no label smoothing: -log of the share of class 0, of logits 2 and six of 0
                np.testing.assert_allclose(loss(np.zeros(1), 2 * np.eye(7)[:1]), np.log(np.exp(2) + 6) - 2, rtol=1e-6)
        ((_, targets),) = recorded.batches_of(call, 1)
        assert targets.keys() == set(call.loss) and all(value.shape == (6,) for value in targets.values())
        assert len({value.tobytes() for value in targets.values()}) == 1 and len(set(targets["upper_logits"])) == 3
        (evaluation,) = call.callbacks
        assert type(evaluation) is PeriodicEvaluation
        # Single images, in which the mirror is seen.
        single, double = (np.asarray(evaluation.embedder(images)) for images in (IMAGES, IMAGES[:, :, ::-1]))
        assert evaluation.embedder.name == "single" and np.abs(single - double).max() > 1e-5


def test_seeds_have_batches_of_their_own(people, tmp_path):
    recorded.assert_seeds_have_batches_of_their_own(replace(CONFIG, methods=("flipreid",)), people, tmp_path)


def changed(people, folder, method="flipreid", **changes):
    _, call = recorded.calls_of(replace(CONFIG, methods=(method,), **changes), people, folder)
    return recorded.whole_and_mirrored(people, call)


@pytest.mark.parametrize("method", ["baseline", "aggregator"])
def test_only_the_baseline_sees_mirrored_images(people, tmp_path, method):
    (plain, mirrored), _ = changed(people, tmp_path, method)
    assert plain + mirrored == 120
    assert 43 <= mirrored <= 77 if method == "baseline" else mirrored == 0  # three standard errors


@pytest.mark.parametrize("switch", ["gray_patch", "erasing"])
def test_patches(people, tmp_path, switch):
    """In 80 % of the images, three standard errors up or down, a patch is gray or of the mean color."""
    (whole, _), images = changed(people, tmp_path, **{switch: 0.8})
    patched = images == (124, 117, 104) if switch == "erasing" else images == images[..., :1]
    patched = patched.all(axis=-1).any(axis=(1, 2))
    assert whole == 120 - patched.sum() and 83 <= patched.sum() <= 109


def test_padding(people, tmp_path):
    """20 % of 32 pixels in total: at most three rows or columns have the mean color, at either side."""
    _, images = changed(people, tmp_path, padding=0.2)
    border = (images == (124, 117, 104)).all(axis=-1)
    for lines in (border.all(axis=2), border.all(axis=1)):
        assert lines[:, :3].any(axis=0).all() and lines[:, -3:].any(axis=0).all() and not lines[:, 3:-3].any()
