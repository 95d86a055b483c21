"""The victim model and the attack models."""

import keras
import numpy as np
import pytest
from keras import ops

from common.backbones import build_backbone
from common.experiments.training import precision
from shufflebits import model as module
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


@pytest.fixture(scope="module")
def generator():
    """Of the publication's size."""
    return build_generator(2048, (384, 128))


@pytest.fixture(scope="module")
def discriminator():
    return build_discriminator(2048, (384, 128))


def test_generator_is_the_publications(generator):
    layers = shapes(generator)
    assert layers["reduced"] == (256,) and layers["smallest"] == (12, 4, 128)
    blocks = [layers[f"up{i}_sum"] for i in range(1, 6)]
    assert blocks == [(24, 8, 256), (48, 16, 128), (96, 32, 64), (192, 64, 32), (384, 128, 16)]
    assert layers["image"] == (384, 128, 3)
    assert [
        layer.name for layer in generator.layers if getattr(layer, "activation", None) is keras.activations.relu
    ] == [
        "reduced",
        "expanded",
    ]
    assert generator.get_layer("colors").activation is keras.activations.tanh
    normalizations = [layer for layer in generator.layers if isinstance(layer, keras.layers.BatchNormalization)]
    by_default = keras.layers.BatchNormalization()
    assert len(normalizations) == 11
    assert {(layer.momentum, layer.epsilon) for layer in normalizations} == {(by_default.momentum, by_default.epsilon)}


def test_discriminator_is_the_publications(discriminator):
    layers = shapes(discriminator)
    blocks = [layers[f"down{i}_sum"] for i in range(1, 6)]
    assert blocks == [(192, 64, 32), (96, 32, 64), (48, 16, 128), (24, 8, 256), (12, 4, 512)]
    assert layers["pooled"] == layers["projected"] == (512,) and layers["merged"] == (1024,) and layers["score"] == (1,)
    activations = [layer.name for layer in discriminator.layers if isinstance(layer, keras.layers.ReLU)]
    assert activations == [f"down{block}_relu{number}" for block in range(1, 6) for number in (1, 2)]
    # Each path of a block begins with the block's input; an activation is first, and the last sum is pooled as it is.
    assert discriminator.get_layer("down1_relu1").input is discriminator.input[0]
    assert discriminator.get_layer("pooled").input is discriminator.get_layer("down5_sum").output


def _block(before, filters, normalized):
    """Weights of two convolutions of 3 × 3 and one of 1 × 1 with biases, and of two batch normalizations."""
    convolutions = 9 * before * filters + 9 * filters * filters + before * filters + 3 * filters
    return convolutions + (4 * before + 4 * filters if normalized else 0)


def test_numbers_of_weights_by_hand(generator, discriminator):
    """Dense layers, blocks, and what comes last."""
    blocks = [_block(*pair, True) for pair in ((128, 256), (256, 128), (128, 64), (64, 32), (32, 16))]
    assert blocks == [919_808, 477_056, 119_744, 30_176, 7_664]
    dense = (2048 + 1) * 256 + (256 + 1) * 6144
    assert generator.count_params() == dense + sum(blocks) + 4 * 16 + (9 * 16 + 1) * 3 == 3_658_499
    blocks = [_block(*pair, False) for pair in ((3, 32), (32, 64), (64, 128), (128, 256), (256, 512))]
    assert blocks == [10_272, 57_536, 229_760, 918_272, 3_671_552]
    assert discriminator.count_params() == sum(blocks) + (2048 + 1) * 512 + (1024 + 1) == 5_937_505


def with_random_weights(model):
    """A model and its weights by layer; variances are above zero."""
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.2, 1, w.shape) * random.choice([1, -1], w.shape) for w in model.get_weights()])
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            *rest, variance = layer.get_weights()
            layer.set_weights([*rest, np.abs(variance)])
    return {layer.name: layer.get_weights() for layer in model.layers}


def relu(x):
    return np.maximum(x, 0)


def dense(x, kernel, bias):
    return x @ kernel + bias


