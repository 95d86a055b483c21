"""Photographs: which are read, which are set apart, and the blocks to train on."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from neural_compression.config import PRESETS
from neural_compression.data import Photographs, check, describe, read, read_photographs, scaled, training_blocks

RANDOM = np.random.default_rng(0)
SMOKE = PRESETS["smoke"][1]


def test_training_blocks_overlap_by_half():
    image = RANDOM.integers(0, 256, (64, 80, 3), dtype="uint8")
    blocks = training_blocks([image])
    assert blocks.shape == (3 * 4, 32, 32, 3)
    np.testing.assert_array_equal(blocks[5], image[16:48, 16:48])  # second row, second column
    assert len(training_blocks([image[:32, :32]])) == 1
    apart = training_blocks([image, image[:31]], half_overlapping=False)
    np.testing.assert_array_equal(apart, [image[y : y + 32, x : x + 32] for y in (0, 32) for x in (0, 32)])
    with pytest.raises(ValueError, match="No image has 32 × 32 pixels, so there is no block to train on"):
        training_blocks([image[:31], image[:, :31]])


def test_photographs_of_folders_are_read_by_name_and_made_smaller(tmp_path):
    """Of a quarter of the size, a pixel is the mean of sixteen."""
    (tmp_path / "more").mkdir()
    for name, value in (("b.png", 40), ("more/a.PNG", 80), ("notes.txt", 0)):
        image = np.full((60, 88, 3), value, "uint8")
        image[::4, ::4] += 160
        image[..., 2] = 7  # OpenCV's red
        cv2.imwrite(str(tmp_path / "x.png"), image)
        (tmp_path / "x.png").rename(tmp_path / name)
    (tmp_path / "._b.png").write_bytes(b"\0\5\26\7")  # macOS leaves such in archives
    with pytest.warns(UserWarning, match="2 file.* are no images and are left out: 1 ._\\*, 1 .txt"):
        images = scaled(read_photographs(tmp_path), 0.25)
    (tmp_path / "._b.png").unlink()
    (tmp_path / "notes.txt").unlink()
    np.testing.assert_array_equal(images, [np.full((15, 22, 3), (7, value, value)) for value in (50, 90)])
    assert [image.shape for image in read_photographs(tmp_path)] == [(60, 88, 3)] * 2
    assert [image.shape for image in read_photographs(None)] == [(427, 640, 3)] * 2


def test_missing_and_damaged_photographs_are_named(tmp_path):
    with pytest.raises(ValueError, match="The data folder .* does not exist. Check --data-dir"):
        read_photographs(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no images .*.tif"):
        read_photographs(tmp_path)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"The image .*cut.jpg cannot be read; it is missing or damaged"):
        read_photographs(tmp_path)


def test_photographs_to_judge_by_are_set_apart(tmp_path):
    """Of few, the right quarter of each; else the last tenth; or those of a folder, at the size that they have."""
    training, judged = read(SMOKE)
    for image, left, right in zip(scaled(read_photographs(None), 0.5), training, judged, strict=True):
        np.testing.assert_array_equal(left, image[:, :240])
        np.testing.assert_array_equal(right, image[:, 240:])
    for i in range(20):
        cv2.imwrite(str(tmp_path / f"{i:02d}.png"), np.full((40, 44, 3), i, "uint8"))
    own = replace(SMOKE, data_dir=tmp_path)
    training, judged = read(own)
    assert [image[0, 0, 0] for image in training] == [*range(18)] and [image[0, 0, 0] for image in judged] == [18, 19]
    assert {image.shape for image in (*training, *judged)} == {(20, 22, 3)}
    (tmp_path / "00.png").unlink()
    assert len(read(own).test) == 1
    training, judged = read(replace(SMOKE, test_dir=tmp_path))
    assert [image.shape for image in training] == [(214, 320, 3)] * 2
    assert [image.shape for image in judged] == [(40, 44, 3)] * 19
    # Each size of all photographs; what is set apart is so at every size.
    training, judged = read(replace(own, scales=(0.5, 0.25)))
    assert [image.shape[0] for image in training] == [20] * 18 + [10] * 18 and len(judged) == 1
    assert judged[0].max() not in {image.max() for image in training}


def test_the_first_line_says_what_is_trained_on():
    data = Photographs([None] * 3, [None])
    assert describe(SMOKE, data) == "3 photographs to train on, 1 to judge by, (8, 16) bits, 1 epochs"
    assert describe(replace(SMOKE, scales=(1.0, 0.5, 0.25)), data).startswith("1 photographs to train on")


def test_several_processes_are_refused():
    with pytest.raises(ValueError, match="neural_compression"):
        check(SMOKE, SimpleNamespace(cluster_resolver=object()))
