"""The networks of section 2.1 (pub): shapes, Eq. 4.1 by hand, and the interval of the noise."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from neural_compression.config import PRESETS, Trial
from neural_compression.model import (
    Binarization,
    EntropyFriendly,
    GrowingConv2D,
    build,
    build_autoencoder,
    build_deblocking,
    entropy_friendly_loss,
)
from tests.helpers import value_and_gradients

BLOCKS = np.random.default_rng(0).random((8, 32, 32, 3), dtype="float32")
BASELINE = PRESETS["baseline"][1]


def test_widths_and_code_length_of_the_publication():
    model = build_autoencoder(216)
    kernels = [w.shape for w in model.encoder.weights if w.name == "kernel"]
    assert [shape[-1] for shape in kernels] == [64, 128, 256, 512, 1024, 216]
    for growing, outputs in (("deconvolution", -2), ("upsampling", -1)):  # Keras' order for a deconvolution
        decoder = build_autoencoder(216, growing=growing).decoder
        kernels = [w.shape for w in decoder.weights if w.name == "kernel"]
        assert [shape[:2] for shape in kernels] == [(3, 3)] * 5 + [(1, 1)]
        assert [*(shape[outputs] for shape in kernels[:-1]), kernels[-1][-1]] == [1024, 512, 256, 128, 64, 3]
    assert model.encoder.output_shape == (None, 216) and model.decoder.output_shape == (None, 32, 32, 3)
    assert model.binarization.kind == "noise" and EntropyFriendly().weight == 0.001
    assert model.training_model.get_layer("entropy_friendly").weight == 0.001
    assert [layer.name for layer in model.decoder.layers[:3]] == ["code", "normalized", "scale"]
    # XLA takes seconds for each shape.
    assert not any(network.jit_compile for network in (model.encoder, model.decoder, build_deblocking(1)))


def parameters(model):
    """Layers with weights, in order: name -> number of weights."""
    return {layer.name: layer.count_params() for layer in model.layers if layer.count_params()}


def test_layers_by_hand():
    """Weights of 3×3 convolutions with a bias, and a slope of a PReLU for each channel; 1×1 convolutions at the end."""
    model = build_autoencoder(7, width=2, normalization="none")
    widths, expected = [3, 2, 4, 8, 16, 32], {}
    for i in range(1, 6):
        expected |= {f"down{i}": (9 * widths[i - 1] + 1) * widths[i], f"down{i}_prelu": widths[i]}
    assert parameters(model.encoder) == expected | {"code": (32 + 1) * 7}
    widths, expected = [7, 32, 16, 8, 4, 2], {}
    for i in range(1, 6):
        name = f"up{6 - i}"
        expected |= {name: (9 * widths[i - 1] + 1) * widths[i], f"{name}_prelu": widths[i]}
    assert parameters(model.decoder) == expected | {"pixels": (2 + 1) * 3}
    for layer in (*model.encoder.layers, *model.decoder.layers):
        if isinstance(layer, keras.layers.PReLU):
            np.testing.assert_array_equal(layer.alpha, np.full((1, 1, layer.alpha.shape[-1]), 0.25, "float32"))
        elif isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3):
            assert layer.strides == (2, 2) and layer.padding == "same"
    assert model.encoder.get_layer("code").activation is model.decoder.get_layer("pixels").activation
    assert model.encoder.get_layer("code").activation is keras.activations.sigmoid


def test_convolutions_begin_as_he_proposes():
    """With a standard deviation of √(2 / inputs), and biases of zero."""
    model = build_autoencoder(16, width=16, normalization="none")
    for layer in (*model.encoder.layers, *model.decoder.layers):
        if layer.name.startswith(("down", "up")) and "prelu" not in layer.name and layer.kernel.shape[2] > 16:
            kernel = np.asarray(layer.kernel)
            # A pixel of a deconvolution meets 1, 2, 2 or 4 of its nine taps.
            inputs = kernel[..., 0].size if layer.name.startswith("down") else kernel.shape[3] * 9 / 4
            np.testing.assert_allclose(kernel.std(), np.sqrt(2 / inputs), rtol=0.05)
            np.testing.assert_array_equal(layer.bias, 0 * layer.bias)


def test_normalization_of_the_decoder():
    """Batch normalization stands after each convolution, before its activation, in both parts, and in place of L2."""

    def names(kind):
        model = build_autoencoder(8, width=1, normalization=kind)
        return [[layer.name for layer in part.layers][1:] for part in (model.encoder, model.decoder)]

    down, up = range(1, 6), range(5, 0, -1)
    ends = ["code", "flat"], ["pixels"]
    plain = [[*(f"down{i}{part}" for i in down for part in ("", "_prelu")), *ends[0]], ["pixel"]]
    plain[1] += [*(f"up{i}{part}" for i in up for part in ("", "_prelu")), *ends[1]]
    assert names("none") == plain
    assert names("l2") == [plain[0], ["normalized", "scale", *plain[1]]]
    triples = [[f"{way}{i}{part}" for i in order for part in ("", "_bn", "_prelu")] for way, order in
               (("down", down), ("up", up))]  # fmt: skip
    assert names("batch") == [[*triples[0], *ends[0]], ["pixel", *triples[1], *ends[1]]]


def test_settings_of_a_network_reach_it():
    config = replace(BASELINE, width=3, binarization="none", normalization="none", entropy_weight=0.25)
    model = build(config, Trial(5), 9)
    assert model.encoder.get_layer("down1").filters == 3 and model.encoder.output_shape == (None, 9)
    assert (model.binarization.kind, model.binarization.seed) == ("none", 5)
    assert model.training_model.get_layer("entropy_friendly").weight == 0.25
    assert not any(layer.name == "normalized" for layer in model.decoder.layers)
    same, other = build(config, Trial(5), 9), build(config, Trial(6), 9)
    for old, new, differs in zip(*(m.encoder.get_weights() for m in (model, same, other))):
        np.testing.assert_array_equal(old, new)
        assert old.std() == 0 or np.any(old != differs)


def test_a_network_begins_with_the_weights_of_another():
    config = replace(BASELINE, width=1)
    first = build(config, Trial(0), 4)
    second = build(config, Trial(1), 4, first)
    for old, new in zip(first.training_model.weights, second.training_model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("kind, training", [("noise", True), ("straight_through", True), ("noise", False)])
def test_gradients_pass_as_if_nothing_were_changed(kind, training):
    """Also none through the width of the noise."""
    codes, weights = keras.Variable([[0.2, 0.45, 0.7]]), np.array([[1.0, -2.0, 3.0]], "float32")
    layer = Binarization(kind)

    def total():
        return keras.ops.sum(keras.ops.multiply(layer(codes.value, training=training), weights))

    _, (gradient,) = value_and_gradients(total, [codes])
    np.testing.assert_array_equal(gradient, weights)


def test_growing_convolution_is_up_sampling_and_convolution():
    small = np.random.default_rng(1).normal(size=(2, 3, 5, 4)).astype("float32")
    layer = GrowingConv2D(6)
    outputs = layer(small)
    grown = keras.layers.UpSampling2D(2)(small)
    convolution = keras.layers.Conv2D(6, 3, padding="same")
    convolution.build(grown.shape)
    convolution.set_weights([layer.kernel, np.arange(6.0)])
    layer.bias.assign(np.arange(6.0))
    assert layer.compute_output_shape(small.shape) == outputs.shape == (2, 6, 10, 6)
    np.testing.assert_allclose(layer(small), convolution(grown), atol=1e-5)


def test_entropy_friendly_loss_by_hand():
    """Eq. 4.1 of (1, 0, 0.5): ((1 - 0)² + (0 - 1)² + (0.5 - 0)² + (0 - 0.5)²) / 4."""
    codes = np.array([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], "float32")
    np.testing.assert_allclose(entropy_friendly_loss(codes), [2.5 / 4, 0.0, 2 / 4], rtol=1e-6)


def test_noise_is_uniform_in_its_interval_and_stays_in_0_to_1():
    values = np.array([0.0, 0.1, 0.4, 0.5, 0.7, 1.0], "float32")
    layer = Binarization("noise", seed=1)
    noisy = np.asarray(layer(np.repeat(values[None], 20000, axis=0), training=True))
    assert noisy.min() >= 0 and noisy.max() <= 1
    bounds = np.abs(np.rint(values) - values)  # of the uniform noise
    np.testing.assert_allclose(noisy.mean(axis=0), values, atol=0.01)
    np.testing.assert_allclose(noisy.std(axis=0), bounds / np.sqrt(3), rtol=0.02, atol=1e-6)
    np.testing.assert_allclose(np.abs(noisy - values).max(axis=0), bounds, rtol=0.01, atol=1e-6)
    assert not np.array_equal(noisy, layer(np.repeat(values[None], 20000, axis=0), training=True))


@pytest.mark.parametrize("kind", ["noise", "straight_through", "none"])
def test_codes_are_binary_at_inference_and_in_passes_of_the_decoder(kind):
    layer, codes = Binarization(kind), np.array([[0.2, 0.5, 0.51, 0.9]], "float32")
    np.testing.assert_array_equal(layer(codes), [[0, 0, 1, 1]])  # rint rounds halves to even
    layer.actual = True
    np.testing.assert_array_equal(layer(codes, training=True), [[0, 0, 1, 1]])
    layer.actual = False
    joint = np.asarray(layer(codes, training=True))
    assert np.array_equal(joint, [[0, 0, 1, 1]]) == (kind == "straight_through")
    assert np.array_equal(joint, codes) == (kind == "none")


def test_decoder_sees_codes_of_unit_length():
    model = build_autoencoder(16, width=2)
    code = np.array([[1.0] + [0.0] * 15, [1.0] * 16], "float32")
    scaled = keras.Model(model.decoder.input, model.decoder.get_layer("scale").output)
    np.testing.assert_allclose(np.linalg.norm(scaled(code), axis=1), 4.0, rtol=1e-5)  # √K
    np.testing.assert_allclose(model.decoder(3 * code), model.decoder(code), atol=1e-6)
    plain = build_autoencoder(16, width=2, normalization="none")
    assert not np.allclose(plain.decoder(3 * code), plain.decoder(code), atol=1e-4)
    assert np.isfinite(np.asarray(model.decoder(0 * code))).all()


@pytest.mark.parametrize("weight", [0.5, 0.0])
def test_loss_is_the_reconstruction_error_and_the_weighted_entropy_loss(weight):
    model = build_autoencoder(16, width=2, binarization="straight_through", entropy_weight=weight)
    codes, decoded = np.asarray(model.encoder(BLOCKS)), model.training_model(BLOCKS)
    np.testing.assert_allclose(decoded, model.decoder(np.rint(codes)), atol=1e-6)
    padded = np.pad(codes, ((0, 0), (1, 1)))
    expected = [0.5 * np.square(np.diff(padded)).sum(1).mean() / 17] if weight else []  # n + 1 differences
    np.testing.assert_allclose([float(loss) for loss in model.training_model.losses], expected, rtol=1e-5)


def test_deblocking_begins_as_the_identity_and_takes_any_size():
    network = build_deblocking(width=2)
    for shape in ((1, 64, 64, 3), (2, 8, 40, 3)):
        image = np.random.default_rng(1).random(shape, dtype="float32")
        np.testing.assert_array_equal(network(image), image)


def test_layers_of_the_deblocking_network():
    """Two convolutions of 3×3 at each of four levels, of doubled channels; on the way up with those of the way down."""
    network = build_deblocking(width=2)
    convolutions = {
        "down0": (3, 2), "down1": (2, 4), "down2": (4, 8), "bottom": (8, 16),
        "up2": (16 + 8, 8), "up1": (8 + 4, 4), "up0": (4 + 2, 2),
    }  # fmt: skip
    expected = {}
    for name, (inputs, channels) in convolutions.items():
        for i, entering in ((1, inputs), (2, channels)):
            expected |= {f"{name}_conv{i}": (9 * entering + 1) * channels, f"{name}_prelu{i}": channels}
    assert parameters(network) == expected | {"change": (2 + 1) * 3}
    assert build_deblocking().get_layer("bottom_conv1").filters == 8 * 2**3
    assert [layer.name for layer in network.layers if isinstance(layer, keras.layers.Concatenate)] == [
        "joined2", "joined1", "joined0"
    ]  # fmt: skip


def test_serialized_layers_come_back():
    for layer in (Binarization("none", 3), EntropyFriendly(0.5), GrowingConv2D(6)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert again.get_config() == layer.get_config()
    assert layer.compute_output_shape((2, 3, 4, 5)) == (2, 6, 8, 6)
