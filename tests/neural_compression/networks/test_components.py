"""Networks of principal components: against scikit-learn, the definition of a quantizer, and files that come back."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from neural_compression import codec
from neural_compression.config import PRESETS
from neural_compression.data import read, read_photographs, training_blocks
from neural_compression.evaluate import evaluate
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
    """The eigenvectors of the same blocks are computed once, as that takes most of the time; fewer are the first."""
    compute, known = program._principal, {}

    def principal(flat, count):
        blocks = flat.tobytes()
        if blocks not in known:
            known[blocks] = compute(flat, COUNT)
        return Components(known[blocks].mean, known[blocks].basis[:, :count])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "_principal", principal)
        yield


@pytest.fixture(scope="module")
def networks(blocks):
    return fitted(blocks, COUNT, LENGTHS)


def test_components_are_those_of_scikit_learn(blocks, networks):
    oracle = PCA(COUNT, svd_solver="full").fit(blocks.reshape(len(blocks), -1) / 255)
    basis, mean = networks[0].decoder.get_layer("pixels").get_weights()
    np.testing.assert_allclose(mean, oracle.mean_, atol=1e-6)
    np.testing.assert_allclose(np.abs(basis @ oracle.components_.T), np.eye(COUNT), atol=2e-3)
    assert all(network.decoder.get_layer("pixels") is networks[0].decoder.get_layer("pixels") for network in networks)


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
def run(tmp_path_factory, one_classical_codec):
    folder = train(replace(CONFIG, runs_dir=tmp_path_factory.mktemp("runs")))
    evaluate(folder)
    return folder


def test_codec_in_a_file_has_the_components_once(run):
    trained = load(run / "seed0" / CODEC)
    assert sum(array.size >= 3072 * COUNT for array in trained.arrays.values()) == 1
    assert [model.neighbor_bits for model in trained.bit_models] == list(LENGTHS)  # short codes count as a whole
    image = read_photographs(None, 0.3)[1]
    for settings in (
        {"target_psnr": 17.0},
        {"network": 1, "mode": "publication"},
        {"target_bpp": 0.02, "optimize": "code"},
    ):
        data, encoded = codec.encode(trained, image, **settings)
        np.testing.assert_array_equal(codec.decode(trained, data), encoded.reconstruction)


def test_run_is_evaluated(run):
    text = (run / "report.md").read_text()
    assert "60 bits for each block" in text and (run / "figures/loss.png").exists()
    assert not list(run.glob("seed0/bits*"))  # nothing that needs passes but the deblocking network


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
