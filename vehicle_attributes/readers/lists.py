"""What the readers share: text files with a line per entry, and whether the images that they list exist."""

import os
from collections.abc import Sequence
from pathlib import Path

from common.datasets.image_folder import LabeledImages


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, each with its number and without spaces around it.

    Raises:
        ValueError: the file is missing, empty or not UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}). Unpack the set again.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}). Convert it, or fetch it again.") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty; expected a line per entry. Fetch it again.")
    return lines


def wrong_line(path: Path, number: int, line: str, expected: str) -> ValueError:
    """The error that names a line and what it should be like."""
    return ValueError(f"Line {number} of {path} reads {line!r}; expected {expected}. Fetch the file again.")


def check_listed(data: LabeledImages, lists: str | Path) -> None:
    """Each image exists and is on one side only.

    Raises:
        ValueError: an image is missing or in both tables.
    """
    both = set(data.train["path"]) & set(data.test["path"])
    if both:
        raise ValueError(f"{min(both)} is both a training and a test image in {lists}. Fetch the lists again.")
    _check_files([*data.train["path"], *data.test["path"]], lists)


def _check_files(paths: Sequence[str], lists: str | Path) -> None:
    # Listing each folder once is faster than asking for hundreds of thousands of files one by one.
    names: dict[str, set[str]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in names:
            names[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in names[folder]:
            raise ValueError(f"{path} is missing, but {lists} lists it. Unpack the set again.")
