"""Image files of all kinds: what is coded, what is converted, and what is refused."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, features

from neural_compression.image_files import check_format, png, read_pixels, write_pixels
from tests.neural_compression.small_codec import picture

RGB, GRAY = picture(20, 30), picture(20, 30, channels=0)


def saved(path, image, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def alpha(lowest):
    """(20, 30) that is opaque but for one pixel."""
    channel = np.full((20, 30, 1), 255, np.uint8)
    channel[3, 4] = lowest
    return channel


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm", "jp2", "jpg"])
def test_pixels_come_back(tmp_path, suffix):
    for pixels in (RGB, GRAY):
        path = tmp_path / f"a.{suffix}"
        write_pixels(path, pixels)
        again, notes = read_pixels(path)
        assert notes == [] and again.dtype == np.uint8
        if suffix == "webp":  # which knows no gray
            again = again[..., 0] if pixels.ndim == 2 else again
        if suffix == "jpg":
            assert again.shape == pixels.shape and np.abs(again.astype(int) - pixels).mean() < 5
        else:
            np.testing.assert_array_equal(again, pixels)


def test_kinds_of_pixels_that_are_converted(tmp_path):
    """Opaque alpha is dropped; palettes, black and white, and CMYK become what they stand for."""
    levels = RGB // 85 * 85
    black_and_white = GRAY > 100
    kinds = {
        "alpha": (np.concatenate([RGB, alpha(255)], 2), RGB),
        "gray_alpha": (np.concatenate([GRAY[..., None], alpha(255)], 2), GRAY),
        "palette": (Image.fromarray(levels).quantize(64), levels),
        "bits": (Image.fromarray(black_and_white), 255 * black_and_white.astype(np.uint8)),
    }
    for name, (stored, expected) in kinds.items():
        pixels, notes = read_pixels(saved(tmp_path / f"{name}.png", stored))
        np.testing.assert_array_equal(pixels, expected, err_msg=name)
        assert notes == []
    ink = np.zeros((4, 4, 4), np.uint8)
    ink[..., 1] = 255
    pixels, notes = read_pixels(saved(tmp_path / "ink.tif", Image.fromarray(ink, "CMYK")))
    assert (pixels == [255, 0, 255]).all() and notes == [
        "Its CMYK became RGB without a color profile, by Pillow's formula."
    ]


def test_colors_of_another_profile_become_those_of_srgb(tmp_path):
    """A profile whose red is our blue; that of sRGB changes nothing, one that is none is named."""
    swapped = _with_primaries("BGR")
    image = np.zeros((4, 4, 3), np.uint8)
    image[..., 0] = 255
    pixels, (note,) = read_pixels(saved(tmp_path / "swapped.png", image, icc_profile=swapped))
    np.testing.assert_allclose(pixels, np.broadcast_to([0, 0, 255], (4, 4, 3)), atol=3)
    assert note.startswith("Its colors were converted from the profile '") and note.endswith("' to sRGB.")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels, notes = read_pixels(saved(tmp_path / "srgb.png", RGB, icc_profile=srgb))
    np.testing.assert_array_equal(pixels, RGB)
    assert notes == []
    for profile in (b"nothing", swapped):  # gray stays gray
        pixels, (note,) = read_pixels(saved(tmp_path / "gray.png", GRAY, icc_profile=profile))
        np.testing.assert_allclose(pixels, GRAY, atol=2)
    pixels, (note,) = read_pixels(saved(tmp_path / "none.png", RGB, icc_profile=b"nothing"))
    np.testing.assert_array_equal(pixels, RGB)
    assert note.startswith("Its color profile is left out, as it cannot be used")


def _with_primaries(order):
    """The profile of sRGB with its tags of primaries in another order, and another description of the same length."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count, places = int.from_bytes(data[128:132], "big"), {}
    for entry in range(132, 132 + 12 * count, 12):
        places[bytes(data[entry : entry + 4])] = entry + 4, bytes(data[entry + 4 : entry + 12])
    for tag, other in zip("rgb", order.lower()):
        start, _ = places[f"{tag}XYZ".encode()]
        data[start : start + 8] = places[f"{other}XYZ".encode()][1]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "xBGR".encode("utf-16-be"))


