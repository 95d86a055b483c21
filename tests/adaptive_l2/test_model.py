"""The network of Figs. 1 and 2 (pub): widths, what is shared, what is clipped, and its losses."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from adaptive_l2.model import build_model, losses, targets
from common.backbones import build_backbone
from tests.common.project_trainings import ARRAYS, backbone

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 64, 32, 3), dtype="uint8")


def small(feature_scale=1.0, **options):
    keras.utils.set_random_seed(0)
    return build_model(
        replace(build_backbone("small_resnet", (64, 32), None), feature_scale=feature_scale), 7, **options
    )


def test_resnet50_gives_4096_features_of_three_branches():
    model = build_model(build_backbone("resnet50", (64, 32), None), 751)
    assert model.inference_model.output_shape == (None, 4096)  # 2048 + 1024 + 1024
    widths = {name: output.shape[1] for name, output in model.training_model.output.items()}
    branches = {"global": 2048, "upper": 1024, "lower": 1024}
    assert widths == {f"{b}_logits": 751 for b in branches} | {f"{b}_embedding": n for b, n in branches.items()}
    counts = {name: model.regularizer.categories.count(name) for name in set(model.regularizer.categories)}
    # 53 convolutions, 10 of them in block 5 and so twice, and two reductions; three batch normalizations of branches.
    expected = {"conv_kernel": 65, "conv_bias": 65, "bn_gamma": 66, "bn_beta": 66, "dense_kernel": 3}
    assert counts == expected and model.regularizer.theta.shape == (265,)
    np.testing.assert_allclose(model.regularizer.factors(), np.full(265, 0.0025), rtol=1e-6)


def test_minimal_setup_has_one_branch_and_one_loss():
    model = small(triplet=False, regional_branches=False, clipping=False, regularization="none")
    assert list(model.training_model.output) == ["global_logits"] and model.regularizer is None
    assert model.inference_model.output_shape == (None, 96)
    assert len(model.frozen_blocks) == 5


def test_branches_share_the_trunk_and_nothing_else():
    model = small()
    variables = [id(v) for part in model.frozen_blocks for v in part.variables]
    assert len(model.frozen_blocks) == 6 and len(set(variables)) == len(variables)
    np.testing.assert_array_equal(model.frozen_blocks[4].get_weights()[0], model.frozen_blocks[5].get_weights()[0])


def test_regions_are_the_upper_and_the_lower_half():
    model = small()
    *trunk, _, regional = model.frozen_blocks
    maps = np.asarray(keras.Sequential([*trunk, regional])(IMAGES))  # (4, 4, 2, 96)
    network = model.regularizer.network
    outputs = network(IMAGES)
    for region, part in (("upper", maps[:, :2]), ("lower", maps[:, 2:])):
        pooled = np.asarray(network.get_layer(f"{region}_reduced")(part)).mean(axis=(1, 2))  # (4, 48)
        np.testing.assert_allclose(outputs[f"{region}_embedding"], np.clip(pooled, 0, 1), rtol=1e-4, atol=1e-6)


def test_embeddings_are_clipped_only_with_clipping():
    clipped, free = (np.asarray(small(clipping=clipping).inference_model(IMAGES)) for clipping in (True, False))
    assert clipped.min() >= 0 and clipped.max() == 1
    assert free.max() > 1
    np.testing.assert_allclose(clipped, np.clip(free, 0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("clipping", [True, False])
def test_features_are_scaled_in_front_of_the_clip(clipping):
    whole = np.asarray(small(clipping=False).inference_model(IMAGES))
    scaled = np.asarray(small(0.5, clipping=clipping).inference_model(IMAGES))
    assert whole.max() > 3
    np.testing.assert_allclose(scaled, np.clip(whole / 2, 0, 1 if clipping else None), rtol=1e-5)


def test_inference_joins_the_training_embeddings():
    model = small()
    outputs = model.training_model(IMAGES, training=False)
    joined = np.concatenate([outputs[f"{branch}_embedding"] for branch in ("global", "upper", "lower")], axis=1)
    np.testing.assert_allclose(model.inference_model(IMAGES), joined, rtol=1e-6)


def test_cross_entropy_with_label_smoothing_by_hand():
    """Logits (2, 0, 0), class 0, ε = 0.1: targets 0.9 + 0.1/3 and 0.1/3 (Eq. 1 (pub))."""
    (loss,) = losses(small(triplet=False, regional_branches=False), 0.1).values()
    log_sum = np.log(np.exp(2) + 2)
    expected = -(0.9 + 0.1 / 3) * (2 - log_sum) - 2 * 0.1 / 3 * (0 - log_sum)
    np.testing.assert_allclose(loss([[1.0, 0.0, 0.0]], [[2.0, 0.0, 0.0]]), expected, rtol=1e-6)


def test_total_loss_is_the_sum_of_all_losses_and_the_penalty():
    """Cross-entropies with ε = 0.1, soft margins of the hardest pairs, and 0.005 times the squared lengths."""
    keras.utils.set_random_seed(0)
    model, images = build_model(backbone(), 4, factor=0.01), ARRAYS[0][:4]
    by_output = losses(model, 0.1)
    model.training_model.compile(keras.optimizers.SGD(0.0), by_output, jit_compile=False)
    labels = np.array([0, 0, 1, 1])
    outputs = model.training_model(images, training=True)
    total = model.training_model.train_on_batch(images, targets(model, labels), return_dict=True)["loss"]
    parts = 0.0
    assert len(outputs) == 6
    for name, output in outputs.items():
        output = np.asarray(output, "float64")
        if name.endswith("_logits"):
            logarithms = output - np.log(np.exp(output).sum(axis=1, keepdims=True))
            parts -= np.mean(np.sum((0.9 * np.eye(4)[labels] + 0.1 / 4) * logarithms, axis=1))
        else:
            distances = np.linalg.norm(output[:, None] - output[None], axis=-1)
            gaps = distances[[0, 1, 2, 3], [1, 0, 3, 2]] - [distances[i, labels != labels[i]].min() for i in range(4)]
            parts += np.mean(np.log1p(np.exp(gaps)))
    squares = [float(np.sum(np.square(v))) for v in model.regularizer.network.trainable_variables]
    assert len(squares) == len(model.regularizer.categories)
    np.testing.assert_allclose(total, parts + 0.005 * sum(squares), rtol=1e-4)


@pytest.mark.parametrize("regularization, trainable", [("constant", 0), ("adaptive", 1)])
def test_constant_factors_are_no_variables(regularization, trainable):
    model = small(regularization=regularization, factor=0.002)
    assert len(model.regularizer.weights) - len(model.regularizer.network.weights) == trainable
    expected = 0.002 if regularization == "constant" else 0.001
    np.testing.assert_allclose(model.regularizer.factors(), expected)
