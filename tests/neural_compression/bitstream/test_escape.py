"""Escape blocks come back as they were, take the bits that were estimated, and no damage does more than a sentence."""

import time

import numpy as np
import pytest

from neural_compression.bitstream.escape import PALETTE, Blocks, Coding, decode, padded

SHAPE = (3, 4)


def some_blocks(number, seed, density=0.1):
    """Of all kinds, in turn; levels of any size, palettes that share colors."""
    random, blocks = np.random.default_rng(seed), Blocks.empty(number)
    known = random.integers(0, 2**24, 20)
    for i in range(number):
        blocks.kinds[i] = (i + seed) % 4
        if blocks.kinds[i] == PALETTE:
            blocks.numbers[i] = count = int(random.integers(1, 17))
            blocks.palettes[i, :count] = random.permutation(known)[:count]
            rows = random.integers(0, count, (8, 8))
            blocks.indices[i] = rows.repeat(4, 0).repeat(4, 1)
            blocks.indices[i, random.random((32, 32)) < 0.1] = count - 1
        else:
            levels = random.geometric(0.3, (3, 32, 32)) * random.choice([-1, 1], (3, 32, 32))
            levels[random.random((3, 32, 32)) < 0.01] *= 1000
            blocks.levels[i] = levels * (random.random((3, 32, 32)) < density)
    return blocks


def streamed(blocks, escaped):
    coding = Coding(escaped.shape)
    for i, (row, column) in enumerate(np.argwhere(escaped).tolist()):
        coding.write(blocks, i, row, column)
    return padded(coding.written(), escaped)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("density", [0.0, 0.02, 1.0])
def test_blocks_come_back(seed, density):
    """Whichever blocks of the image they are; writing changes none of them."""
    random = np.random.default_rng(seed)
    escaped = random.random(SHAPE) < (1.0 if seed % 2 else 0.5)
    escaped[0, 0] = True
    blocks = some_blocks(escaped.sum(), seed, density)
    expected = some_blocks(escaped.sum(), seed, density)
    data = streamed(blocks, escaped)
    ((places, again),) = decode(data, escaped)
    np.testing.assert_array_equal(places, np.argwhere(escaped))
    for name in ("kinds", "levels", "palettes", "numbers", "indices"):
        np.testing.assert_array_equal(getattr(again, name), getattr(expected, name), err_msg=name)
        np.testing.assert_array_equal(getattr(blocks, name), getattr(expected, name), err_msg=name)


def test_a_stream_takes_the_bits_that_are_estimated():
    escaped, blocks = np.ones(SHAPE, bool), some_blocks(12, 3, 0.3)
    coding, bits = Coding(SHAPE), 0.0
    for i, (row, column) in enumerate(np.ndindex(SHAPE)):
        alone = coding.estimate(blocks, i, row, column, learn=False)
        assert alone == pytest.approx(coding.estimate(blocks, i, row, column, learn=False))  # nothing is learned
        bits += coding.estimate(blocks, i, row, column, learn=True)
    size = 8 * len(streamed(blocks, escaped))
    assert bits > 10_000 and bits - 8 <= size <= bits * 1.003 + 16


def test_blocks_of_one_color_take_next_to_nothing():
    escaped, blocks = np.ones((40, 50), bool), Blocks.empty(2000)
    blocks.kinds[:], blocks.numbers[:], blocks.palettes[:, 0] = PALETTE, 1, 0xFF8000
    data = streamed(blocks, escaped)
    assert len(data) <= 60
    parts = [again.palettes[:, 0] for _, again in decode(data, escaped)]
    assert len(parts) == 32 and (np.concatenate(parts) == 0xFF8000).all()


def test_bytes_stay_the_same():
    """A stream is a file format: these were written by this version of it, and decode to what they say."""
    blocks = Blocks.empty(1)
    blocks.kinds[0], blocks.numbers[0] = PALETTE, 1
    blocks.palettes[0, 0] = 0x123456
    # By hand: a palette? 1 of 1/2. Number - 1: four zeros, each of 1/2. Remembered? 0 of 1/2. Then 24 bits. A 1 takes
    # the lower part of the range, a 0 the upper one: so 0, then 1111, 1, and the bits of the color turned.
    bits = "011111" + "".join("10"[int(b)] for b in f"{0x123456:024b}")
    stream = streamed(blocks, np.ones((1, 1), bool))
    # The range is a little less than 2^32, and whole multiples of probabilities are taken of it.
    assert abs(int(f"{bits:0<32}", 2) - int.from_bytes(stream, "big")) < 2**16 and stream.hex() == "7fb6aea4"


def test_forged_and_damaged_streams_are_refused_or_decode_to_something():
    random, escaped = np.random.default_rng(0), np.ones(SHAPE, bool)
    data, refused = streamed(some_blocks(12, 1, 0.05), escaped), 0
    for i in range(120):
        broken = bytearray(data)
        if i % 3 == 0:
            del broken[int(random.integers(len(broken))) :]
        else:
            broken[int(random.integers(len(broken)))] ^= 1 << random.integers(8)
            if i % 3 == 1:
                broken += random.bytes(9)
        begin = time.process_time()
        try:
            for _, blocks in decode(bytes(broken), escaped):
                assert blocks.kinds.max() <= PALETTE and (blocks.indices < 16).all() and (blocks.numbers <= 16).all()
        except ValueError as error:
            refused += 1
            assert str(error) in ("The escape blocks are damaged; fetch the file again.",) or "cannot hold" in str(
                error
            )
        assert time.process_time() - begin < 2
    assert refused > 40
    with pytest.raises(ValueError, match="3 bytes cannot hold 1000000 escape blocks; fetch the file whole"):
        next(decode(b"abc", np.ones((1000, 1000), bool)))


def test_nothing_is_no_stream():
    assert list(decode(b"", np.zeros(SHAPE, bool))) == [] and streamed(Blocks.empty(0), np.zeros(SHAPE, bool)) == b""
