"""Forward passes in NumPy: every network that a codec can hold gives what Keras gives."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from common.layers.normalization import L2Normalize
from neural_compression.model import GrowingConv2D, build_autoencoder, build_deblocking
from neural_compression.networks import codec_file, inference, pyramid
from neural_compression.networks.inference import Convolution, Deblocking, Dense, Growing
from tests.neural_compression.bitstream.synthetic_codes import random_model
from tests.neural_compression.small_codec import save_codec

RANDOM = np.random.default_rng(0)


def randomized(network):
    """All weights by chance, the slopes and the statistics of batch normalization too, so that none can be left out."""
    weights = [RANDOM.uniform(0.3, 1.2, w.shape) * RANDOM.choice([-0.4, 0.4], w.shape) for w in network.get_weights()]
    network.set_weights([np.abs(w) if "variance" in v.path else w for w, v in zip(weights, network.weights)])
    return network


def check(network, own, batch, tolerance=1e-5):
    expected = np.asarray(network(batch))
    outputs = own(batch)
    assert outputs.dtype == np.float32 and expected.std() > 1e-3
    np.testing.assert_allclose(outputs, expected, atol=tolerance * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("growing", ["deconvolution", "upsampling"])
@pytest.mark.parametrize("normalization", ["l2", "none", "batch"])
def test_autoencoders_are_those_of_keras(tmp_path, normalization, growing):
    network = build_autoencoder(12, width=2, normalization=normalization, growing=growing)
    parts = randomized(network.encoder), randomized(network.decoder)
    for part in parts:
        part.set_weights([w.astype(np.float16) for w in part.get_weights()])
    settings = {"code_lengths": (12,), "closed_form": False, "width": 2} | {"growing": growing}
    settings |= {"normalization": normalization}
    model = random_model(12, 0)
    codec = codec_file.save(tmp_path / "codec.npz", settings | {"deblocking_width": 2}, [parts], [model], None)
    blocks, codes = RANDOM.random((5, 32, 32, 3), dtype="float32"), RANDOM.integers(0, 2, (5, 12)).astype("float32")
    codes[3] = 0  # no direction
    check(parts[0], codec.encoders[0], blocks)
    check(parts[1], codec.decoders[0], codes)
    assert [codec.encoders[0].output_shape, codec.decoders[0].output_shape] == [part.output_shape for part in parts]
    check(codec.in_keras.encoders[0], codec.encoders[0], blocks)
    check(codec.in_keras.decoders[0], codec.decoders[0], codes)


def test_pyramids_are_those_of_keras(tmp_path):
    """With weights by chance; logits in NumPy are less steep, so bits are compared."""
    networks, lengths = pyramid.build((9, 20), 2), (9, 20)
    for part in (part for network in networks for part in (network.encoder, network.decoder)):
        randomized(part).set_weights([w.astype(np.float16) for w in part.get_weights()])
    settings = {"code_lengths": lengths, "closed_form": True, "width": 2, "deblocking_width": 2}
    parts = [(network.encoder, network.decoder) for network in networks]
    models = [random_model(length, 0) for length in lengths]
    codec = codec_file.save(tmp_path / "codec.npz", settings, parts, models, None)
    blocks = RANDOM.random((50, 32, 32, 3), dtype="float32")
    for n, length in enumerate(lengths):
        bits = codec.encoders[n](blocks) > 0.5
        assert ((np.asarray(codec.in_keras.encoders[n](blocks)) > 0.5) == bits).mean() > 0.999 and 0 < bits.mean() < 1
        check(parts[n][1], codec.decoders[n], RANDOM.integers(0, 2, (5, length)).astype("float32"))
        check(codec.in_keras.decoders[n], codec.decoders[n], RANDOM.integers(0, 2, (5, length)).astype("float32"))


@pytest.mark.parametrize("at_once", [10, 2**19])
def test_deblocking_is_that_of_keras(monkeypatch, at_once):
    """In parts of a row too."""
    monkeypatch.setattr(inference, "_AT_ONCE", at_once)
    network = randomized(build_deblocking(3))
    check(network, Deblocking(network.get_weights()), RANDOM.random((2, 24, 40, 3), dtype="float32"))


@pytest.mark.parametrize("at_once", [10, 300, 2**19])
@pytest.mark.parametrize("size", [(1, 1), (2, 6), (32, 32)])
def test_layers_are_those_of_keras(monkeypatch, at_once, size):
    """In parts of a row, of some rows, and of several items."""
    monkeypatch.setattr(inference, "_AT_ONCE", at_once)
    inputs = RANDOM.normal(size=(3, *size, 4)).astype("float32")
    layers = [
        (keras.layers.Conv2D(5, 3, padding="same"), Convolution, {}),
        (keras.layers.Conv2DTranspose(5, 3, 2, "same"), Growing, {"transposed": True}),
        (GrowingConv2D(5), Growing, {}),
    ]
    if size[0] % 2 == 0:
        layers.append((keras.layers.Conv2D(5, 3, 2, "same"), Convolution, {"stride": 2}))
    for layer, kind, options in layers:
        prelu = keras.layers.PReLU(shared_axes=[1, 2])
        network = randomized(keras.Sequential([keras.Input((*size, 4)), layer, prelu]))
        kernel, bias, slope = network.get_weights()
        kernel = kernel.swapaxes(2, 3) if options.get("transposed") else kernel
        check(network, kind(kernel, bias, slope, **options), inputs)
        check(layer, kind(kernel, bias, **options), inputs)


def test_small_layers_are_those_of_keras():
    inputs = RANDOM.normal(size=(4, 1, 1, 6)).astype("float32") * 30
    pixel = randomized(keras.Sequential([keras.Input((1, 1, 6)), keras.layers.Conv2D(7, 1, activation="sigmoid")]))
    dense = Dense(*pixel.get_weights())
    check(pixel, lambda x: inference.sigmoid(dense(x)), inputs)
    codes = inputs[:, 0, 0]
    check(lambda x: np.sqrt(6) * np.asarray(L2Normalize()(x)), inference.normalized_by_length, codes)
    assert inference.one_pixel(codes).shape == (4, 1, 1, 6) and inference.flatten(inputs).shape == (4, 6)


def test_a_large_sigmoid_is_one_and_warns_of_nothing():
    with np.errstate(all="raise"):
        values = inference.sigmoid(np.float32([-80, 0, 80]))
    assert values.tolist() == pytest.approx([np.exp(-80), 0.5, 1]) and values.dtype == np.float32


def test_a_codec_without_its_deblocking_has_none_in_keras_either(tmp_path):
    codec = save_codec(tmp_path / "codec.npz")
    assert codec.in_keras.deblocking is not None
    assert replace(codec, deblocking=None).in_keras.deblocking is None
