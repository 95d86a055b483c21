"""From codes to the image: batches and tiles that change nothing."""

from dataclasses import replace

import numpy as np
import pytest

from neural_compression.networks import decode
from neural_compression.networks.decode import BATCH, deblocked, decode_blocks, encode_blocks, reconstruct
from tests.neural_compression.small_codec import LENGTHS, picture


class Network:
    """Gives the first three samples of each row of a batch; remembers the batches."""

    output_shape = (None, 3)

    def __init__(self):
        self.batches = []

    def predict_on_batch(self, batch):
        self.batches.append(batch)
        return batch.reshape(len(batch), -1)[:, :3]


def test_blocks_reach_an_encoder_by_255_in_batches_of_one_size():
    blocks = np.random.default_rng(0).integers(0, 256, (3, 50, 32, 32, 3), dtype="uint8")
    network = Network()
    codes = encode_blocks(network, blocks)
    assert codes.dtype == np.uint8 and [batch.shape for batch in network.batches] == [(BATCH, 32, 32, 3)] * 2
    np.testing.assert_array_equal(codes, blocks[:, :, 0, 0] > 127)  # by 255, above a half
    given = np.concatenate(network.batches)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given[:150] * 255, blocks.reshape(-1, 32, 32, 3), atol=1e-4)
    np.testing.assert_array_equal(given[150:], np.broadcast_to(given[149], (106, 32, 32, 3)))  # the last fills up


def test_pixels_are_rounded_to_eight_bits():
    values = np.float32([[-0.1, 0.4 / 255, 0.6 / 255], [99.4 / 255, 99.6 / 255, 1.1]])

    class Decoder(Network):
        def predict_on_batch(self, batch):
            return np.broadcast_to(values[batch[:, 0].astype(int), None, None], (len(batch), 32, 32, 3))

    blocks = decode_blocks(Decoder(), np.array([[0], [1], [0]], np.uint8))
    expected = np.array([[0, 0, 1], [99, 100, 255], [0, 0, 1]])[:, None, None]
    np.testing.assert_array_equal(blocks, np.broadcast_to(expected, (3, 32, 32, 3)))


def test_the_whole_image_is_deblocked_once_its_blocks_are_decoded(codec):
    random = np.random.default_rng(1)
    networks, codes = random.integers(0, 3, (2, 3)).astype(np.uint8), random.integers(0, 2, (2, 3, 24)).astype(np.uint8)
    blocks = reconstruct(replace(codec, deblocking=None), networks, codes, 50, 90)
    image = reconstruct(codec, networks, codes, 50, 90)
    padded = np.pad(blocks, ((0, 6), (0, 6), (0, 0)), mode="edge") / np.float32(255)
    expected = np.clip(np.asarray(codec.deblocking(padded[None]))[0, :50, :90], 0, 1) * 255
    np.testing.assert_allclose(image, expected, atol=0.501)
    assert image.shape == blocks.shape == (50, 90, 3) and np.any(image != blocks)


def test_a_block_decodes_alike_among_any_others(codec):
    random = np.random.default_rng(0)
    for n, length in enumerate(LENGTHS):
        codes = random.integers(0, 2, (BATCH, length)).astype(np.uint8)
        together = decode_blocks(codec.decoders[n], codes)
        assert together.std() > 1
        for i in (0, 1, 37, 63):
            np.testing.assert_array_equal(decode_blocks(codec.decoders[n], codes[i : i + 1])[0], together[i])


@pytest.mark.parametrize("size", [(1, 1), (8, 250), (203, 141)])
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
