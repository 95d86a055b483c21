"""Networks of principal components: against scikit-learn, the definition of a quantizer, and files that come back."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from neural_compression import codec
from neural_compression.config import PRESETS
from neural_compression.data import read, read_photographs, training_blocks
from neural_compression.networks import components as program
from neural_compression.networks.codec_file import CODEC, load
from neural_compression.networks.components import Components, fitted, levels_of, thresholds_of
from neural_compression.networks.decode import decode_blocks, encode_blocks
from neural_compression.train import train

COUNT, LENGTHS = 12, (20, 60)
CONFIG = replace(PRESETS["smoke"][1], name="run", components=COUNT, code_lengths=LENGTHS)


@pytest.fixture(scope="module")
def blocks():
    """Those that a run trains on."""
    return training_blocks(read(CONFIG).training)


@pytest.fixture(scope="module", autouse=True)
def _components_once():
    """By a decomposition of the few blocks themselves, as that of 3072 × 3072 covariances takes seconds."""

    @functools.cache
    def compute(flat):
        blocks = np.frombuffer(flat, "uint8").reshape(-1, 3072) / 255
        return blocks.mean(0), np.linalg.svd(blocks - blocks.mean(0), full_matrices=False)[2]

    def principal(flat, count):
        mean, rows = compute(flat.tobytes())
        return Components(mean.astype("float32"), rows[:count].T.astype("float32"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "_principal", principal)
        yield


PRINCIPAL = program._principal


def test_components_are_those_of_scikit_learn(monkeypatch):
    """Of blocks with 48 samples and falling variances, 64 at once."""
    random = np.random.default_rng(0)
    values = random.normal(size=(300, 48)) * np.geomspace(60, 1, 48) @ np.linalg.qr(random.normal(size=(48, 48)))[0]
    flat = np.clip(np.rint(128 + values), 0, 255).astype(np.uint8)
    monkeypatch.setattr(program, "_SAMPLES", 48)
    monkeypatch.setattr(program, "_AT_ONCE", 64)
    components, oracle = PRINCIPAL(flat, 5), PCA(5, svd_solver="full").fit(flat / 255)
    np.testing.assert_allclose(components.mean, oracle.mean_, atol=1e-6)
    assert components.basis.shape == (48, 5) and components.basis.dtype == components.mean.dtype == np.float32
    np.testing.assert_allclose(np.abs(oracle.components_ @ components.basis), np.eye(5), atol=1e-3)
    expected = (flat / 255 - components.mean) @ components.basis
    np.testing.assert_allclose(program._coefficients(flat, components), expected, atol=1e-5)


@pytest.fixture(scope="module")
def networks(blocks):
    return fitted(blocks, COUNT, LENGTHS)


def test_networks_share_the_components(blocks, networks):
    """Coefficients of the encoder are those that the decoder undoes."""
    flat = blocks.reshape(len(blocks), -1) / np.float32(255)
    for network in networks:
        assert network.encoder.get_layer("components") is networks[0].encoder.get_layer("components")
        assert network.decoder.get_layer("pixels") is networks[0].decoder.get_layer("pixels")
    basis, mean = networks[0].decoder.get_layer("pixels").get_weights()
    np.testing.assert_allclose(mean, flat.mean(0), atol=1e-5)
    np.testing.assert_allclose(basis @ basis.T, np.eye(COUNT), atol=1e-5)
    coefficients = networks[0].encoder.get_layer("components")(flat[:9])
    np.testing.assert_allclose(coefficients, (flat[:9] - mean) @ basis.T, atol=1e-4)


def test_thresholds_by_hand():
    """Uniform in ±10 and in ±3: twelve thresholds are five on each side of the one, and one of the other."""
    grid = np.linspace(-1, 1, 100_001)
    which, thresholds, step = thresholds_of(np.stack([10 * grid, 3 * grid], axis=1), 12)
    assert which.tolist() == [0] * 10 + [1] * 2
    assert step == pytest.approx(9.96 / 4.7, rel=1e-4)  # with a larger one, the fifth would be beyond all but 0.2 %
    expected = [s * (i + 0.7) * step for i in range(5) for s in (-1, 1)] + [-0.7 * step, 0.7 * step]
    np.testing.assert_allclose(thresholds, expected, rtol=1e-6)


def test_bits_say_what_is_beyond_thresholds(blocks, networks):
    flat = blocks.reshape(len(blocks), -1) / 255
    basis, mean = networks[1].decoder.get_layer("pixels").get_weights()
    coefficients = (flat - mean) @ basis.T
    which, thresholds, _ = thresholds_of(coefficients, LENGTHS[1])
    expected = np.sign(thresholds) * coefficients[:, which] > np.abs(thresholds)
    bits = encode_blocks(networks[1].encoder, blocks)
    # A step, which is 1 / 0.7 of the first threshold, changes a logit by 64.
    kernel, bias = networks[1].encoder.get_layer("bits").get_weights()
    slopes = kernel[which, np.arange(LENGTHS[1])]
    np.testing.assert_allclose(slopes, np.sign(thresholds) * 64 * 0.7 / np.abs(thresholds[0]), rtol=1e-5)
    np.testing.assert_allclose(bias, -np.abs(slopes * thresholds), rtol=1e-5)
    assert (bits == expected).mean() > 0.9999  # a coefficient may lie on a threshold, up to rounding
    assert bits.mean() < 0.35


def test_decoder_gives_the_mean_of_blocks_with_the_same_bits_of_a_component(blocks, networks):
    """The least squared error that a quantizer with these cells can have."""
    for length, network in zip(LENGTHS, networks):
        codes = encode_blocks(network.encoder, blocks)
        basis, mean = network.decoder.get_layer("pixels").get_weights()
        coefficients = (blocks.reshape(len(blocks), -1) / np.float32(255) - mean) @ basis.T
        levels, zero = network.decoder.get_layer("levels").get_weights()
        decoded = codes @ levels + zero
        own = levels != 0
        for component in range(COUNT):
            bits = codes[:, own[:, component]]
            for cell in np.unique(bits, axis=0):
                same = (bits == cell).all(axis=1)
                assert decoded[same, component] == pytest.approx(coefficients[same, component].mean(), abs=2e-3)
        assert length == len(levels) and (own.sum(axis=1) <= 1).all()


def test_longer_codes_and_more_components_are_better(blocks, networks):
    def error(network):
        return np.square(
            np.float32(decode_blocks(network.decoder, encode_blocks(network.encoder, blocks))) - blocks
        ).mean()

    assert error(networks[1]) < 0.8 * error(networks[0])
    assert error(fitted(blocks, 3, (60,))[0]) > 1.1 * error(networks[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(replace(CONFIG, runs_dir=tmp_path_factory.mktemp("runs"), deblocking_epochs=0))


def test_codec_in_a_file_has_the_components_once(run):
    trained = load(run / "seed0" / CODEC)
    assert sum(array.size >= 3072 * COUNT for array in trained.arrays.values()) == 1
    assert [model.neighbor_bits for model in trained.bit_models] == list(LENGTHS)  # short codes count as a whole
    assert not list(run.glob("seed0/*/log.csv"))  # nothing that needs passes
    image = read_photographs(None, 0.3)[1]
    for settings in (
        {"target_psnr": 17.0},
        {"network": 1, "mode": "publication"},
        {"target_bpp": 0.02, "optimize": "code"},
    ):
        data, encoded = codec.encode(trained, image, **settings)
        np.testing.assert_array_equal(codec.decode(trained, data), encoded.reconstruction)


def test_what_cannot_be_fitted_is_named(blocks):
    with pytest.raises(ValueError, match="12 principal components need more than 12 blocks, got 12. Add"):
        fitted(blocks[:12], COUNT, LENGTHS)
    with pytest.raises(ValueError, match="The blocks are too much alike for codes of 20 bits. Lower --code-lengths"):
        thresholds_of(np.zeros((50, 4)), 20)
    with pytest.raises(ValueError, match="components must be zero or more, got -1"):
        replace(PRESETS["smoke"][1], components=-1)


def test_beyond_the_last_cell_there_may_be_no_block():
    """A cell that no block is in has its inner end, so levels are finite."""
    added, zero = levels_of(np.array([[0.0], [0.5], [3.0]]), np.zeros(4, int), np.array([-1.0, 1.0, -2.0, 2.0]))
    # Cells below -2, to -1, to 1, to 2, and above: means -2 and -1 for want of blocks, 0.25, 1 likewise, 3.
    np.testing.assert_allclose(added, [-1.25, 0.75, -1, 2])
    np.testing.assert_allclose(zero, [0.25])
