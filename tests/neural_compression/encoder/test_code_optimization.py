"""Code optimization, on networks with random weights whose decoders still answer to every bit."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from neural_compression.bitstream.bit_model import BitModel
from neural_compression.config import PAPER
from neural_compression.encoder import code_optimization
from neural_compression.encoder.code_optimization import logit_search, optimize_by_encoder, optimize_codes
from neural_compression.model import build_autoencoder
from neural_compression.networks.codec_file import TrainedCodec
from tests.helpers import value_and_gradients
from tests.neural_compression.bitstream.synthetic_codes import random_model
from tests.neural_compression.small_codec import save_codec, set_weights_of

LENGTHS = (8, 16)
BATCH = 16


def likes_zeros(length):
    """Every bit is a 0 with 4032 / 4096 (logit -266 / 64), whatever its neighbors are."""
    nothing = np.zeros((length, length), int)
    return BitModel(nothing, nothing, nothing, np.full(length, -266))


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


def own_blocks(codec, network, number, turned):
    """Codes, the blocks that they decode to, and soft codes that have `turned` bits of each wrong."""
    generator = np.random.default_rng(1)
    length = LENGTHS[network]
    codes = generator.integers(0, 2, (number, length))
    codes[:, 0] = 1  # the code of only zeros has no direction
    starts = codes.copy()
    for row in starts:
        wrong = 1 + generator.permutation(length - 1)[:turned]
        row[wrong] = 1 - row[wrong]
    blocks = codec.decoders[network].predict(np.float32(codes), verbose=0)
    return codes.astype(np.uint8), blocks, np.float32(0.2 + 0.6 * starts)


def all_weights(codec):
    return [array for n in (*codec.encoders, *codec.decoders) for array in n.get_weights()]


def test_finds_the_code_of_a_decoded_block(codec):
    codes, blocks, starts = own_blocks(codec, 1, 20, 2)
    first = decoded_errors(codec, 1, blocks, starts > 0.5)
    outputs, errors = optimize_codes(codec, 1, blocks, starts, steps=100, batch_size=BATCH)
    assert first.min() > 1e-3
    assert (errors < 1e-6 * first).mean() >= 0.9
    assert (outputs == codes).all(1).mean() >= 0.9


@pytest.mark.parametrize("network", [0, 1])
@pytest.mark.parametrize("rate_weight", [0, 0.5])
def test_never_worse_and_true_to_what_it_says(codec, blocks, network, rate_weight):
    """A huge learning rate throws codes about; what is returned is measured by the decoder and by the integer model."""
    starts, length = encoded(codec, network, blocks), LENGTHS[network]
    left, up = np.random.default_rng(2).integers(-1, 2, (2, len(blocks), length)).astype(np.int8)
    options = {"rate_weight": rate_weight, "left": left, "up": up, "batch_size": BATCH}

    def objectives(codes):
        bits = codec.bit_models[network].costs(2 * codes.astype(np.int8) - 1, left, up)
        return decoded_errors(codec, network, blocks, codes) + rate_weight * bits

    first = objectives((starts > 0.5).astype(np.uint8))
    for learning_rate in (0.1, 30):
        codes, errors = optimize_codes(codec, network, blocks, starts, steps=15, learning_rate=learning_rate, **options)
        assert codes.dtype == np.uint8 and codes.shape == starts.shape and codes.max() <= 1
        np.testing.assert_allclose(errors, decoded_errors(codec, network, blocks, codes), rtol=1e-5)
        assert (objectives(codes) <= first * (1 + 1e-6)).all()
    assert objectives(codes).mean() < 0.999 * first.mean()


def test_no_steps_return_the_encoders_bits(codec, blocks):
    starts = encoded(codec, 0, blocks)
    starts[0, :4] = 0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0, 1
    codes, errors = optimize_codes(codec, 0, blocks, starts, steps=0, batch_size=BATCH)
    np.testing.assert_array_equal(codes, starts > 0.5)
    np.testing.assert_allclose(errors, decoded_errors(codec, 0, blocks, codes), rtol=1e-5)


def test_close_to_the_best_of_all_codes(codec, blocks):
    """With K = 8 there are 256 codes to try; on average the search reaches at least half of what the best ones gain."""
    every = (np.arange(256)[:, None] >> np.arange(8)) & 1
    decoded = codec.decoders[0].predict(np.float32(every), verbose=0).reshape(256, -1).astype(np.float64)
    errors = np.square(decoded[None] - blocks.reshape(len(blocks), 1, -1)).sum(2)
    starts = encoded(codec, 0, blocks)
    first = decoded_errors(codec, 0, blocks, starts > 0.5)
    _, reached = optimize_codes(codec, 0, blocks, starts, steps=100, batch_size=BATCH)
    assert (reached >= errors.min(1) * (1 - 1e-5)).all()
    assert (reached - errors.min(1)).mean() < 0.5 * (first - errors.min(1)).mean()


def test_rate_lowers_the_bits(codec, blocks):
    """A model to which ones are dear: the more a bit counts, the fewer ones there are."""
    codec = replace(codec, bit_models=[likes_zeros(length) for length in LENGTHS])
    starts = encoded(codec, 1, blocks)
    ones, bits = [], []
    for rate_weight in (0, 3.0, 300.0):
        codes, _ = optimize_codes(codec, 1, blocks, starts, rate_weight=rate_weight, batch_size=BATCH)
        nothing = np.zeros(codes.shape, np.int8)
        ones.append(codes.sum())
        bits.append(codec.bit_models[1].costs(2 * codes.astype(np.int8) - 1, nothing, nothing).sum())
    assert ones[0] > ones[1] > ones[2] and bits[0] > bits[1] > bits[2]
    assert ones[2] <= 0.1 * ones[0]


def test_neighbors_say_what_is_cheap(codec, blocks):
    """A bit that equals the left block's is nearly free; at a high price codes become their left neighbors'."""
    nothing = np.zeros((16, 16), int)
    same = BitModel(nothing, 400 * np.eye(16, dtype=int), nothing, nothing[0])
    codec = replace(codec, bit_models=[likes_zeros(8), same])
    left = np.random.default_rng(4).choice(np.int8([-1, 1]), (len(blocks), 16))
    codes, _ = optimize_codes(
        codec, 1, blocks, encoded(codec, 1, blocks), rate_weight=300.0, left=left, batch_size=BATCH
    )
    assert (codes == (left > 0)).mean() > 0.99


@pytest.mark.parametrize("normalization", ["l2", "batch"])
def test_networks_stay_as_they_are(codec, blocks, normalization):
    codec = codec if normalization == "l2" else random_codec(normalization)
    before = all_weights(codec)
    optimize_codes(codec, 1, blocks, encoded(codec, 1, blocks), steps=3, rate_weight=0.1, batch_size=BATCH)
    codes, errors = optimize_by_encoder(codec, 1, blocks[:2], steps=3, learning_rate=0.1)
    np.testing.assert_allclose(errors, decoded_errors(codec, 1, blocks[:2], codes), rtol=1e-5)
    assert all(n.trainable for n in (*codec.encoders, *codec.decoders))
    for old, new in zip(before, all_weights(codec), strict=True):
        np.testing.assert_array_equal(old, new)


def test_new_weights_of_a_network_count(codec, blocks):
    starts, weights = encoded(codec, 0, blocks), codec.decoders[0].get_weights()
    optimize_codes(codec, 0, blocks, starts, steps=1, batch_size=BATCH)
    codec.decoders[0].set_weights([-weight for weight in weights])
    try:
        codes, errors = optimize_codes(codec, 0, blocks, starts, steps=1, batch_size=BATCH)
        np.testing.assert_allclose(errors, decoded_errors(codec, 0, blocks, codes), rtol=1e-5)
    finally:
        codec.decoders[0].set_weights(weights)


def test_first_logits_by_hand():
    """log(p / (1 - p)), at most 3.9 from zero; only what is above a half is above zero."""
    above = np.nextafter(np.float32(0.5), np.float32(1))
    codes = np.array([[0.2, 0.9, 0.0, 1.0, 0.5, above]], "float32")
    logits = code_optimization._first_logits(codes)
    np.testing.assert_allclose(logits, [[-np.log(4), np.log(9), -3.9, 3.9, 0, 1e-6]], rtol=1e-4)
    assert logits.dtype == np.float32 and (logits[0, 4] <= 0) and 1 / (1 + np.exp(-logits[0, 5])) > 0.5


def test_first_step_moves_each_logit_by_the_learning_rate(codec, blocks):
    """So Adam does, whatever the gradients are; that of an encoder is fine-tuned with the rate of its training."""
    starts = np.random.default_rng(8).choice(np.float32([0.4, 0.6]), (BATCH, 16))
    optimize_codes(codec, 1, blocks[:BATCH], starts, steps=1, batch_size=BATCH)
    logits = keras.ops.convert_to_numpy(logit_search(codec.decoders[1], BATCH, False).source.logits)
    moved = np.abs(logits - np.log(starts / (1 - starts)))
    assert (moved > 1e-3).mean() > 0.5
    np.testing.assert_allclose(moved[moved > 1e-3], 0.1, rtol=1e-2)
    assert optimize_by_encoder.__kwdefaults__["learning_rate"] == PAPER.learning_rate


def test_a_result_is_the_blocks_own(codec, blocks):
    """Neither earlier calls, nor the other blocks, nor the place in the batch matter."""
    starts, options = encoded(codec, 1, blocks), {"steps": 30, "rate_weight": 0.1, "batch_size": BATCH}
    codes, errors = optimize_codes(codec, 1, blocks, starts, **options)
    again, same = optimize_codes(codec, 1, blocks, starts, **options)
    np.testing.assert_array_equal(codes, again)
    np.testing.assert_array_equal(errors, same)
    order = np.random.default_rng(5).permutation(len(blocks))[:7]
    part, _ = optimize_codes(codec, 1, blocks[order], starts[order], **options)
    np.testing.assert_array_equal(part, codes[order])


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


def test_bits_are_the_coders(codec):
    """Also where logits are beyond the table."""
    model = random_model(16, 7, scale=150)
    own, left, up = np.random.default_rng(6).choice(np.int8([-1, 1]), (3, BATCH, 16))
    left[::2] = 0
    search = logit_search(codec.decoders[1], BATCH, True)
    search.set_rate(1.0, model, left, up)
    rates = keras.ops.convert_to_numpy(search.rates(keras.ops.convert_to_tensor(np.float32(own > 0))))
    np.testing.assert_allclose(rates, model.costs(own, left, up), rtol=1e-5)


def test_gradient_of_the_rate_is_what_the_bits_cost(codec):
    """Of Σ c·(-log2 p) + (1 - c)·(-log2 (1 - p)) by all codes c, which p depend on as well, by differences in NumPy."""
    model = random_model(16, 9, scale=20)
    own, left, up = np.random.default_rng(7).choice(np.int8([-1, 1]), (3, BATCH, 16))
    search = logit_search(codec.decoders[1], BATCH, True)
    search.set_rate(1.0, model, left, up)

    def bits(codes):
        units = model.bias + left @ model.left.T.astype(float) + up @ model.up.T + (2 * codes - 1) @ model.weights.T
        p = 1 / (1 + np.exp(-units / 64))
        return -(codes * np.log2(p) + (1 - codes) * np.log2(1 - p)).sum()

    codes = (own > 0).astype(float)
    variable = keras.Variable(codes.astype("float32"))
    _, (gradient,) = value_and_gradients(lambda: keras.ops.sum(search.rates(variable.value)), [variable])
    for n, k in np.ndindex(3, 16):
        step = np.zeros_like(codes)
        step[n, k] = 1e-4
        assert gradient[n, k] == pytest.approx((bits(codes + step) - bits(codes - step)) / 2e-4, rel=1e-3, abs=1e-4)


def test_no_blocks(codec, blocks):
    for codes, errors in (
        optimize_codes(codec, 0, blocks[:0], np.zeros((0, 8), "float32"), batch_size=BATCH),
        optimize_by_encoder(codec, 0, blocks[:0], steps=1),
    ):
        assert codes.shape == (0, 8) and codes.dtype == np.uint8 and errors.shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": 2}, "network must be from 0 to 1, as the codec has them, got 2"),
        ({"blocks": np.zeros((2, 32, 32, 3), "uint8")}, r"got \(2, 32, 32, 3\) uint8; cut images .* divide by 255"),
        ({"blocks": np.zeros((2, 32, 32), "float32")}, r"\(N, 32, 32, 3\) float32, got \(2, 32, 32\) float32"),
        ({"blocks": np.full((2, 32, 32, 3), 9, "float32")}, r"blocks must be in \[0, 1\], got 9.0 to 9.0; divide"),
        ({"blocks": np.full((2, 32, 32, 3), np.nan, "float32")}, r"blocks must be in \[0, 1\], got nan"),
        ({"codes": np.zeros((2, 16), "float32")}, r"codes must be \(2, 8\) float32, got \(2, 16\) float32; pass"),
        ({"codes": np.zeros((2, 8), "uint8")}, r"codes must be \(2, 8\) float32, got \(2, 8\) uint8"),
        ({"codes": np.full((2, 8), -1, "float32")}, r"codes must be in \[0, 1\], got -1.0 to -1.0; pass"),
        ({"steps": -1}, "steps must be from 0 on and learning_rate above 0, got -1 and 0.1"),
        ({"learning_rate": 0.0}, "steps must be from 0 on and learning_rate above 0, got 5 and 0.0"),
        ({"rate_weight": -1.0}, "rate_weight must be a number from 0 on .* got -1.0 and 128"),
        ({"batch_size": 0}, "batch_size at least 1, got 0.0 and 0"),
        ({"left": np.zeros((2, 16), "int8")}, r"left must be \(2, 8\) of -1, 0 and 1, got \(2, 16\) of int8; take"),
        ({"up": np.full((2, 8), 2)}, r"up must be \(2, 8\) of -1, 0 and 1, got \(2, 8\) of int64"),
    ],
)
def test_bad_input_is_named(codec, blocks, change, message):
    good = {"network": 0, "blocks": blocks[:2], "codes": np.zeros((2, 8), "float32"), "steps": 5, "learning_rate": 0.1}
    with pytest.raises(ValueError, match=message):
        optimize_codes(codec, **(good | change))


def test_bad_input_of_the_encoder_way_is_named(codec, blocks):
    with pytest.raises(ValueError, match="network must be from 0 to 1"):
        optimize_by_encoder(codec, -1, blocks, steps=1)
    with pytest.raises(ValueError, match="steps must be from 0 on"):
        optimize_by_encoder(codec, 0, blocks, steps=-1)
