"""The victim model and the attack models."""

import keras
import numpy as np
import pytest

from common.backbones import build_backbone
from shufflebits.model import (
    build_classifier,
    build_discriminator,
    build_generator,
    build_reconstruction,
    build_victim,
    mean_square,
)


def shapes(model):
    return {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers}


def test_generator_is_the_publications():
    layers = shapes(build_generator(2048, (384, 128)))
    assert layers["reduced"] == (256,) and layers["smallest"] == (12, 4, 128)
    blocks = [layers[f"up{i}_sum"] for i in range(1, 6)]
    assert blocks == [(24, 8, 256), (48, 16, 128), (96, 32, 64), (192, 64, 32), (384, 128, 16)]
    assert layers["image"] == (384, 128, 3)


def test_discriminator_is_the_publications():
    layers = shapes(build_discriminator(2048, (384, 128)))
    blocks = [layers[f"down{i}_sum"] for i in range(1, 6)]
    assert blocks == [(192, 64, 32), (96, 32, 64), (48, 16, 128), (24, 8, 256), (12, 4, 512)]
    assert layers["pooled"] == layers["projected"] == (512,) and layers["merged"] == (1024,) and layers["score"] == (1,)


def test_upsampling_block_by_hand():
    """An identity in the second path's place: the shortcut alone repeats each pixel."""
    generator = build_generator(4, (32, 32), width=1 / 128)
    for layer in generator.layers:
        if layer.name.endswith(("conv1", "conv2")):
            layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])
        if layer.name.endswith("shortcut"):
            kernel, bias = layer.get_weights()
            layer.set_weights([np.ones_like(kernel), bias])
    block = keras.Model(generator.input, [generator.get_layer(name).output for name in ("smallest", "up1_sum")])
    smallest, doubled = block.predict(np.random.default_rng(0).normal(size=(2, 4)), verbose=0)
    expected = np.broadcast_to(smallest.sum(-1, keepdims=True), (*smallest.shape[:3], doubled.shape[-1]))
    np.testing.assert_allclose(doubled, expected.repeat(2, axis=1).repeat(2, axis=2), rtol=1e-5)


def test_classifier_has_a_normalization_and_a_dense_layer_for_each_attribute():
    model = build_classifier(8, {"age": "1234", "hat": "12"})
    assert {name: tuple(x.shape) for name, x in model.output.items()} == {"age": (None, 4), "hat": (None, 2)}
    assert model.count_params() == (4 * 8 + 8 * 4 + 4) + (4 * 8 + 8 * 2 + 2)


def test_features_have_unit_length_and_are_those_of_the_training_graph():
    model = build_victim(build_backbone("small_resnet", (64, 32), None), 5)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 32, 3), dtype="uint8")
    features, training = model.embedder.predict(images, verbose=0), model.training_model.predict(images, verbose=0)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    lengths = np.linalg.norm(training["embedding"], axis=1, keepdims=True)
    np.testing.assert_allclose(features * lengths, training["embedding"], rtol=1e-4, atol=1e-6)
    assert training["logits"].shape == (3, 5)


@pytest.mark.parametrize("perceptual", [None, "small_resnet"])
def test_difference_is_that_of_pixels_or_of_the_second_block(perceptual):
    backbone = perceptual and build_backbone(perceptual, (32, 32), None)
    model = build_reconstruction(4, (32, 32), 0.125, backbone)
    rng = np.random.default_rng(0)
    inputs = {"features": rng.normal(size=(2, 4)), "image": rng.integers(0, 256, (2, 32, 32, 3), dtype="uint8")}
    outputs = model.training_model.predict(inputs, verbose=0)
    sample = model.generator.predict(inputs["features"], verbose=0)
    np.testing.assert_allclose(outputs["sample"], sample, atol=1e-6)
    np.testing.assert_allclose(outputs["truth"], inputs["image"] / 255, rtol=1e-6)

    def compared(images):
        return images if backbone is None else backbone.blocks[1].predict(
            backbone.blocks[0].predict(255 * images, verbose=0), verbose=0
        )  # fmt: skip

    expected = compared(sample) - compared(inputs["image"] / np.float32(255))
    np.testing.assert_allclose(outputs["difference"], expected, atol=1e-4)
    trainable = {id(v) for v in model.training_model.trainable_variables}
    assert trainable == {id(v) for v in model.generator.trainable_variables}


def test_perceptual_network_is_cut_where_the_publication_does():
    blocks = build_backbone("resnet50", (64, 32), None).blocks
    assert blocks[1].output_shape == (None, 16, 8, 256)
    assert blocks[1].layers[-1].name == "conv2_block3_out"


def test_mean_square_by_hand():
    difference = np.array([[[1.0, 2.0]], [[0.0, 4.0]]])
    np.testing.assert_allclose(mean_square(None, keras.ops.convert_to_tensor(difference)), [2.5, 8.0])
