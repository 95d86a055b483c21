"""The images of a request: in memory alone, checked by their headers, and decoded; no error quotes what came."""

import sys
from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from common.datasets.images import is_cut

_MOST_SCANS = 100  # of a JPEG; each makes the decoder go through all of its pixels


def refused(sentence: str, status: int = 422) -> HTTPException:
    """What to raise so that the client gets the sentence."""
    return HTTPException(status, sentence)


class InMemory(MultiPartParser):
    """Never puts users' images on the disk; the limits of bodies are those of memory."""

    spool_max_size = sys.maxsize


def check_sizes(files: list[bytes], max_pixels: int) -> list[int]:
    """Pixels of JPEG and PNG files, by their headers alone: a file of some kilobytes can decode to gigabytes.

    Raises:
        HTTPException: one is something else or not whole, or they have more pixels together.
    """
    pixels = [_pixels(file, number) for number, file in enumerate(files)]
    if sum(pixels) > max_pixels:
        raise refused(f"The images of a request may have {max_pixels} pixels together, got more; send fewer.", 413)
    return pixels


def decode(files: list[bytes], image_size: tuple[int, int], go_on: Callable[[], None] = lambda: None) -> np.ndarray:
    """JPEG and PNG files as images (N, H, W, 3) uint8, RGB, resized bilinearly.

    Args:
        files: that `check_sizes` has let pass.
        image_size: (H, W).
        go_on: called before each; raises what ends the work.

    Raises:
        HTTPException: one is not whole.
    """
    images = np.empty((len(files), *image_size, 3), np.uint8)
    for number, file in enumerate(files):
        go_on()
        try:
            image = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error:
            image = None
        if image is None:
            raise _damaged(number)
        images[number] = cv2.resize(image, image_size[::-1], interpolation=cv2.INTER_LINEAR)
    return images


def _pixels(file: bytes, number: int) -> int:
    try:
        with Image.open(BytesIO(file), formats=("JPEG", "PNG")) as header:  # reads the header alone
            (width, height), kind = header.size, header.format
    except Image.DecompressionBombError:
        return sys.maxsize
    except Exception:  # Pillow does not say what it raises for damaged headers
        raise _damaged(number) from None
    if is_cut(file):
        raise _damaged(number)
    if kind != "PNG" and file.count(b"\xff\xda") > _MOST_SCANS:
        raise refused(f"Image {number}, counted from 0, has over {_MOST_SCANS} scans; save it as a baseline JPEG.", 413)
    return width * height


def _damaged(number: int) -> HTTPException:
    return refused(f"Image {number}, counted from 0, is no JPEG or PNG file, or not a whole one.")
