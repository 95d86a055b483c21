"""The versions of an image's blocks: their costs, their errors, and their places."""

from dataclasses import replace

import numpy as np
import pytest

from neural_compression.encoder import mode_decision
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
