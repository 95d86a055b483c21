import inspect

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2_autoencoder import model
from l2_autoencoder.config import PRESETS, Config, Trial
from l2_autoencoder.model import build, build_autoencoder

SMALL = (64, 64, 128)  # layers of 2000 take most of the time to initialize


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(model, "UNITS", SMALL)


def layers_of(model):
    """(name, output shape) of the layers with weights."""
    return [(layer.name, tuple(layer.output.shape[1:])) for layer in model.layers if layer.weights]


def test_convolutional_layers_at_28_are_dcecs():
    model = build_autoencoder((28, 28, 1)).training_model
    assert layers_of(model) == [
        ("encoder_1", (14, 14, 32)),
        ("encoder_2", (7, 7, 64)),
        ("encoder_3", (3, 3, 128)),
        ("embedding", (10,)),
        ("decoder_4", (1152,)),
        ("decoder_3", (7, 7, 64)),
        ("decoder_2", (14, 14, 32)),
        ("decoder_1", (28, 28, 1)),
    ]
    # Kernels and biases: 25·32+32, 25·32·64+64, 9·64·128+128, 1152·10+10, 10·1152+1152,
    # 9·128·64+64, 25·64·32+32, 25·32+1.
    assert model.count_params() == 832 + 51264 + 73856 + 11530 + 12672 + 73792 + 51232 + 801


def test_dense_layers_are_decs():
    model = build_autoencoder((28, 28, 1), architecture="dense", activation="leaky_relu").training_model
    assert layers_of(model) == [
        *(("encoder_1", (500,)), ("encoder_2", (500,)), ("encoder_3", (2000,)), ("embedding", (10,))),
        *(("decoder_3", (2000,)), ("decoder_2", (500,)), ("decoder_1", (500,)), ("decoder_0", (784,))),
    ]


@pytest.mark.parametrize("architecture", ["convolutional", "dense"])
@pytest.mark.parametrize(
    ("changes", "below_zero"),
    [
        ({"activation": "leaky_relu"}, -0.2),  # the preset's slope
        ({"activation": "leaky_relu", "leaky_relu_slope": 0.3}, -0.3),
        ({"activation": "relu", "leaky_relu_slope": 0.3}, 0),
        ({"activation": "elu"}, np.exp(-1) - 1),
    ],
)
@pytest.mark.parametrize("placement", ["embedding", "hidden"])
def test_hidden_layers_have_the_activation_and_no_others(architecture, changes, below_zero, placement, small):
    """What becomes of -1 and 2; the embedding and the reconstruction are linear."""
    config = Config(architecture=architecture, normalizations=("batch",), placement=placement, **changes)
    model = build(config, Trial("batch", 0, None), (8, 8, 1)).training_model
    hidden = [layer for layer in model.layers if layer.name.endswith("_activation")]
    if placement == "embedding":
        linear = {"embedding", "decoder_0" if architecture == "dense" else "decoder_1"}
        hidden = [layer for layer in model.layers if hasattr(layer, "kernel") and layer.name not in linear]
    assert len(hidden) == 6
    for layer in model.layers:
        if hasattr(layer, "activation"):
            expected = below_zero if layer in hidden else -1
            np.testing.assert_allclose(layer.activation(np.float32([-1, 2])), [expected, 2], rtol=1e-6)


def test_defaults_are_those_of_the_config():
    parameters = inspect.signature(build_autoencoder).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    (defaults["normalizations"],) = [(defaults.pop("normalization"),)]
    assert len(defaults) == 7 and defaults == {name: getattr(Config(), name) for name in defaults}


def test_presets_have_the_activations_of_their_publications(small):
    for preset, below_zero in (("mnist_conv_l2", 0), ("usps_conv_none", 0), ("mnist_dense_l2", -0.2)):
        config = PRESETS[preset][1]
        model = build(config, Trial(config.normalizations[0], 0, None), (8, 8, 1)).training_model
        np.testing.assert_allclose(model.get_layer("encoder_1").activation(np.float32([-1])), [below_zero])


@pytest.mark.parametrize("architecture", ["convolutional", "dense"])
def test_every_kernel_has_the_initializer(architecture, small):
    for name, kind in (
        ("he_normal", keras.initializers.HeNormal),
        ("glorot_uniform", keras.initializers.GlorotUniform),
    ):
        config = Config(architecture=architecture, initializer=name)
        model = build(config, Trial("l2", 0, None), (8, 8, 1)).training_model
        kernels = [layer for layer in model.layers if hasattr(layer, "kernel")]
        assert len(kernels) == 8 and all(type(layer.kernel_initializer) is kind for layer in kernels)


