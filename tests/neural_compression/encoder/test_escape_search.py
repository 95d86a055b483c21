"""Escape blocks from pixels to levels and palettes, which of them an encoder takes, and back."""

import numpy as np
import pytest
import scipy.fft

from neural_compression.bitstream.escape import PALETTE, STEPS, Blocks
from neural_compression.encoder.block_versions import inside
from neural_compression.encoder.escape_search import EscapeSearch, block_palettes, step_for
from neural_compression.networks import escape_transform
from neural_compression.networks.blocks import to_blocks
from neural_compression.networks.escape_transform import coefficients, pixels, step_of
from tests.neural_compression.small_codec import picture


def test_coefficients_are_those_of_scipy():
    """Of orthonormal colors, so that squares of coefficients are squares of samples."""
    blocks = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    values = blocks - 128.0
    red, green, blue = np.moveaxis(values, -1, 0)
    planes = [(red + green + blue) / 3**0.5, (red - blue) / 2**0.5, (red - 2 * green + blue) / 6**0.5]
    for size, side in enumerate((8, 16, 32)):
        outputs = coefficients(blocks, size)
        assert np.square(outputs).sum() == pytest.approx(np.square(values).sum(), rel=1e-5)
        for channel, plane in enumerate(planes):
            expected = scipy.fft.dctn(plane[:, side * (32 // side - 1) :, :side], axes=(1, 2), norm="ortho")
            np.testing.assert_allclose(outputs[:, channel, side * (32 // side - 1) :, :side], expected, atol=1e-2)


def test_pixels_by_hand():
    """A level of the mean moves all samples by step · (1 - 0.06) / 8 / √3; a palette gives its colors."""
    blocks = Blocks.empty(2)
    blocks.levels[0, 0, 0, 0] = 3  # of the first square of 8×8
    blocks.kinds[1], blocks.numbers[1], blocks.palettes[1, :2] = PALETTE, 2, (0x010203, 0xFFFE00)
    blocks.indices[1, 5] = 1
    decoded = pixels(blocks, 80)
    assert step_of(80) == 32 and step_of(0) == 1 and step_of(16) == 2
    assert (decoded[0, :8, :8] == round(128 + 32 * 2.94 / 8 / 3**0.5)).all() and (decoded[0, 8:] == 128).all()
    assert (decoded[1, 5] == [255, 254, 0]).all() and (decoded[1, :5] == [1, 2, 3]).all()


def test_a_step_goes_with_a_weight():
    """Its square is 8 λ, to a sixteenth of an octave, within the numbers that there are."""
    for weight in (3.0, 100.0, 5000.0):
        assert abs(np.log2(step_of(step_for(weight)) ** 2 / (8 * weight))) <= 1 / 16
    assert (step_for(0.0), step_for(1e12)) == (0, STEPS - 1)


def test_what_is_written_is_what_was_planned():
    """Errors of the pixels that count; other blocks are coded as if these were not there."""
    image = picture(70, 100)
    image[:40, :40] = (255, 0, 0)
    image[3:30, 5:9] = 0
    blocks, counted = to_blocks(image), inside(70, 100)
    search = EscapeSearch(blocks, counted)
    for step, escaped in ((40, np.ones((3, 4), bool)), (90, np.random.default_rng(0).random((3, 4)) < 0.5)):
        plan = search.plan(step)
        stream, decoded = search.write(escaped, step)
        np.testing.assert_array_equal(escape_transform.decode(stream, escaped, step), decoded)
        squares = np.square(decoded.astype(int) - blocks[escaped]) * counted[escaped][..., None]
        np.testing.assert_array_equal(squares.sum((1, 2, 3)), plan.errors[escaped])
        assert plan.kinds[0, 0] >= PALETTE and plan.errors[0, 0] == 0
        if escaped.all():
            assert 8 * len(stream) == pytest.approx(plan.bits.sum(), abs=32)


def test_palettes_have_all_colors_or_the_best_few():
    random = np.random.default_rng(1)
    few = random.permutation(2**24)[:7].astype(np.int32)
    block = few[random.integers(0, 7, (32, 32))]
    two, four, seven = block_palettes(block)
    assert [len(colors) for colors, _ in (two, four)] == [2, 4]
    np.testing.assert_array_equal(seven[0][seven[1]], block)
    counts = np.bincount(seven[1].ravel())
    assert (np.diff(counts) <= 0).all()  # the most frequent first
    gray = (np.linspace(0, 255, 256).astype(np.int32) * 65793)[random.integers(0, 256, (32, 32))]
    # Of a uniform source: squares of a cell by 12, a bit more as it is not optimal.
    for colors, places in block_palettes(gray):
        error = np.square((colors[places] >> 16) - (gray >> 16)).mean()
        assert error < 1.5 * (256 / len(colors)) ** 2 / 12
    assert list(block_palettes(random.integers(0, 2**24, (32, 32)).astype(np.int32))) == []


def test_streams_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="numbered to 191, got 192; fetch the file again"):
        escape_transform.decode(b"a", np.ones((1, 1), bool), STEPS)
    with pytest.raises(ValueError, match="No block of the map is an escape block, got 1 bytes"):
        escape_transform.decode(b"a", np.zeros((1, 1), bool), 0)
