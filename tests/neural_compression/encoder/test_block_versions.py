"""The versions of an image's blocks: their costs, their errors, and their places."""

from dataclasses import replace

import numpy as np
import pytest

from neural_compression.encoder import block_versions, code_optimization, mode_decision
from neural_compression.encoder.block_versions import BlockVersions
from neural_compression.networks.blocks import to_blocks
from neural_compression.networks.decode import decode_blocks, reconstruct
from tests.neural_compression.bitstream.synthetic_codes import bits
from tests.neural_compression.small_codec import picture


def test_costs_are_those_of_the_context_model(codec):
    versions = BlockVersions.of(codec, picture(90, 130))
    costs = versions.costs(codec.bit_models, "context")
    networks = np.random.default_rng(3).integers(0, 3, (3, 5)).astype(np.uint8)
    expected = bits(codec.bit_models, versions.chosen(networks), networks)
    assert mode_decision.bits(networks, costs) == pytest.approx(expected, rel=1e-12)


def test_costs_of_differences_by_hand():
    """Codes 110 and 000 change twice in six bits, by (2 + 1/2) / (6 + 1) each; neighbors make no difference."""
    change, stay = -np.log2(2.5 / 7), -np.log2(4.5 / 7)
    codes = np.array([[[1, 1, 0], [0, 0, 0]]], np.uint8)
    versions = BlockVersions(np.zeros(0), np.zeros(0), (codes, codes[..., :2]), np.zeros(0))
    costs = versions.costs([None, None], "publication")
    assert costs.shape == (2, 2, 2, 1, 2)
    expected = np.broadcast_to([2 * change + stay, 3 * stay], (2, 2, 1, 2))
    np.testing.assert_allclose(costs[0], expected)
    change, stay = -np.log2(1.5 / 5), -np.log2(3.5 / 5)
    np.testing.assert_allclose(costs[1, 0, 1, 0], [change + stay, 2 * stay])


def test_codes_of_one_network_are_optimized_by_way_of_its_encoder(codec, monkeypatch):
    """All other versions stay. In place of the optimization all bits become 1; no more than so many blocks at once."""
    calls, image = [], picture(40, 90)

    def all_ones(codec, network, blocks, **options):
        calls.append((network, blocks, options))
        return np.ones((len(blocks), 16), np.uint8), None

    monkeypatch.setattr(code_optimization, "optimize_by_encoder", all_ones)
    monkeypatch.setattr(block_versions, "_OPTIMIZED_AT_ONCE", 4)
    before = BlockVersions.of(codec, image)
    after = before.optimized(codec, 40, 90, weight=3.0, how="encoder", networks=[1])
    assert [(network, len(blocks), options) for network, blocks, options in calls] == [
        (1, 4, {"steps": 50}), (1, 2, {"steps": 50})
    ]  # fmt: skip
    blocks = to_blocks(image).reshape(6, 32, 32, 3)
    np.testing.assert_allclose(np.concatenate([part for _, part, _ in calls]) * 255, blocks, atol=1e-3)
    assert all(after.codes[n] is before.codes[n] for n in (0, 2)) and (after.codes[1] == 1).all()
    np.testing.assert_array_equal(after.errors[[0, 2]], before.errors[[0, 2]])
    decoded = decode_blocks(codec.decoders[1], np.ones((1, 16), np.uint8))[0]
    whole = np.tile(decoded, (2, 3, 1))[:40, :90].astype(int)
    assert after.errors[1].sum() == np.square(whole - image).sum() != before.errors[1].sum()


def test_errors_count_what_is_inside_the_image(codec):
    image = picture(40, 33)
    versions = BlockVersions.of(codec, image)
    assert versions.samples.tolist() == [[3072, 96], [768, 24]]
    plain = replace(codec, deblocking=None)
    for n in range(3):
        networks = np.full((2, 2), n, np.uint8)
        decoded = reconstruct(plain, networks, versions.chosen(networks), 40, 33).astype(int)
        assert versions.errors[n].sum() == np.square(decoded - image).sum()


def test_blocks_of_an_image_come_back_to_their_places(codec):
    image = picture(70, 100)
    versions = BlockVersions.of(codec, image)
    np.testing.assert_array_equal(versions.blocks, to_blocks(image))
    networks = np.arange(12).reshape(3, 4).astype(np.uint8) % 3
    decoded = reconstruct(replace(codec, deblocking=None), networks, versions.chosen(networks), 70, 100)
    for r, c in np.ndindex(3, 4):
        n = networks[r, c]
        block = decode_blocks(codec.decoders[n], versions.codes[n][r, c][None])[0]
        inside = decoded[32 * r : 32 * r + 32, 32 * c : 32 * c + 32]
        np.testing.assert_array_equal(inside, block[: inside.shape[0], : inside.shape[1]])
