"""What each stage trains, on what, and for how long; what is frozen in which pass; and the pairs for deblocking."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from neural_compression.config import PRESETS, Trial
from neural_compression.model import build_autoencoder, build_deblocking
from neural_compression.networks import training_stages
from neural_compression.networks.training_stages import (
    FreezableAdam,
    Passes,
    block_psnr,
    deblocking_pairs,
    fit,
    fit_bit_models,
    reaching,
    train_network,
)
from tests.neural_compression import mean_codec
from tests.neural_compression.mean_codec import LENGTHS, Expected, photograph

BLOCKS = np.random.default_rng(0).random((8, 32, 32, 3), dtype="float32")
BASELINE = PRESETS["baseline"][1]


@pytest.fixture(scope="module")
def networks():
    return mean_codec.networks()


@pytest.fixture
def fitted(monkeypatch):
    """The calls of `training.fit`, which trains nothing."""
    calls = []

    def record(model, batches, **options):
        calls.append(SimpleNamespace(model=model, batches=batches, **options))

    monkeypatch.setattr(training_stages.training, "fit", record)
    return calls


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, [("", "alternating", 40)]),
        ({"alternate": False}, [("", "joint", 20)]),
        ({"expert_epochs": 2}, [("", "alternating", 40), ("expert", "alternating", 4)]),
        ({"decoder_epochs": 3, "alternate": False}, [("", "joint", 20), ("decoder", "decoder", 3)]),
        (
            {"expert_epochs": 1, "decoder_epochs": 2},
            [("", "alternating", 40), ("expert", "alternating", 2), ("decoder", "decoder", 2)],
        ),
    ],
)
def test_stages_of_a_network(fitted, networks, monkeypatch, changes, expected):
    """The first learns from all blocks, the others from those for which the network reaches the target."""
    targets = []

    def first_three(model, blocks, target_psnr):
        targets.append((model, len(blocks), target_psnr))
        return blocks[:3]

    monkeypatch.setattr(training_stages, "reaching", first_three)
    config, blocks = replace(BASELINE, target_psnr=31.0, **changes), np.zeros((5, 32, 32, 3), np.uint8)
    rated = []
    monkeypatch.setattr(training_stages, "FreezableAdam", lambda rate: rated.append(rate) or FreezableAdam(rate))
    train_network(config, Trial(0), networks[0], blocks, Path("x"))
    assert [(call.folder, call.callbacks[0].kind, call.epochs) for call in fitted] == [
        (Path("x") / place, kind, epochs) for place, kind, epochs in expected
    ]
    assert all(call.callbacks[0].autoencoder is networks[0] for call in fitted)
    assert [call.model for call in fitted] == [networks[0].training_model] * len(expected)
    # Both later stages have the same blocks, those of the first stage's network, and a tenth of its rate.
    assert targets == [(networks[0], 5, 31.0)] * (len(expected) > 1)
    rates = [float(rate) for rate in rated]
    assert rates == pytest.approx([1e-3] + [1e-4] * (len(expected) - 1))
    sizes = [next(iter(call.batches(0)))[0].shape[0] for call in fitted]
    assert sizes == [5] + [3] * (len(expected) - 1)


def epoch_of(call, epoch=0):
    """The inputs and targets of all steps of an epoch."""
    steps = zip(range(call.steps_per_epoch), call.batches(epoch))
    return [np.concatenate(parts) for parts in zip(*(map(keras.ops.convert_to_numpy, pair) for _, pair in steps))]


def test_what_reaches_a_network_and_how_it_learns(fitted):
    """Every sample once in an epoch, by 255, with its own target; the rate of Adam falls to zero where it decays."""
    values = np.arange(0, 250, 25, dtype="uint8")[:, None, None, None]
    pairs = np.broadcast_to(values, (10, 128, 128, 3)), np.broadcast_to(values + 5, (10, 128, 128, 3))
    model, orders = build_deblocking(2), []
    for seed, decay in ((0, False), (1, True)):
        config = replace(BASELINE, batch_size=64, decay=decay, learning_rate=0.01)
        fit(config, Trial(seed), model, pairs, Path("x"), 3)
        call = fitted[-1]
        assert (call.steps_per_epoch, call.epochs, call.monitor) == (3, 3, None)  # as many pixels as 64 blocks: four
        inputs, targets = epoch_of(call)
        assert inputs.dtype == targets.dtype == np.float32
        np.testing.assert_allclose(np.sort(inputs[:, 0, 0, 0]) * 255, values[:, 0, 0, 0], atol=1e-4)
        np.testing.assert_allclose((targets - inputs) * 255, 5, atol=1e-4)
        orders += [inputs[:, 0, 0, 0], epoch_of(call, 1)[0][:, 0, 0, 0]]
        optimizer, rates = model.optimizer, []
        for step in (0, 3, 9):
            optimizer.iterations.assign(step)
            rates.append(float(optimizer.learning_rate))
        assert rates == pytest.approx([0.01, 0.0075, 0] if decay else [0.01] * 3)  # (1 + cos(π / 3)) / 2 = 3 / 4
        assert isinstance(optimizer, FreezableAdam) and model.loss == "mse"
    assert len({tuple(order) for order in orders}) == 4  # another one for each seed and epoch
    fit(replace(BASELINE, batch_size=4), Trial(0), model, pairs, Path("x"), 1)
    assert fitted[-1].steps_per_epoch == 10  # one at least


def weights(model):
    return [np.concatenate([w.ravel() for w in part.get_weights()]) for part in (model.encoder, model.decoder)]


def test_the_encoder_is_frozen_in_passes_of_the_decoder_alone():
    keras.utils.set_random_seed(0)
    model = build_autoencoder(16, width=2)
    model.training_model.compile(FreezableAdam(1e-2), "mse", jit_compile=False)
    passes = Passes(model, "alternating")
    for epoch in range(4):
        before = weights(model)
        model.training_model.fit(BLOCKS, BLOCKS, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[passes])
        after = weights(model)
        assert np.array_equal(before[0], after[0]) == (epoch % 2 == 1)
        assert not np.array_equal(before[1], after[1])


@pytest.mark.parametrize("kind, alone", [("joint", (0, 0, 0)), ("decoder", (1, 1, 1)), ("alternating", (0, 1, 0))])
def test_codes_are_binary_in_passes_of_the_decoder_alone(networks, kind, alone):
    """Each kind of pass has its own function of a step, made once and with the encoder as it then is."""
    encoder, layer, made = networks[0].encoder, networks[0].binarization, []
    model = SimpleNamespace(make_train_function=lambda force: made.append((force, encoder.trainable)))
    passes, functions = Passes(networks[0], kind), []
    passes.set_model(model)
    for epoch, decoder_only in enumerate(alone):
        model.train_function = object()
        passes.on_epoch_begin(epoch)
        assert (encoder.trainable, layer.actual) == (not decoder_only, decoder_only)
        functions.append(model.train_function)
    assert made == [(True, not decoder_only) for decoder_only in dict.fromkeys(alone)]
    assert [functions.index(function) for function in functions] == [
        alone.index(decoder_only) for decoder_only in alone
    ]
    passes.on_train_end()
    assert encoder.trainable and not layer.actual


def test_blocks_that_a_network_is_for(networks):
    """Those with the target PSNR or more, by NumPy; the target is exactly what one of them has."""
    image = photograph(96, 128, 3)
    blocks = image.reshape(3, 32, 4, 32, 3).swapaxes(1, 2).reshape(12, 32, 32, 3)
    psnr = 10 * np.log10(255**2 * 3072 / Expected(image).errors[1].ravel())
    target = float(np.sort(psnr)[5])
    np.testing.assert_array_equal(reaching(networks[1], blocks, target), blocks[psnr >= target])
    with pytest.raises(ValueError, match="No block of the training photographs reaches 99.0 dB with the network of 45"):
        reaching(networks[1], blocks, 99.0)
    assert block_psnr(blocks[:1], blocks[:1] ^ 1)[0] == pytest.approx(20 * np.log10(255))
    assert block_psnr(blocks[:1], blocks[:1])[0] == pytest.approx(20 * np.log10(255) + 10 * np.log10(3072))


def test_bit_models_learn_from_the_codes_of_the_training_images(networks, monkeypatch):
    """Long codes also from blocks that are 16 pixels off. In every second grid some blocks are another network's."""
    calls = []

    def record(codes, maps, number, length, *, neighbor_bits):
        calls.append((codes, maps, number, length, neighbor_bits))
        return f"model {number}"

    monkeypatch.setattr(training_stages.bit_model, "fit", record)
    images = [photograph(128, 96, 4), photograph(160, 320, 5)]
    assert fit_bit_models(networks, images) == ["model 0", "model 1", "model 2"]
    assert fit_bit_models(networks[:1], images, 128) == ["model 0"]
    assert fit_bit_models(networks[:1], images[:1]) == ["model 0"]
    assert [call[2:] for call in calls] == [
        *((n, length, None) for n, length in enumerate(LENGTHS)), (0, 3, 128), (0, 3, None)
    ]  # fmt: skip
    halves = [images[0][:64], images[0][64:]]  # of a single image
    grids = [images] * 3 + [[*images, *(image[16:, 16:] for image in images)], halves]
    for (codes, maps, number, length, _), parts in zip(calls, grids):
        assert len(codes) == len(maps) == len(parts)
        for i, part in enumerate(parts):
            oracle = Expected(part)
            expected = [[oracle.code(number, r, c) for c in range(oracle.grid[1])] for r in range(oracle.grid[0])]
            np.testing.assert_array_equal(codes[i], expected)
            assert codes[i].shape[-1] == length and maps[i].shape == oracle.grid
            others = len(networks) if parts is images else 1
            assert set(maps[i].ravel()) == ({number} if i % 2 == 0 else {number, others})
            assert i != 1 or parts is halves or 0.3 < np.mean(maps[i] == number) < 0.7


