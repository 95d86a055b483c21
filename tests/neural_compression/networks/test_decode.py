"""From codes to the image: batches and tiles that change nothing."""

import numpy as np
import pytest

from neural_compression.networks import decode
from neural_compression.networks.decode import BATCH, deblocked, decode_blocks
from tests.neural_compression.small_codec import LENGTHS, picture


def test_a_block_decodes_alike_among_any_others(codec):
    random = np.random.default_rng(0)
    for n, length in enumerate(LENGTHS):
        codes = random.integers(0, 2, (BATCH, length)).astype(np.uint8)
        together = decode_blocks(codec.decoders[n], codes)
        assert together.std() > 1
        for i in (0, 1, 37, 63):
            np.testing.assert_array_equal(decode_blocks(codec.decoders[n], codes[i : i + 1])[0], together[i])


@pytest.mark.parametrize("size", [(1, 1), (8, 250), (203, 141), (256, 192)])
def test_tiles_give_what_the_whole_image_gives(codec, size):
    image = picture(*size)
    whole, tiled = deblocked(codec.deblocking, image, 1024), deblocked(codec.deblocking, image, 64)
    assert whole.shape == image.shape and (size == (1, 1) or np.abs(whole.astype(int) - image).mean() > 0.5)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert np.count_nonzero(whole != tiled) <= 1e-3 * whole.size


def test_tiles_must_overlap_by_what_the_network_sees(codec, monkeypatch):
    """At 16 pixels the comparison above fails, so it sees a receptive field of more."""
    image = picture(203, 141)
    whole = deblocked(codec.deblocking, image, 1024).astype(int)
    monkeypatch.setattr(decode, "_OVERLAP", 16)
    assert np.abs(whole - deblocked(codec.deblocking, image, 64)).max() > 1


def test_whole_multiples_of_8_are_one_call_of_the_network(codec):
    image = picture(64, 96)
    expected = np.asarray(codec.deblocking(image[None] / np.float32(255)))[0]
    np.testing.assert_array_equal(deblocked(codec.deblocking, image), np.rint(255 * expected.clip(0, 1)))
