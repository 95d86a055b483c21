"""What the readers of vehicle sets give, and what they share."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class VehicleData:
    """Two tables with a row per image.

    Columns: `path` (str), a text column per attribute (`type`, `make`, `model`, `color`; those the set has, "" where
    it is not known), `identity`, `camera` and `viewpoint` (int64) where the set has them, and `left`, `top`, `right`
    and `bottom` (int64, as `images.BOX`) where it has boxes.
    """

    train: pd.DataFrame
    test: pd.DataFrame


def find_folder(root: Path, content: str) -> Path:
    """`root` or a folder in it, whichever has `content`.

    Raises:
        ValueError: neither has, or there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"The data folder {root} does not exist. Check --data-dir.")
    if (root / content).exists():
        return root
    for folder in sorted(root.iterdir()):
        if (folder / content).exists():
            return folder
    raise ValueError(f"{root} has no {content}, nor has a folder in it. Check --data-dir.")


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


def check_listed(data: VehicleData, lists: str | Path) -> None:
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
