"""What is frozen in which pass, and the blocks that a network is for."""

import keras
import numpy as np
import pytest

from neural_compression.model import build_autoencoder
from neural_compression.networks.decode import decode_blocks, encode_blocks
from neural_compression.networks.training_stages import FreezableAdam, Passes, block_psnr, reaching

BLOCKS = np.random.default_rng(0).random((8, 32, 32, 3), dtype="float32")


def weights(model):
    return [np.concatenate([w.ravel() for w in part.get_weights()]) for part in (model.encoder, model.decoder)]


@pytest.mark.parametrize("kind, moves", [("joint", [1, 1]), ("decoder", [0, 0]), ("alternating", [1, 0])])
def test_the_encoder_is_frozen_in_passes_of_the_decoder_alone(kind, moves):
    keras.utils.set_random_seed(0)
    model = build_autoencoder(16, width=2)
    model.training_model.compile(FreezableAdam(1e-2), "mse", jit_compile=False)
    passes = Passes(model, kind)
    for epoch, encoder_moves in enumerate(moves):
        before = weights(model)
        model.training_model.fit(BLOCKS, BLOCKS, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[passes])
        after = weights(model)
        assert np.array_equal(before[0], after[0]) == (not encoder_moves)
        assert not np.array_equal(before[1], after[1])
    assert model.encoder.trainable and not model.binarization.actual


def test_blocks_that_a_network_is_for():
    model = build_autoencoder(8, width=2, binarization="straight_through")
    blocks = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype="uint8")
    mine = decode_blocks(model.decoder, encode_blocks(model.encoder, blocks[:2]))
    reached = reaching(model, np.concatenate([blocks, mine]), 20.0)
    psnr = block_psnr(reached, decode_blocks(model.decoder, encode_blocks(model.encoder, reached)))
    assert len(reached) and psnr.min() >= 20.0
    with pytest.raises(ValueError, match="No block of the training photographs reaches 99.0 dB with the network of 8"):
        reaching(model, blocks, 99.0)
    assert block_psnr(blocks[:1], blocks[:1] ^ 1)[0] == pytest.approx(20 * np.log10(255))
