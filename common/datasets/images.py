"""Image files decoded by OpenCV, whole or cut to a box."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

BOX = ["left", "top", "right", "bottom"]  # columns of a table: pixels, half-open: image[top:bottom, left:right]


def read_image(
    path: str | Path,
    image_size: tuple[int, int] | None = None,
    box: Sequence[int] | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """An image file as (H, W, 3) uint8, RGB, cut to `box` (as `BOX`), then resized bilinearly to a size (H, W).

    With a size it can be written into an array `out` of that shape and type.

    Raises:
        ValueError: the file is missing, truncated, or no image, or the box is empty or not inside it; the sentence
            names it.
    """
    data, image, reason = b"", None, ""
    try:
        data = Path(path).read_bytes()
        image = cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_COLOR_RGB)
    except OSError as error:
        reason = f" ({error.strerror})"
    except cv2.error:  # no bytes
        pass
    # OpenCV fills what a truncated JPEG lacks with gray. A whole one ends with a marker, and so does its thumbnail,
    # which stands before the start of the image's own scan.
    if image is None or (data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")):
        raise ValueError(f"The image {path} cannot be read{reason}; it is missing or damaged. Fetch it again.")
    if box is not None:
        (left, top, right, bottom), (height, width) = box, image.shape[:2]
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ValueError(
                f"The image {path} cannot be read in its box ({left}, {top}, {right}, {bottom}): it is "
                f"{width} × {height} pixels large. Correct the box in the label file."
            )
        image = image[top:bottom, left:right]
    return image if image_size is None else cv2.resize(image, image_size[::-1], out, interpolation=cv2.INTER_LINEAR)


def boxes_of(table: pd.DataFrame) -> np.ndarray | None:
    """The boxes (N, 4) int64 of a table's rows, in the order of `BOX`; None if it has no such columns."""
    return table[BOX].to_numpy("int64") if set(BOX) <= set(table.columns) else None
