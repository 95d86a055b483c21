"""Image files: which there are, and their pixels, decoded by OpenCV, whole or cut to a box."""

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
BOX = ["left", "top", "right", "bottom"]  # columns of a table: pixels, half-open: image[top:bottom, left:right]


def existing_folder(root: str | Path) -> Path:
    """A data set's folder; raises ValueError if there is none."""
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"The data folder {root} does not exist. Check --data-dir.")
    return root


def find_folder(root: str | Path, *contents: str, prefix: str = "") -> Path:
    """`root`, or the folder in it whose name begins with a prefix in any case, whichever has one of `contents`.

    Raises:
        ValueError: neither has, or there is no such folder.
    """
    root = existing_folder(root)
    names = sorted(name for name in os.listdir(root) if name.lower().startswith(prefix.lower()))
    inside = [root / name for name in names if not is_leftover(name)]
    for folder in [root, *inside]:
        if any((folder / name).exists() for name in contents):
            return folder
    named = f"a folder {prefix}*" if prefix else "a folder"
    raise ValueError(f"{root} has no {contents[0]}, nor has {named} in it. Check --data-dir.")


def is_leftover(name: str) -> bool:
    """Whether a name is that of what systems and archives leave behind: ._a.jpg, .DS_Store, Thumbs.db, __MACOSX."""
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini", "ehthumbs.db")


def list_images(
    folder: str | Path, *, nested: bool = False, suffixes: tuple[str, ...] = SUFFIXES
) -> tuple[list[str], list[str]]:
    """Paths of a folder's images, and of all else in it, both in the order of names.

    Args:
        folder: with images.
        nested: whether images in folders in it belong to them; else such a folder is something else. Links to folders
            are not followed, and are something else too.
        suffixes: of image files, in small letters.
    """
    images, others = [], []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if is_leftover(entry.name):
            others.append(entry.path)
        elif entry.is_dir():
            if nested and not entry.is_symlink():
                deeper = list_images(entry.path, nested=True, suffixes=suffixes)
                images += deeper[0]
                others += deeper[1]
            else:
                others.append(entry.path)
        else:
            (images if entry.name.lower().endswith(suffixes) else others).append(entry.path)
    return images, others


def warn_left_out(folder: str | Path, others: Sequence[str], stacklevel: int) -> None:
    """Warns of files and folders that a reader leaves out, by what they are."""
    if others:
        names = map(os.path.basename, others)
        kinds = Counter("._*" if n.startswith("._") else os.path.splitext(n)[1].lower() or n for n in names)
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        warnings.warn(
            f"{len(others)} file(s) or folder(s) in {folder} are no images and are left out: {listed}, such as "
            f"{others[0]}.",
            stacklevel=stacklevel + 1,
        )


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
    image, reason = None, ""
    try:
        image = _decoded(Path(path).read_bytes())
    except OSError as error:
        reason = f" ({error.strerror})"
    if image is None:
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


def _decoded(data: bytes) -> np.ndarray | None:
    """The image (H, W, 3) uint8 of a file's bytes; None if it is damaged, or none."""
    try:
        image = cv2.imdecode(np.frombuffer(data, "uint8"), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # no bytes
        return None
    return None if is_cut(data) else image


def is_cut(data: bytes) -> bool:
    """Whether the bytes are those of a truncated JPEG, of which OpenCV fills with gray what it lacks."""
    # A whole one ends with a marker, and so does its thumbnail, which stands before the start of the image's own scan.
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def digest_of(path: str | Path) -> bytes | None:
    """SHA-256 of an image file; None if it cannot be read and decoded."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    return None if _decoded(data) is None else hashlib.sha256(data).digest()


def boxes_of(table: pd.DataFrame) -> np.ndarray | None:
    """The boxes (N, 4) int64 of a table's rows, in the order of `BOX`; None if it has no such columns."""
    return table[BOX].to_numpy("int64") if set(BOX) <= set(table.columns) else None
