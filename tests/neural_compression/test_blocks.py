"""Photographs and their blocks."""

import cv2
import numpy as np
import pytest

from neural_compression.blocks import read_photographs, to_blocks, to_image, training_blocks

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


def test_training_blocks_overlap_by_half():
    image = RANDOM.integers(0, 256, (64, 80, 3), dtype="uint8")
    blocks = training_blocks([image])
    assert blocks.shape == (3 * 4, 32, 32, 3)
    np.testing.assert_array_equal(blocks[5], image[16:48, 16:48])  # second row, second column
    apart = training_blocks([image, image[:20]], half_overlapping=False)
    np.testing.assert_array_equal(apart, [image[y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)])
    with pytest.raises(ValueError, match="No image has 32 × 32 pixels, so there is no block to train on"):
        training_blocks([image[:20]])


def test_photographs_of_folders_are_read_by_name_and_made_smaller(tmp_path):
    (tmp_path / "more").mkdir()
    for name, value in (("b.png", 40), ("more/a.PNG", 80), ("notes.txt", 0)):
        cv2.imwrite(str(tmp_path / "x.png"), np.full((60, 90, 3), value, "uint8"))
        (tmp_path / "x.png").rename(tmp_path / name)
    images = read_photographs(tmp_path, 0.5)
    assert [image.shape for image in images] == [(30, 45, 3)] * 2 and [image[0, 0, 0] for image in images] == [40, 80]
    assert [image.shape for image in read_photographs(None)] == [(427, 640, 3)] * 2


def test_missing_and_damaged_photographs_are_told(tmp_path):
    with pytest.raises(ValueError, match="The data folder .* does not exist. Check --data-dir"):
        read_photographs(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no images \(\.png"):
        read_photographs(tmp_path)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"The image .*cut.jpg cannot be read; it is missing or damaged"):
        read_photographs(tmp_path)
