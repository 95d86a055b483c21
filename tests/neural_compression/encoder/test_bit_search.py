"""The search over bits: against all codes of a short length, against every single turn, and against what bits cost."""

from dataclasses import replace

import numpy as np
import pytest

from neural_compression.bitstream.bit_model import BitModel
from neural_compression.encoder.bit_search import search_codes
from neural_compression.networks.codec_file import TrainedCodec
from tests.neural_compression.bitstream.synthetic_codes import random_model
from tests.neural_compression.small_codec import save_codec

LENGTH, COUNT = 8, 20
EVERY = ((np.arange(2**LENGTH)[:, None] >> np.arange(LENGTH)) & 1).astype(np.uint8)
NOTHING = np.zeros((COUNT, LENGTH), np.int8)
BLOCKS = np.random.default_rng(0).uniform(0.3, 0.7, (COUNT, 32, 32, 3)).astype("float32")


class Linear:
    """A decoder: gray, and what each bit adds, of which some are alike."""

    def __init__(self, random, strength):
        shared = random.normal(size=(3, 3072))
        mixed = random.normal(size=(LENGTH, 3)) @ shared + random.normal(size=(LENGTH, 3072))
        self.added = (strength * mixed).astype("float32")

    def predict_on_batch(self, codes):
        return (0.5 + codes @ self.added).reshape(-1, 32, 32, 3)


def codec_of(decoder, model):
    return TrainedCodec((LENGTH,), [None], [decoder], [model], None, {}, {})


def likes_zeros():
    """Every bit is a 0 with 4032 / 4096 (logit -266 / 64), whatever its neighbors are."""
    nothing = np.zeros((LENGTH, LENGTH), int)
    return BitModel(nothing, nothing, nothing, np.full(LENGTH, -266))


def objectives(codec, codes, weight, left=NOTHING, up=NOTHING):
    """(n,) by the decoder and the bit model, for the blocks that codes (n, K) belong to."""
    errors = np.square(np.clip(codec.decoders[0].predict_on_batch(np.float32(codes)), 0, 1) - BLOCKS).sum((1, 2, 3))
    return errors + weight * codec.bit_models[0].costs(2 * codes.astype(np.int8) - 1, left, up)


@pytest.fixture(scope="module")
def linear():
    return codec_of(Linear(np.random.default_rng(1), 0.003), random_model(LENGTH, 3))


STARTS = np.random.default_rng(2).integers(0, 2, (COUNT, LENGTH)).astype(np.uint8)


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.3])
def test_no_single_turn_is_better(linear, weight):
    codes = search_codes(linear, 0, BLOCKS, STARTS, weight, NOTHING, NOTHING)
    reached = objectives(linear, codes, weight)
    assert (reached <= objectives(linear, STARTS, weight) + 1e-4).all()
    for k in range(LENGTH):
        turned = codes.copy()
        turned[:, k] = 1 - turned[:, k]
        assert (objectives(linear, turned, weight) >= reached - 1e-3).all()


def test_close_to_the_best_of_all_codes(linear):
    every = np.stack([objectives(linear, np.repeat(code[None], COUNT, 0), 0.05) for code in EVERY])
    first = objectives(linear, STARTS, 0.05)
    reached = objectives(linear, search_codes(linear, 0, BLOCKS, STARTS, 0.05, NOTHING, NOTHING), 0.05)
    assert (reached >= every.min(0) - 1e-4).all()
    assert (reached - every.min(0)).mean() < 0.1 * (first - every.min(0)).mean()


def test_never_worse_where_the_decoder_is_not_linear(tmp_path):
    """Convolutions behind an L2 normalization; the decoder itself has the last word."""
    codec = save_codec(tmp_path / "codec.npz", deblocking=False, lengths=(LENGTH,))
    left, up = np.random.default_rng(3).integers(-1, 2, (2, COUNT, LENGTH)).astype(np.int8)
    for weight in (0.0, 0.5):
        codes = search_codes(codec, 0, BLOCKS, STARTS, weight, left, up)
        first, last = (objectives(codec, each, weight, left, up) for each in (STARTS, codes))
        assert (last <= first * (1 + 1e-5)).all() and last.mean() < 0.999 * first.mean()


def test_rate_lowers_the_bits(linear):
    """A model to which ones are dear: the more a bit counts, the fewer ones there are."""
    codec = replace(linear, bit_models=[likes_zeros()])
    ones = [int(search_codes(codec, 0, BLOCKS, STARTS, w, NOTHING, NOTHING).sum()) for w in (0, 0.001, 0.004, 3.0)]
    assert ones[0] > ones[1] > ones[2] > ones[3] == 0


def test_neighbors_say_what_is_cheap(linear):
    """A bit that equals the left block's is nearly free; at a high price codes become their left neighbors'."""
    nothing = np.zeros((LENGTH, LENGTH), int)
    same = BitModel(nothing, 400 * np.eye(LENGTH, dtype=int), nothing, nothing[0])
    left = np.random.default_rng(4).choice(np.int8([-1, 1]), (COUNT, LENGTH))
    codes = search_codes(replace(linear, bit_models=[same]), 0, BLOCKS, STARTS, 300.0, left, NOTHING)
    np.testing.assert_array_equal(codes, left > 0)


def test_later_bits_count():
    """The first bit adds nothing to the image; it is set only where it makes the others, which are, cheap."""
    decoder = Linear(np.random.default_rng(1), 0.0)
    decoder.added[1:] = np.random.default_rng(5).normal(size=(LENGTH - 1, 3072)) / 8
    weights = np.zeros((LENGTH, LENGTH), int)
    weights[1:, 0] = 200
    bias = np.full(LENGTH, -100)
    codec = codec_of(decoder, BitModel(weights, np.zeros_like(weights), np.zeros_like(weights), bias))
    codes = np.zeros((COUNT, LENGTH), np.uint8)
    codes[::2, 1:] = 1
    blocks = np.clip(decoder.predict_on_batch(np.float32(codes)), 0, 1)
    outputs = search_codes(codec, 0, blocks, codes, 0.05, NOTHING, NOTHING)
    np.testing.assert_array_equal(outputs[:, 0], codes[:, 1])
    np.testing.assert_array_equal(outputs[:, 1:], codes[:, 1:])


def test_a_result_is_the_blocks_own(linear):
    """Up to the bits at which the decoder is taken to be linear, the other blocks do not matter."""
    whole = search_codes(linear, 0, BLOCKS, STARTS, 0.05, NOTHING, NOTHING)
    part = search_codes(linear, 0, BLOCKS[:7], STARTS[:7], 0.05, NOTHING[:7], NOTHING[:7])
    np.testing.assert_array_equal(part, whole[:7])
