"""Code optimization by the encoder, on networks with random weights whose decoders still answer to every bit."""

import numpy as np
import pytest

from neural_compression.config import PAPER
from neural_compression.encoder.code_optimization import optimize_by_encoder
from neural_compression.model import build_autoencoder
from neural_compression.networks.codec_file import TrainedCodec
from tests.neural_compression.bitstream.synthetic_codes import random_model
from tests.neural_compression.small_codec import save_codec, set_weights_of

LENGTHS = (8, 16)


def random_codec(normalization="l2"):
    networks = [build_autoencoder(length, width=2, normalization=normalization) for length in LENGTHS]
    for number, network in enumerate(networks):
        set_weights_of((7, number), network.training_model)
        weights = network.decoder.get_weights()
        # Strong enough that decoded blocks of two codes are far apart.
        network.decoder.set_weights([1.5 * weight if weight.ndim == 4 else weight for weight in weights])
    encoders, decoders = [n.encoder for n in networks], [n.decoder for n in networks]
    models = [random_model(length, length) for length in LENGTHS]
    return TrainedCodec(LENGTHS, encoders, decoders, models, None, {}, {})


@pytest.fixture(scope="module")
def codec():
    return random_codec()


@pytest.fixture(scope="module")
def blocks():
    return np.random.default_rng(0).random((20, 32, 32, 3), dtype="float32")


def decoded_errors(codec, network, blocks, codes):
    decoded = codec.decoders[network].predict(np.float32(codes), verbose=0)
    return np.square(decoded.astype(np.float64) - blocks).sum((1, 2, 3))


def encoded(codec, network, blocks):
    return codec.encoders[network].predict(blocks, verbose=0)


def all_weights(codec):
    return [array for n in (*codec.encoders, *codec.decoders) for array in n.get_weights()]


@pytest.mark.parametrize("normalization", ["l2", "batch"])
def test_networks_stay_as_they_are(codec, blocks, normalization):
    codec = codec if normalization == "l2" else random_codec(normalization)
    before = all_weights(codec)
    codes, errors = optimize_by_encoder(codec, 1, blocks[:2], steps=3, learning_rate=0.1)
    np.testing.assert_allclose(errors, decoded_errors(codec, 1, blocks[:2], codes), rtol=1e-5)
    assert all(n.trainable for n in (*codec.encoders, *codec.decoders))
    for old, new in zip(before, all_weights(codec), strict=True):
        np.testing.assert_array_equal(old, new)


def test_encoder_way(codec, blocks):
    blocks = blocks[:4]
    codes, errors = optimize_by_encoder(codec, 1, blocks, steps=20, learning_rate=0.02)
    first = decoded_errors(codec, 1, blocks, encoded(codec, 1, blocks) > 0.5)
    np.testing.assert_allclose(errors, decoded_errors(codec, 1, blocks, codes), rtol=1e-5)
    assert codes.dtype == np.uint8 and codes.shape == (4, 16)
    assert (errors <= first * (1 + 1e-6)).all() and errors.mean() < 0.999 * first.mean()
    backwards, _ = optimize_by_encoder(codec, 1, blocks[::-1], steps=20, learning_rate=0.02)
    np.testing.assert_array_equal(backwards[::-1], codes)


def test_the_encoder_of_a_loaded_codec_learns(tmp_path, blocks):
    """Its layers are frozen, which a copy of it takes over."""
    loaded = save_codec(tmp_path / "codec.npz", deblocking=False).in_keras
    first, last = (optimize_by_encoder(loaded, 1, blocks[:4], steps=steps, learning_rate=0.02)[1] for steps in (0, 20))
    assert last.mean() < 0.999 * first.mean()
    assert not loaded.encoders[1].trainable_variables


def test_its_rate_is_that_of_training():
    assert optimize_by_encoder.__kwdefaults__["learning_rate"] == PAPER.learning_rate


def test_no_blocks(codec, blocks):
    codes, errors = optimize_by_encoder(codec, 0, blocks[:0], steps=1)
    assert codes.shape == (0, 8) and codes.dtype == np.uint8 and errors.shape == (0,)
