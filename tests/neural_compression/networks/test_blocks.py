"""Blocks of images."""

import numpy as np
import pytest

from neural_compression.networks.blocks import to_blocks, to_image

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(32, 32), (1, 1), (33, 64), (100, 70)])
def test_blocks_go_back_to_the_image(size):
    image = RANDOM.integers(0, 256, (*size, 3), dtype="uint8")
    blocks = to_blocks(image)
    assert blocks.shape == (-(-size[0] // 32), -(-size[1] // 32), 32, 32, 3)
    np.testing.assert_array_equal(to_image(blocks, *size), image)


def test_blocks_are_in_raster_order_and_go_on_with_the_edge():
    image = np.arange(40, dtype="uint8")[:, None, None] + np.zeros((40, 33, 3), "uint8")
    image[:, 32] = 200
    blocks = to_blocks(image)
    np.testing.assert_array_equal(blocks[1, 0, :8, 0, 0], np.arange(32, 40))
    assert np.all(blocks[1, 0, 8:, 0] == 39) and np.all(blocks[0, 1] == 200)
