"""Photographs: which are read, which are set apart, and the blocks to train on."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from neural_compression.config import PRESETS
from neural_compression.data import read, read_photographs, training_blocks

RANDOM = np.random.default_rng(0)
SMOKE = PRESETS["smoke"][1]


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


def test_missing_and_damaged_photographs_are_named(tmp_path):
    with pytest.raises(ValueError, match="The data folder .* does not exist. Check --data-dir"):
        read_photographs(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no images \(\.png"):
        read_photographs(tmp_path)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"The image .*cut.jpg cannot be read; it is missing or damaged"):
        read_photographs(tmp_path)


def test_photographs_to_judge_by_are_set_apart(tmp_path):
    training, judged = read(SMOKE)
    assert [image.shape[1] for image in (*training, *judged)] == [240, 240, 80, 80]
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((40, 40, 3), i, "uint8"))
    training, judged = read(replace(SMOKE, data_dir=tmp_path, scale=1.0))
    assert [image[0, 0, 0] for image in judged] == [9] and len(training) == 9
    training, judged = read(replace(SMOKE, test_dir=tmp_path))
    assert len(training) == 2 and len(judged) == 10
