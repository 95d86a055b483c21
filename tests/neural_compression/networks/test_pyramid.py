"""The closed form of the convolutions: orthonormal, undone by deconvolutions, principal; and its training."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from neural_compression import codec
from neural_compression.config import PRESETS
from neural_compression.data import read, read_photographs, scaled, training_blocks
from neural_compression.networks import pyramid
from neural_compression.networks.blocks import symmetries
from neural_compression.networks.codec_file import CODEC, load
from neural_compression.networks.decode import decode_blocks, encode_blocks
from neural_compression.networks.thresholds import thresholds_of
from neural_compression.networks.training_stages import symmetric
from neural_compression.train import train

WIDTH, LENGTHS = 3, (20, 60)
CONFIG = replace(
    PRESETS["smoke"][1],
    name="run",
    closed_form=True,
    width=WIDTH,
    code_lengths=LENGTHS,
    batch_size=16,
    epochs=3,
    learning_rate=1e-3,
    deblocking_epochs=0,
)


@pytest.fixture(scope="module")
def blocks():
    """Those that a run trains on."""
    return training_blocks(read(CONFIG).training)


@pytest.fixture(scope="module")
def fitted(blocks):
    return pyramid.fitted(blocks, WIDTH, LENGTHS)


def parts_of(network):
    return pyramid.shared((network.encoder, network.decoder))


def test_kernels_are_principal_components_of_cells(blocks):
    """The first level's by a singular value decomposition of all cells in all symmetries; of every level, orthonormal.

    In these, coefficients of the last level have no correlation.
    """
    kernels, color = pyramid.cell_components(blocks, WIDTH)
    np.testing.assert_allclose(color, blocks.reshape(-1, 3).mean(0) / 255, rtol=1e-5)
    turned = np.concatenate(symmetries(blocks))
    cells = [turned[:, y::2, x::2] / 255 - color for y in (0, 1) for x in (0, 1)]
    rows = np.concatenate(cells, -1).reshape(-1, 12)
    # Components across and along are equally strong, so variances are unique, not columns.
    variances = np.square(rows @ kernels[0].reshape(12, WIDTH)).sum(0)
    np.testing.assert_allclose(variances, np.square(np.linalg.svd(rows, compute_uv=False)[:WIDTH]), rtol=1e-4)
    assert [kernel.shape for kernel in kernels] == [(2, 2, 3, 3), *((2, 2, 3 * 2**i, 6 * 2**i) for i in range(4))]
    for kernel in kernels:
        flat = kernel.reshape(-1, kernel.shape[-1])
        np.testing.assert_allclose(flat.T @ flat, np.eye(flat.shape[1]), atol=1e-5)
    x = turned / 255 - color
    for kernel in kernels:
        x = sum(x[:, i::2, j::2] @ kernel[i, j] for i in (0, 1) for j in (0, 1))
    moments = x[:, 0, 0].T @ x[:, 0, 0]
    variances = np.diag(moments)
    assert np.all(np.diff(variances) <= 1e-3 * variances[0])
    np.testing.assert_allclose(moments / variances[0], np.diag(variances / variances[0]), atol=1e-5)


def test_deconvolutions_undo_the_convolutions(fitted):
    """Coefficients of what the synthesis makes of coefficients are the same again."""
    analysis, synthesis = parts_of(fitted.networks[0])
    coefficients = np.random.default_rng(0).normal(size=(5, 16 * WIDTH)).astype("float32")
    images = keras.ops.convert_to_numpy(synthesis(coefficients))
    np.testing.assert_allclose(analysis(images), coefficients, atol=1e-4)
    # Orthonormal, so squared errors of coefficients are those of pixels.
    color = keras.ops.convert_to_numpy(synthesis(np.zeros((1, 16 * WIDTH), "float32")))
    assert np.ptp(color, axis=(1, 2)).max() < 1e-6
    np.testing.assert_allclose(np.square(images - color).sum((1, 2, 3)), np.square(coefficients).sum(1), rtol=1e-4)


def test_a_wide_first_level_has_zeros_for_what_is_not_there(blocks):
    kernels, _ = pyramid.cell_components(blocks, 16)
    assert (
        kernels[0].shape == (2, 2, 3, 16)
        and not kernels[0][..., 12:].any()
        and kernels[0][..., :12].any((0, 1, 2)).all()
    )


def test_networks_share_their_convolutions(fitted):
    assert parts_of(fitted.networks[0]) == parts_of(fitted.networks[1])
    for network, length in zip(fitted.networks, LENGTHS):
        own = [pyramid.own_layer(part) for part in (network.encoder, network.decoder)]
        assert [layer.name for layer in own] == [f"code{length}", f"levels{length}"]


def test_bits_say_what_is_beyond_thresholds(blocks, fitted):
    coefficients = parts_of(fitted.networks[0])[0].predict(blocks / np.float32(255), verbose=0)
    cut = thresholds_of(coefficients, LENGTHS[1])
    expected = np.sign(cut.values) * coefficients[:, cut.which] > np.abs(cut.values)
    bits = encode_blocks(fitted.networks[1].encoder, blocks)
    assert (bits == expected).mean() > 0.999  # a coefficient may lie on a threshold, up to rounding
    assert bits.mean() < 0.35


def test_longer_codes_are_better(blocks, fitted):
    def error(network):
        decoded = np.float32(decode_blocks(network.decoder, encode_blocks(network.encoder, blocks)))
        return np.square(decoded - blocks).mean()

    assert error(fitted.networks[1]) < 0.8 * error(fitted.networks[0])


def test_the_loss_is_that_of_the_networks(blocks, fitted):
    """Each network has every second block; squared errors and bits follow from its parts."""
    batch, model = blocks[:12] / np.float32(255), fitted.training_model(0.1)
    outputs = [keras.ops.convert_to_numpy(x) for x in model(batch)]
    for i, network in enumerate(fitted.networks):
        own = batch[i::2]
        codes = np.rint(keras.ops.convert_to_numpy(network.encoder(own)))
        errors = np.square(keras.ops.convert_to_numpy(network.decoder(codes)) - own).sum((1, 2, 3))
        np.testing.assert_allclose(outputs[2 * i], errors, rtol=1e-4)
        expected = model.get_layer(f"expected_bits{i}")(codes)
        np.testing.assert_allclose(outputs[2 * i + 1], expected, rtol=1e-4)


def test_eighths_of_a_batch_have_the_eight_symmetries():
    image = np.arange(12, dtype="uint8").reshape(2, 2, 3)
    turned = symmetric(np.stack([image] * 8))
    expected = [np.rot90(other, i) for other in (image, image[:, ::-1]) for i in range(4)]
    assert {each.tobytes() for each in turned} == {each.tobytes() for each in expected} and len(expected) == 8


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(replace(CONFIG, runs_dir=tmp_path_factory.mktemp("runs")))


def test_training_lowers_the_loss_and_the_codec_comes_back(run, blocks, fitted):
    log = np.genfromtxt(run / "seed0/pyramid/log.csv", delimiter=",", names=True)
    assert log["loss"][-1] < log["loss"][0] and {"mse_20", "bits_20", "mse_60", "bits_60"} <= set(log.dtype.names)
    trained = load(run / "seed0" / CODEC)
    assert [model.neighbor_bits for model in trained.bit_models] == list(LENGTHS)  # short codes count as a whole
    image = scaled(read_photographs(None), 0.3)[1]
    for settings in ({"target_psnr": 17.0}, {"network": 1, "mode": "publication"}):
        data, encoded = codec.encode(trained, image, **settings)
        np.testing.assert_array_equal(codec.decode(trained, data), encoded.reconstruction)


def test_what_cannot_be_trained_is_named(blocks, tmp_path):
    with pytest.raises(ValueError, match="48 principal components need more than 48 blocks, got 48. Add"):
        pyramid.fitted(blocks[:48], WIDTH, LENGTHS)
    with pytest.raises(
        ValueError, match=r"A batch has \d+ blocks, got \d+ in all. Add photographs, or lower --batch-size"
    ):
        train(replace(CONFIG, runs_dir=tmp_path, batch_size=10_000))