def convolved(x, kernel, bias):
    """Zeros around the image, (B, H, W, C)."""
    (height, width), margin = x.shape[1:3], len(kernel) // 2
    padded = np.pad(x, [(0, 0), (margin, margin), (margin, margin), (0, 0)])
    windows = [
        padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(len(kernel)) for j in range(len(kernel))
    ]
    return sum(windows) + bias


def normalized(x, gamma, beta, mean, variance):
    return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta


def doubled(x):
    return x.repeat(2, axis=1).repeat(2, axis=2)


def halved(x):
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def test_images_by_the_authors_formulas():
    """{BN, ReLU, × 2, conv 3×3, BN, ReLU, conv 3×3} + {× 2, conv 1×1}; BN, ReLU, conv 3×3, (tanh + 1) / 2."""
    generator = build_generator(4, (32, 64), width=1 / 32)
    weights = with_random_weights(generator)
    features = np.random.default_rng(1).normal(size=(2, 4))
    x = relu(dense(relu(dense(features, *weights["reduced"])), *weights["expanded"])).reshape(2, 1, 2, 4)
    for block in ("up1", "up2", "up3", "up4", "up5"):
        y = convolved(doubled(relu(normalized(x, *weights[f"{block}_bn1"]))), *weights[f"{block}_conv1"])
        y = convolved(relu(normalized(y, *weights[f"{block}_bn2"])), *weights[f"{block}_conv2"])
        x = y + convolved(doubled(x), *weights[f"{block}_shortcut"])
    colors = convolved(relu(normalized(x, *weights["last_bn"])), *weights["colors"])
    scale = 2 / np.abs(colors).max()  # so that the hyperbolic tangent is not flat
    generator.get_layer("colors").set_weights([scale * each for each in weights["colors"]])
    image = np.asarray(generator(features))
    np.testing.assert_allclose(image, (np.tanh(scale * colors) + 1) / 2, atol=1e-5)
    assert image.std() > 0.05


def test_scores_by_the_authors_formulas():
    """{ReLU, conv 3×3, ReLU, conv 3×3, average pool} + {conv 1×1, average pool}; pooled, joined, dense 1."""
    discriminator = build_discriminator(4, (32, 64), width=1 / 32)
    weights = with_random_weights(discriminator)
    random = np.random.default_rng(1)
    images, features = random.normal(size=(2, 32, 64, 3)), random.normal(size=(2, 4))
    x = images
    for block in ("down1", "down2", "down3", "down4", "down5"):
        y = convolved(relu(x), *weights[f"{block}_conv1"])
        y = halved(convolved(relu(y), *weights[f"{block}_conv2"]))
        x = y + halved(convolved(x, *weights[f"{block}_shortcut"]))
    joined = np.concatenate([x.mean((1, 2)), dense(features, *weights["projected"])], axis=1)
    scores = dense(joined, *weights["score"])
    np.testing.assert_allclose(np.asarray(discriminator([images, features])), scores, rtol=1e-4)


def test_logits_of_attributes_by_hand():
    """Each attribute has statistics of its own, with which features are normalized first; logits have no activation."""
    model = build_classifier(3, {"age": "123", "hat": "12"})
    weights, features = with_random_weights(model), np.random.default_rng(1).normal(size=(4, 3))
    logits = model(features)
    assert list(logits) == ["age", "hat"] and model.count_params() == (4 * 3 + 3 * 3 + 3) + (4 * 3 + 3 * 2 + 2)
    for name in logits:
        expected = dense(normalized(features, *weights[f"{name}_bn"]), *weights[name])
        np.testing.assert_allclose(logits[name], expected, rtol=1e-4)


def test_spectral_normalization_keeps_the_largest_singular_value_at_one(monkeypatch):
    """One vector for each of five kernels is added: 3 · 8 + 8 + 1 numbers."""
    monkeypatch.setattr(module, "_DISCRIMINATOR", (32,))
    inputs = [np.random.default_rng(0).random((2, *shape), "float32") for shape in ((32, 32, 3), (5,))]
    plain, normalized = (build_discriminator(5, (32, 32), 1 / 4, on) for on in (False, True))
    assert normalized.count_params() - plain.count_params() == 3 * 8 + 8 + 1
    for _ in range(10):
        normalized(inputs, training=True)
    singular = [
        [np.linalg.norm(w.numpy().reshape(-1, w.shape[-1]), 2) for w in model.trainable_variables if w.name == "kernel"]
        for model in (plain, normalized)
    ]
    assert len(singular[1]) == 5 and max(singular[0]) > 1.3
    np.testing.assert_allclose(singular[1], 1, atol=0.1)


