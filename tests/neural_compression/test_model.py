"""The networks of section 2.1 (pub): shapes, Eq. 4.1 by hand, and the interval of the noise."""

import keras
import numpy as np
import pytest

from neural_compression.model import (
    Binarization,
    GrowingConv2D,
    build_autoencoder,
    build_deblocking,
    entropy_friendly_loss,
)

BLOCKS = np.random.default_rng(0).random((8, 32, 32, 3), dtype="float32")


def test_widths_and_code_length_of_the_publication():
    model = build_autoencoder(216)
    kernels = [w.shape for w in model.encoder.weights if w.name == "kernel"]
    assert [shape[-1] for shape in kernels] == [64, 128, 256, 512, 1024, 216]
    kernels = [w.shape for w in model.decoder.weights if w.name == "kernel"]
    assert [shape[-1] for shape in kernels] == [1024, 512, 256, 128, 64, 3]
    assert model.encoder.output_shape == (None, 216) and model.decoder.output_shape == (None, 32, 32, 3)


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


def test_loss_is_the_reconstruction_error_and_the_weighted_entropy_loss():
    keras.utils.set_random_seed(0)
    model = build_autoencoder(16, width=2, binarization="straight_through", entropy_weight=0.5)
    model.training_model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    total = model.training_model.train_on_batch(BLOCKS, BLOCKS)
    codes = np.asarray(model.encoder(BLOCKS))
    error = np.mean(np.square(np.asarray(model.decoder(np.rint(codes))) - BLOCKS))
    np.testing.assert_allclose(total, error + 0.5 * np.mean(np.asarray(entropy_friendly_loss(codes))), rtol=1e-4)


def test_deblocking_begins_as_the_identity_and_takes_any_size():
    network = build_deblocking(width=2)
    for shape in ((1, 64, 64, 3), (2, 8, 40, 3)):
        image = np.random.default_rng(1).random(shape, dtype="float32")
        np.testing.assert_array_equal(network(image), image)
