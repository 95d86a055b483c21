"""Image files of any format that Pillow reads, as the pixels that the codec takes; and pixels as image files.

Eight bits a sample, RGB or gray, in sRGB, turned upright, opaque, one image in a file: what is another way is converted
without loss of meaning, and a note says so, or is refused.
"""

import io
import re
import sys
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageCms, ImageOps

STANDARD = Path("-")  # in place of a file: stdin or stdout
# By suffix: format, and options with which nothing or next to nothing is lost.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 3}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".ppm": ("PPM", {}),
    ".pgm": ("PPM", {}),
    ".webp": ("WEBP", {"lossless": True}),
    ".jp2": ("JPEG2000", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}
_SRGB = "sRGB"  # in the description of a profile that needs no conversion


class UnsupportedImageError(ValueError):
    """An image that is read, but holds what a file of the codec cannot."""


def read_bytes(path: Path) -> bytes:
    """A whole file; stdin for «-».

    Raises:
        ValueError: it cannot be read.
    """
    if path == STANDARD:
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"The file {path} cannot be read ({error.strerror}); check its path.") from None


def read_pixels(path: Path) -> tuple[np.ndarray, list[str]]:
    """An image file, or stdin for «-», of whatever format its content is.

    Returns:
        (H, W, 3) RGB or (H, W) gray, uint8, and sentences about what was converted.

    Raises:
        ValueError: it cannot be read, holds several images, transparent pixels, or more than 8 bits a sample.
    """
    data, name = read_bytes(path), "stdin" if path == STANDARD else str(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of large images and of odd metadata
            with Image.open(io.BytesIO(data)) as image:
                _check(image, name)
                image.load()
                return _converted(image, name)
    except UnsupportedImageError:
        raise
    except Image.DecompressionBombError:
        raise ValueError(f"The image {name} has more pixels than Pillow reads; cut it.") from None
    except Exception as error:  # each of Pillow's readers has its own for a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"The image {name} cannot be read ({reason}); it is of no known format, or damaged. Fetch it again."
        ) from None


def png(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file; pixels as for `write_pixels`."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **_FORMATS[".png"][1])
    return stream.getvalue()


def check_format(path: Path) -> None:
    """Raises ValueError for a suffix that `write_pixels` does not know."""
    if path != STANDARD and path.suffix.lower() not in _FORMATS:
        raise ValueError(f"{path} has a suffix of no image format that can be written; use .png.")


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """Writes (H, W, 3) RGB or (H, W) gray, uint8, in the format of the suffix.

    Raises:
        ValueError: the format cannot hold it.
    """
    kind, options = _FORMATS[path.suffix.lower()]
    try:
        Image.fromarray(pixels).save(path, kind, **options)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the disk
            raise
        raise ValueError(f"{path.name} cannot be written; is there a limit of size in its format? Use .png.") from error


def _check(image: Image.Image, name: str) -> None:
    """What must not be dropped in silence; before anything is decoded."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a photograph of a camera, with others for other uses behind it
        raise UnsupportedImageError(
            f"{name} holds {frames} images; a file takes one: save the one that you mean by itself."
        )
    # Pillow gives RGB of 16 bits as RGB of 8; how the file has it stands in the arguments of its decoder.
    arguments = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in getattr(image, "tile", ())]
    deep = any(isinstance(value, str) and re.search(";16[BLN]", value) for values in arguments for value in values)
    if image.format == "PPM":  # the largest number that its header allows
        deep = any(isinstance(value, int) and value > 255 for values in arguments for value in values)
    if deep or image.mode.startswith(("I", "F")):
        raise UnsupportedImageError(f"Images of 8 bits a sample are coded, {name} has more; convert it to 8 bits.")


def _converted(image: Image.Image, name: str) -> tuple[np.ndarray, list[str]]:
    notes = []
    profile, kind = image.info.get("icc_profile"), image.mode
    if kind in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if np.asarray(alpha).min() < 255:
            raise UnsupportedImageError(
                f"Images without transparency are coded, {name} has transparent pixels; flatten it onto a color."
            )
        image = image.convert("L" if kind in ("L", "LA", "La") else "RGB")
    if image.mode in ("P", "YCbCr", "HSV", "RGBX"):
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    if profile is not None:
        image, note = _in_srgb(image, profile)
        notes += [note] if note else []
    if image.mode not in ("RGB", "L"):
        notes.append(f"Its {image.mode} became RGB without a color profile, by Pillow's formula.")
        try:
            image = image.convert("RGB")
        except ValueError:
            raise UnsupportedImageError(
                f"Images in RGB or gray are coded, {name} is in {kind}; convert it to RGB."
            ) from None
    return np.asarray(ImageOps.exif_transpose(image)), notes


def _in_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, str]:
    """RGB, or L for an image that was gray, and the sentence about it."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        description = " ".join(ImageCms.getProfileDescription(source).split())
        space = source.profile.xcolor_space.strip()
        if _SRGB in description and space == "RGB":
            return image, ""
        gray = image.mode == "L"
        if gray and space == "RGB":
            image = image.convert("RGB")
        result = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        return image, f"Its color profile is left out, as it cannot be used ({' '.join(str(error).split())})."
    converted = cast(Image.Image, result)  # None is for conversions in place
    note = f"Its colors were converted from the profile {description!r} to sRGB."
    return converted.convert("L") if gray else converted, note
