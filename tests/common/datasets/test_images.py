import numpy as np
import pytest
from PIL import Image

from common.datasets.images import read_image
from tests.common.datasets.small_images import IMAGES, write_images


@pytest.fixture
def table(tmp_path):
    return write_images(tmp_path)


def bilinear(image, height, width):
    """Bilinear interpolation between pixel centers, in float64: an independent oracle."""
    rows, columns = ((np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip((height, width), image.shape))
    for axis, places in ((0, rows), (1, columns)):
        places = np.clip(places, 0, image.shape[axis] - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        part = (places - low).reshape([-1 if a == axis else 1 for a in range(3)])
        image = np.take(image, low, axis) * (1 - part) + np.take(image, high, axis) * part
    return image


@pytest.mark.parametrize("size", [(40, 24), (16, 8), (10, 6)])
def test_resizing_is_bilinear_and_colors_are_rgb(table, size):
    np.testing.assert_array_equal(read_image(table["path"][0]), IMAGES[0])
    assert np.abs(read_image(table["path"][0], size) - bilinear(IMAGES[0], *size)).max() < 1.01


def test_jpeg_is_decoded_as_elsewhere(tmp_path):
    smooth = np.array(Image.fromarray(IMAGES[0]).resize((64, 128), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(tmp_path / "image.jpg", quality=90)
    with Image.open(tmp_path / "image.jpg") as image:
        expected = np.array(image).astype(int)
    difference = np.abs(read_image(tmp_path / "image.jpg") - expected)
    assert difference.mean() < 0.5 and difference.max() <= 4


def test_the_box_is_cut_out_before_the_resize(table):
    image = read_image(table["path"][0], box=(1, 2, 7, 11))
    np.testing.assert_array_equal(image, IMAGES[0, 2:11, 1:7])
    np.testing.assert_array_equal(read_image(table["path"][0], box=(0, 0, 8, 16)), IMAGES[0])
    image = read_image(table["path"][0], (20, 14), box=np.array([1, 2, 7, 11]))
    assert np.abs(image - bilinear(IMAGES[0, 2:11, 1:7], 20, 14)).max() < 1.01


def test_a_thumbnail_does_not_hide_that_the_image_is_cut(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(IMAGES[0]).save(path)
    image = path.read_bytes()
    segment = b"Exif\0\0" + image  # the image is its own thumbnail
    path.write_bytes(image[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + image[2:])
    assert read_image(path).shape == (16, 8, 3)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="image.jpg cannot be read; it is missing or damaged"):
        read_image(path)
