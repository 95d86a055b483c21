"""The networks of Figs. 1 and 2 (pub): what each method and each inference sees, and the losses."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from adaptive_l2.model import build_model as build_adaptive_model
from common.backbones import build_backbone
from flipreid.model import build_model, flipping_loss, losses
from tests.common.project_trainings import ARRAYS, backbone

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 64, 32, 3), dtype="uint8")
MIRRORED = IMAGES[:, :, ::-1]
SYMMETRIC = np.concatenate([IMAGES[:, :, :16], IMAGES[:, :, 15::-1]], axis=2)
BRANCHES = ("global", "upper", "lower")
METHODS = ("baseline", "flipreid", "flipping_loss", "aggregator")


def small(method, feature_scale=1.0, **options):
    keras.utils.set_random_seed(0)
    backbone = replace(build_backbone("small_resnet", (64, 32), None), feature_scale=feature_scale)
    return build_model(backbone, 7, method=method, **options)


@pytest.fixture(scope="module")
def models():
    return {method: small(method) for method in METHODS}


def embeddings(outputs):
    return np.concatenate([outputs[f"{branch}_embedding"] for branch in BRANCHES], axis=1)


@pytest.mark.parametrize("method", METHODS)
def test_outputs_are_those_of_the_figure(models, method):
    kinds = {name.rpartition("_")[2] for name in models[method].training_model.output}
    assert kinds == {"logits", "embedding"} | ({"difference"} if method in METHODS[2:] else set())


def test_by_default_it_has_the_flipping_loss_separate_views_and_all_branches():
    model = build_model(backbone(), 4)
    assert len(model.training_model.output) == 9
    regularizer = model.training_model.get_layer("regularizer")
    assert "Concatenate" not in {type(operation).__name__ for operation in regularizer.network.operations}
    np.testing.assert_allclose(regularizer.factors(), np.full(25, 0.0005), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_symmetric_images_have_one_path(models, method):
    """Image and mirror are the same, so single and double features are, and the flipping loss is zero."""
    model = models[method]
    np.testing.assert_array_equal(SYMMETRIC, SYMMETRIC[:, :, ::-1])
    single, double = model.single(SYMMETRIC), model.double(SYMMETRIC)
    assert np.asarray(single).std() > 0
    np.testing.assert_allclose(double, single, atol=1e-6)
    outputs = model.training_model(SYMMETRIC, training=False)
    for name in outputs:
        if name.endswith("_difference"):
            np.testing.assert_allclose(flipping_loss(np.zeros(4), outputs[name]), np.zeros(4), atol=1e-12)


@pytest.mark.parametrize("method", METHODS[:3])
def test_double_is_the_average_of_image_and_mirror(models, method):
    model = models[method]
    expected = (np.asarray(model.single(IMAGES)) + np.asarray(model.single(MIRRORED))) / 2
    np.testing.assert_allclose(model.double(IMAGES), expected, atol=1e-6)
    assert np.abs(expected - np.asarray(model.single(IMAGES))).max() > 1e-3


@pytest.mark.parametrize("method", ["flipreid", "aggregator"])
def test_single_and_double_at_once_are_the_same(models, method):
    model = models[method]
    outputs = model.single_and_double(IMAGES)
    np.testing.assert_allclose(outputs["single"], model.single(IMAGES), atol=1e-6)
    np.testing.assert_allclose(outputs["double"], model.double(IMAGES), atol=1e-6)


def test_baseline_trains_on_single_features_and_flipreid_on_double_ones(models):
    for method, expected in (("baseline", "single"), ("flipreid", "double"), ("flipping_loss", "double")):
        model = models[method]
        trained = embeddings(model.training_model(IMAGES, training=False))
        np.testing.assert_allclose(trained, getattr(model, expected)(IMAGES), atol=1e-6)


def test_difference_is_that_of_image_and_mirror(models):
    model = models["flipping_loss"]
    outputs = model.training_model(IMAGES, training=False)
    difference = np.concatenate([outputs[f"{branch}_difference"] for branch in BRANCHES], axis=1)
    expected = np.asarray(model.single(IMAGES)) - np.asarray(model.single(MIRRORED))
    np.testing.assert_allclose(difference, expected, atol=1e-6)


def test_features_are_scaled_in_front_of_the_clip():
    """By 3/4, which a power of two times small integers keeps exact: what was at most 4/3 is not clipped any more."""
    whole, scaled = (np.asarray(small("flipreid", scale).single(IMAGES)) for scale in (1.0, 0.75))
    clipped = whole == 1
    assert 0.05 < clipped.mean() < 0.95
    np.testing.assert_allclose(scaled[~clipped], 0.75 * whole[~clipped], rtol=1e-5)
    assert scaled[clipped].min() >= 0.75 - 1e-6 and scaled[clipped].max() == 1


@pytest.mark.parametrize("views", ["separate", "concatenated"])
def test_batch_statistics_are_those_of_each_view_or_of_both(views):
    """From 0 and 1, with momentum 0.9. Separate: two steps, 0.9 (0.1 μ₁) + 0.1 μ₂ and 0.9 (0.9 + 0.1 σ₁²) + 0.1 σ₂².

    Concatenated: one step, 0.1 (μ₁ + μ₂)/2 and 0.9 + 0.1 ((σ₁² + σ₂²)/2 + (μ₁ − μ₂)²/4).
    """
    model = small("flipreid", views=views)
    stem = model.frozen_blocks[0]
    maps = keras.Model(stem.input, stem.get_layer("stem").output)
    (m1, v1), (m2, v2) = (
        (maps_of_view.mean((0, 1, 2)), maps_of_view.var((0, 1, 2)))
        for maps_of_view in (np.asarray(maps(view), "float64") for view in (IMAGES, MIRRORED))
    )
    model.training_model(IMAGES, training=True)
    expected = {
        "separate": (0.09 * m1 + 0.1 * m2, 0.81 + 0.09 * v1 + 0.1 * v2),
        "concatenated": (0.05 * (m1 + m2), 0.9 + 0.05 * (v1 + v2) + 0.025 * (m1 - m2) ** 2),
    }
    layer = stem.get_layer("stem_bn")
    for moving, value in zip((layer.moving_mean, layer.moving_variance), expected[views]):
        np.testing.assert_allclose(moving, value, rtol=1e-4, atol=1e-6)
    assert max(np.abs(a - b).max() for a, b in zip(*expected.values())) > 1e-3


def test_views_make_no_difference_in_inference():
    separate, concatenated = (small("flipping_loss", views=views) for views in ("separate", "concatenated"))
    concatenated.training_model.set_weights(separate.training_model.get_weights())
    np.testing.assert_allclose(concatenated.double(IMAGES), separate.double(IMAGES), atol=1e-6)
    trained = [embeddings(model.training_model(IMAGES, training=True)) for model in (separate, concatenated)]
    assert np.abs(trained[0] - trained[1]).max() > 1e-3


def test_flipping_loss_by_hand():
    """Mean of the squares of (1, -2, 2, 0) and (0, 0, 0, 1)."""
    np.testing.assert_allclose(flipping_loss(np.zeros(2), np.array([[1.0, -2, 2, 0], [0, 0, 0, 1]])), [9 / 4, 1 / 4])


def test_learned_aggregate_begins_as_the_mean_and_is_symmetric_after_training(models):
    model = small("aggregator")
    mean = (np.asarray(model.single(IMAGES)) + np.asarray(model.single(MIRRORED))) / 2
    np.testing.assert_allclose(model.double(IMAGES), mean, atol=1e-6)
    random = np.random.default_rng(1)
    for layer in model.double.layers:
        if "scores" in layer.name:
            layer.set_weights([random.normal(0, 3, weights.shape) for weights in layer.get_weights()])
    moved = np.asarray(model.double(IMAGES))
    assert np.abs(moved - mean).max() > 1e-2
    np.testing.assert_allclose(model.double(MIRRORED), moved, atol=1e-6)
    low, high = (
        bound(np.asarray(model.single(IMAGES)), np.asarray(model.single(MIRRORED)))
        for bound in (np.minimum, np.maximum)
    )
    assert (moved >= low - 1e-6).all() and (moved <= high + 1e-6).all()


def test_total_loss_is_the_sum_of_all_losses_and_the_penalty():
    keras.utils.set_random_seed(0)
    model, images = build_model(backbone(), 4, l2_factor=0.005), ARRAYS[0][:4]
    by_output = losses(model)
    assert len(by_output) == 9
    model.training_model.compile(keras.optimizers.SGD(0.0), by_output, jit_compile=False)
    labels = np.array([0, 0, 1, 1])
    outputs = model.training_model(images, training=True)
    total = model.training_model.train_on_batch(images, dict.fromkeys(by_output, labels), return_dict=True)["loss"]
    parts = 0.0
    for name, output in outputs.items():
        output = np.asarray(output, "float64")
        if name.endswith("_difference"):
            parts += np.mean(np.square(output))
        elif name.endswith("_logits"):
            parts += np.mean(np.log(np.exp(output).sum(axis=1)) - output[np.arange(4), labels])
        else:
            distances = np.linalg.norm(output[:, None] - output[None], axis=-1)
            hardest = distances[[0, 1, 2, 3], [1, 0, 3, 2]] - [
                min(distances[i, j] for j in range(4) if labels[j] != labels[i]) for i in range(4)
            ]
            parts += np.mean(np.log1p(np.exp(hardest)))
    network = model.training_model.get_layer("regularizer").network
    powers = [v for v in network.trainable_variables if v.name == "power"]
    assert len(powers) == 3  # of the poolings; no weights that are regularized
    squares = [float(np.sum(np.square(v))) for v in network.trainable_variables if v.name != "power"]
    np.testing.assert_allclose(total, parts + 0.005 * sum(squares), rtol=1e-4)


def test_baseline_with_single_images_is_the_network_of_the_first_publication():
    """With powers of one, generalized-mean pooling is adaptive_l2's average pooling, up to its floor."""
    keras.utils.set_random_seed(0)
    other = build_adaptive_model(build_backbone("small_resnet", (64, 32), None), 7)
    model = small("baseline")
    np.testing.assert_allclose(model.single(IMAGES), other.inference_model(IMAGES), rtol=1e-4, atol=2e-6)
    # Three powers more, and no θ.
    assert len(model.training_model.trainable_variables) == len(other.training_model.trainable_variables) + 3 - 1
    ours, theirs = ({name: output.shape for name, output in m.training_model.output.items()} for m in (model, other))
    assert ours == theirs