def test_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right side
    for suffix in ("png", "webp"):
        path = saved(tmp_path / f"a.{suffix}", RGB, exif=exif, lossless=True)
        np.testing.assert_array_equal(read_pixels(path)[0], np.rot90(RGB, -1))


def test_several_images_are_refused(tmp_path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB), Image.fromarray(RGB // 2)]
    for name in ("a.gif", "a.png", "a.tif", "a.webp"):
        saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
        with pytest.raises(ValueError, match=f"{name} holds 3 images; a file takes one: save the one that you mean"):
            read_pixels(tmp_path / name)
    saved(tmp_path / "one.gif", Image.fromarray(GRAY))
    np.testing.assert_array_equal(read_pixels(tmp_path / "one.gif")[0], np.repeat(GRAY[..., None], 3, 2))


def test_transparency_is_refused(tmp_path):
    palette = Image.fromarray(RGB // 85 * 85).quantize(64)
    for name, image, options in (
        ("rgba.png", np.concatenate([RGB, alpha(254)], 2), {}),
        ("la.png", np.concatenate([GRAY[..., None], alpha(0)], 2), {}),
        ("p.png", palette, {"transparency": palette.getpixel((0, 0))}),
        ("rgb.png", RGB, {"transparency": tuple(int(v) for v in RGB[0, 0])}),
        ("l.png", GRAY, {"transparency": int(GRAY[0, 0])}),
        ("rgba.webp", np.concatenate([RGB, alpha(0)], 2), {"lossless": True}),
    ):
        with pytest.raises(ValueError, match=f"{name} has transparent pixels; flatten it onto a color"):
            read_pixels(saved(tmp_path / name, image, **options))


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
@pytest.mark.parametrize("shape", [(9, 9, 3), (9, 9)])
def test_more_than_eight_bits_are_refused(tmp_path, suffix, shape):
    suffix = "pgm" if suffix == "ppm" and len(shape) == 2 else suffix
    path = tmp_path / f"deep.{suffix}"
    assert cv2.imwrite(str(path), np.full(shape, 1000, np.uint16))
    with pytest.raises(ValueError, match=f"8 bits a sample are coded, .*deep.{suffix} has more; convert it to 8 bits"):
        read_pixels(path)


def test_damaged_files_are_refused_in_a_sentence(tmp_path):
    random, refused = np.random.default_rng(0), 0
    kinds = {name: {} for name in ("PNG", "JPEG", "GIF", "WEBP", "PPM", "DDS", "SGI", "IM")}
    kinds |= {"TIFF": {"compression": "tiff_lzw"}} | ({"AVIF": {}} if features.check("avif") else {})
    for kind, options in kinds.items():
        stream = io.BytesIO()
        Image.fromarray(RGB).save(stream, kind, **options)
        data, path = stream.getvalue(), tmp_path / "a"
        cut = [data[: int(len(data) * share)] for share in (0, 0.01, 0.3, 0.8)]
        for bad in [*cut, *(bytearray(data) for _ in range(25))]:
            if isinstance(bad, bytearray):
                for place in random.integers(0, len(bad), 3):
                    bad[place] = random.integers(256)
            path.write_bytes(bad)
            try:
                read_pixels(path)
            except ValueError as error:
                refused += 1
                assert str(error).endswith(".") and "\n" not in str(error) and str(path) in str(error)
    assert refused > 120
    with pytest.raises(ValueError, match=r"none.png cannot be read \(No such file or directory\); check its path"):
        read_pixels(tmp_path / "none.png")


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(ValueError, match="a.xyz has a suffix of no image format that can be written; use .png"):
        check_format(tmp_path / "a.xyz")
    with pytest.raises(ValueError, match="a.webp cannot be written; is there a limit of size in its format"):
        write_pixels(tmp_path / "a.webp", np.zeros((1, 20_000), np.uint8))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(GRAY)))), GRAY)