def test_pairs_for_deblocking(networks):
    """Crops of four by four blocks, each block coded by the shortest network that reaches the target."""
    images = [photograph(128, 128, 6), photograph(256, 300, 7)]  # the second: ten columns of blocks, two of them left
    decoded, originals = deblocking_pairs(networks, images, 30.0)
    corners = [(0, 0, 0), (1, 0, 0), (1, 0, 128), (1, 128, 0), (1, 128, 128)]
    assert decoded.shape == originals.shape == (5, 128, 128, 3) and decoded.dtype == originals.dtype == np.uint8
    oracles = [Expected(image) for image in images]
    versions = [oracle.reconstruction(oracle.by_psnr(30.0), added=0) for oracle in oracles]
    for crop, original, (number, top, left) in zip(decoded, originals, corners):
        place = slice(top, top + 128), slice(left, left + 128)
        np.testing.assert_array_equal(original, images[number][place])
        np.testing.assert_array_equal(crop, versions[number][place])
    with pytest.raises(ValueError, match="No photograph has 4 × 4 blocks to train the deblocking network on. Add"):
        deblocking_pairs(networks, [images[0][:96]], 30.0)


def test_pairs_for_deblocking_without_a_target(networks):
    """Each image with two of the networks, all blocks with the same."""
    image = photograph(128, 128, 8)
    decoded, originals = deblocking_pairs(networks, [image] * 6, None)
    np.testing.assert_array_equal(originals, [image] * 12)
    whole = [version.astype(np.uint8) for version in Expected(image).decoded]
    used = [next(n for n, version in enumerate(whole) if np.array_equal(version, crop)) for crop in decoded]
    assert all(first != second for first, second in zip(used[::2], used[1::2])) and set(used) == {0, 1, 2}