@pytest.mark.parametrize("architecture", ["convolutional", "dense"])
@pytest.mark.parametrize("normalization", ["none", "batch", "layer", "l2"])
def test_decoder_sees_the_normalized_code(architecture, normalization, small):
    """Eight times the embedding, bias included, is nothing to a decoder behind any of the normalizations."""
    config = Config(architecture=architecture, normalizations=(normalization,))
    model = build(config, Trial(normalization, 0, None), (8, 8, 1)).training_model
    images = np.random.default_rng(0).random((32, 8, 8, 1), dtype="float32")
    embedding = model.get_layer("embedding")
    embedding.set_weights([1000 * np.asarray(embedding.kernel), np.linspace(-100, 100, 10)])  # the epsilon is nothing
    before = np.asarray(model(images, training=True))
    embedding.set_weights([8 * np.asarray(weight) for weight in embedding.get_weights()])
    off = np.abs(np.asarray(model(images, training=True)) - before).max() / np.abs(before).max()
    assert off > 1 if normalization == "none" else off < 1e-3


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 33), st.integers(1, 33), st.sampled_from([1, 3]), st.sampled_from(["convolutional", "dense"]))
def test_any_image_size_is_reconstructed_at_that_size(height, width, channels, architecture):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "UNITS", SMALL)
        autoencoder = build_autoencoder((height, width, channels), architecture=architecture)
    images = np.random.default_rng(0).random((2, height, width, channels), dtype="float32")
    embeddings, reconstructions = autoencoder.apply(images)
    assert reconstructions.shape == images.shape
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_normalization_is_part_of_training_and_inference():
    images = np.random.default_rng(0).random((64, 8, 8, 1), dtype="float32")
    codes = {}
    for name in ("none", "batch", "layer", "l2"):
        keras.utils.set_random_seed(0)
        autoencoder = build_autoencoder((8, 8, 1), normalization=name)
        codes[name] = np.asarray(autoencoder.encoder(images, training=True))
        raw = codes["none"]
        if name == "batch":  # one batch has moved the statistics by a hundredth, which are those of inference
            mean, variance = 0.01 * raw.mean(0), 0.99 + 0.01 * raw.var(0)
            expected = (raw - mean) / np.sqrt(variance + 1e-3)
            np.testing.assert_allclose(autoencoder.apply(images)[0], expected, atol=1e-4)
    np.testing.assert_allclose(codes["l2"], raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(codes["batch"], (raw - raw.mean(0)) / np.sqrt(raw.var(0) + 1e-3), atol=1e-4)
    np.testing.assert_allclose(
        codes["layer"], (raw - raw.mean(1, keepdims=True)) / np.sqrt(raw.var(1, keepdims=True) + 1e-3), atol=1e-4
    )


@pytest.mark.parametrize(("architecture", "axes"), [("convolutional", (1, 2, 3)), ("dense", (1,))])
def test_hidden_layers_are_normalized_before_their_activations(architecture, axes):
    images = np.random.default_rng(0).random((16, 8, 8, 1), dtype="float32")
    for normalization, over in (("layer", axes), ("batch", tuple(range(len(axes))))):
        options = {"architecture": architecture, "normalization": normalization, "placement": "hidden"}
        autoencoder = build_autoencoder((8, 8, 1), **options)
        model = autoencoder.training_model
        linear, activated = (model.get_layer(f"encoder_2{part}").output for part in ("", "_activation"))
        outputs = keras.Model(model.input, [linear, activated])(images, training=True)
        before, after = (np.asarray(output) for output in outputs)
        expected = (before - before.mean(over, keepdims=True)) / np.sqrt(before.var(over, keepdims=True) + 1e-3)
        np.testing.assert_allclose(after, np.maximum(expected, 0), atol=1e-4)
        assert sum("_normalized" in layer.name for layer in model.layers) == 6
        embedding = keras.Model(model.input, model.get_layer("embedding").output)(images)
        np.testing.assert_array_equal(np.asarray(autoencoder.encoder(images)), np.asarray(embedding))


def test_apply_in_batches_equals_apply_at_once():
    autoencoder = build_autoencoder((8, 8, 1))
    images = np.random.default_rng(0).random((10, 8, 8, 1), dtype="float32")
    for whole, parts in zip(autoencoder.apply(images), autoencoder.apply(images, batch_size=3)):
        np.testing.assert_allclose(parts, whole, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((28, 28), {}, r"Expected images of shape \(height, width, channels\), got \(28, 28\)"),
        ((0, 4, 1), {}, r"got \(0, 4, 1\)"),
        ((8, 8, 1), {"architecture": "transformer"}, "'convolutional' or 'dense', got 'transformer'"),
        ((8, 8, 1), {"normalization": "l1"}, r"\['none', 'batch', 'layer', 'l2'\], got 'l1'"),
        (
            (8, 8, 1),
            {"normalization": "layer", "placement": "input"},
            "placement 'embedding'.* got 'input' with 'layer'",
        ),
        (
            (8, 8, 1),
            {"placement": "hidden"},
            r"'hidden' with normalization \['batch', 'layer'\], got 'hidden' with 'l2'",
        ),
    ],
)
def test_impossible_models_are_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        build_autoencoder(shape, **options)
