"""The network of section 3.2.3: what is pooled, what has a classifier, and its losses."""

import keras
import numpy as np
import pytest

from common.backbones import build_backbone
from tests.common import project_trainings
from vehicle_attributes.model import build_model, losses, targets

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype="uint8")
LABELS = np.array([[0, 0], [0, 1], [1, 2], [1, 2], [0, 0], [1, 1]])


def small(loss, num_classes=None, **options):
    keras.utils.set_random_seed(0)
    backbone = build_backbone("small_resnet", (64, 64), None)
    return build_model(backbone, num_classes or {"type": 2, "make": 3}, loss=loss, **options)


def test_resnet50_gives_2048_features_from_maps_of_stride_16():
    model = build_model(build_backbone("resnet50", (64, 64), None), {"type": 14})
    shapes = {name: output.shape for name, output in model.inference_model.output.items()}
    assert shapes == {"embedding": (None, 2048), "type_logits": (None, 14)}
    pooled = model.inference_model.get_layer("embedding")
    assert pooled.input.shape == (None, 4, 4, 2048)  # the last block has stride 1
    assert model.training_model.input.dtype == model.inference_model.input.dtype == "uint8"
    assert model.training_model.get_layer("regularizer").amplitude == 0.00025


@pytest.mark.parametrize(
    "loss, training, inference",
    [
        ("cross_entropy", {"type_logits": 2, "make_logits": 3}, {"embedding": 96, "type_logits": 2, "make_logits": 3}),
        ("arcface", {"type_logits": 2, "make_logits": 3}, {"embedding": 96, "type_logits": 2, "make_logits": 3}),
        ("triplet", {"type_embedding": 96, "make_embedding": 96}, {"embedding": 96}),
        ("lifted_structured", {"type_embedding": 96, "make_embedding": 96}, {"embedding": 96}),
    ],
)
def test_outputs_of_each_loss(loss, training, inference):
    model = small(loss)
    assert {name: output.shape[1] for name, output in model.training_model.output.items()} == training
    assert {name: output.shape[1] for name, output in model.inference_model.output.items()} == inference


def test_embedding_is_the_mean_of_the_last_maps_and_metric_losses_see_it():
    model = small("triplet")
    maps = IMAGES
    for number in range(1, 6):
        maps = model.inference_model.get_layer(f"block{number}")(maps)
    expected = np.mean(np.asarray(maps), axis=(1, 2))
    np.testing.assert_allclose(model.inference_model(IMAGES)["embedding"], expected, rtol=1e-5, atol=1e-6)
    outputs = model.training_model(IMAGES, training=False)
    np.testing.assert_allclose(outputs["type_embedding"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["make_embedding"], expected, rtol=1e-5, atol=1e-6)


def test_classifiers_see_the_normalized_embedding_and_arcface_its_angles():
    model = small("cross_entropy")
    outputs = model.inference_model(IMAGES)
    dense, norm = model.inference_model.get_layer("make_logits"), model.inference_model.get_layer("make_bn")
    expected = np.asarray(norm(outputs["embedding"], training=False)) @ np.asarray(dense.kernel)
    assert (norm.epsilon, norm.momentum, dense.use_bias) == (2e-5, 0.99, False)
    assert np.std(dense.kernel) == pytest.approx(0.001, rel=0.2)  # of 288 numbers
    np.testing.assert_allclose(outputs["make_logits"], expected, rtol=1e-4, atol=1e-6)
    model = small("arcface")
    outputs = {name: np.asarray(value) for name, value in model.inference_model(IMAGES).items()}
    centers = np.asarray(model.inference_model.get_layer("type_logits").centers)  # (C, D)
    products = outputs["embedding"] @ centers.T
    lengths = np.linalg.norm(outputs["embedding"], axis=1)[:, None] * np.linalg.norm(centers, axis=1)
    np.testing.assert_allclose(outputs["type_logits"], products / lengths, rtol=1e-4, atol=1e-6)


def test_targets_are_the_column_of_each_attribute():
    model = small("cross_entropy")
    true = targets(model, "cross_entropy", ("type", "make"), LABELS)
    np.testing.assert_array_equal(true["type_logits"], np.eye(2)[LABELS[:, 0]])
    np.testing.assert_array_equal(true["make_logits"], np.eye(3)[LABELS[:, 1]])
    true = targets(small("triplet"), "triplet", ("type", "make"), LABELS)
    np.testing.assert_array_equal(true["make_embedding"], LABELS[:, 1])


@pytest.mark.parametrize("loss", ["cross_entropy", "triplet", "lifted_structured", "arcface"])
def test_total_loss_is_the_sum_over_the_attributes_and_the_penalty(loss):
    backbone, images = project_trainings.backbone(), IMAGES[:, :32, :32]
    model = build_model(backbone, {"type": 2, "make": 3}, loss=loss, l2_factor=0.001)
    terms, true = losses(model, loss, 0.1), targets(model, loss, ("type", "make"), LABELS)
    model.training_model.compile(keras.optimizers.SGD(0.0), terms, run_eagerly=True)
    total = model.training_model.train_on_batch(images, true, return_dict=True)["loss"]
    outputs = model.training_model(images, training=True)
    parts = sum(float(terms[name](true[name], outputs[name])) for name in terms)
    weights = [v for v in model.training_model.trainable_variables if not v.path.endswith("centers")]
    penalty = 0.001 * sum(float(np.sum(np.square(weight))) for weight in weights)
    np.testing.assert_allclose(total, parts + penalty, rtol=1e-4)


def test_cross_entropy_with_label_smoothing_by_hand():
    """Logits (2, 0), class 0, ε = 0.1: targets 0.95 and 0.05."""
    model = small("cross_entropy", {"type": 2})
    loss = losses(model, "cross_entropy", 0.1)["type_logits"]
    log_sum = np.log(np.exp(2) + 1)
    expected = -0.95 * (2 - log_sum) - 0.05 * (0 - log_sum)
    np.testing.assert_allclose(loss([[1.0, 0.0]], [[2.0, 0.0]]), expected, rtol=1e-6)