def test_spectral_normalization_leaves_kernels_whole_in_mixed_precision(monkeypatch):
    """It writes them back in each step: in bfloat16 the last 16 bits of all numbers would become zeros."""
    monkeypatch.setattr(module, "_DISCRIMINATOR", (32,))
    with precision("mixed_bfloat16"):
        discriminator = build_discriminator(5, (32, 32), 1 / 4, True)
    discriminator([np.ones((2, *shape), "float32") for shape in ((32, 32, 3), (5,))], training=True)
    kernels = [np.asarray(w).ravel() for w in discriminator.trainable_variables if w.name == "kernel"]
    assert len(kernels) == 5 and np.mean(np.concatenate(kernels).view("uint32") & 0xFFFF != 0) > 0.99


def test_features_have_unit_length_and_are_those_of_the_training_graph():
    model = build_victim(build_backbone("small_resnet", (64, 32), None), 5)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 32, 3), dtype="uint8")
    features, training = model.embedder(images), model.training_model(images)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    lengths = np.linalg.norm(training["embedding"], axis=1, keepdims=True)
    np.testing.assert_allclose(features * lengths, training["embedding"], rtol=1e-4, atol=1e-6)
    layers = [model.training_model.get_layer(f"global_{name}").get_weights() for name in ("bn", "logits")]
    (gamma, beta, mean, variance), (kernel,) = layers
    logits = ((np.asarray(training["embedding"]) - mean) / np.sqrt(variance + 2e-5) * gamma + beta) @ kernel
    np.testing.assert_allclose(training["logits"], logits, rtol=1e-3, atol=1e-6)
    assert kernel.shape[1] == 5 and model.embedder.input.dtype == "uint8"


@pytest.mark.parametrize("perceptual", [None, "small_resnet"])
def test_difference_is_that_of_pixels_or_of_the_second_block(perceptual):
    backbone = perceptual and build_backbone(perceptual, (32, 32), None)
    model = build_reconstruction(build_generator(4, (32, 32), 0.125), backbone)
    rng = np.random.default_rng(0)
    inputs = {"features": rng.normal(size=(2, 4)), "image": rng.integers(0, 256, (2, 32, 32, 3), dtype="uint8")}
    outputs = model.training_model(inputs)
    sample = ops.convert_to_numpy(model.generator(inputs["features"]))
    np.testing.assert_allclose(outputs["sample"], sample, atol=1e-6)
    np.testing.assert_allclose(outputs["truth"], inputs["image"] / 255, rtol=1e-6)

    def compared(images):
        blocks = () if backbone is None else backbone.blocks[:2]
        maps = images if backbone is None else 255 * images
        for block in blocks:
            maps = block(maps)
        return ops.convert_to_numpy(maps)

    expected = compared(sample) - compared(inputs["image"] / np.float32(255))
    np.testing.assert_allclose(outputs["difference"], expected, atol=1e-4)
    assert model.training_model.input["image"].dtype == "uint8"
    trainable = {id(v) for v in model.training_model.trainable_variables}
    assert trainable == {id(v) for v in model.generator.trainable_variables}


def test_perceptual_network_is_cut_where_the_publication_does():
    blocks = build_backbone("resnet50", (64, 32), None, last_stride=2).blocks
    assert blocks[1].output_shape == (None, 16, 8, 256)
    assert blocks[1].layers[-1].name == "conv2_block3_out"


def test_mean_square_by_hand():
    difference = np.array([[[1.0, 2.0]], [[0.0, 4.0]]])
    np.testing.assert_allclose(mean_square(None, keras.ops.convert_to_tensor(difference)), [2.5, 8.0])
