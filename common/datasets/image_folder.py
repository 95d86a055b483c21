"""Images in a folder per class, split in two by what they show."""

import hashlib
import os
import warnings
from collections import defaultdict
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from common.datasets.images import SUFFIXES, is_leftover, list_images, warn_left_out


@dataclass(frozen=True)
class LabeledImages:
    """A training and a test set, tables with a row per image.

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


def read_folders(root: Path, attribute: str = "type", test_share: float = 0.2) -> LabeledImages:
    """A folder with a folder per class, whose name is the class, with images in it or in folders in it.

    The split is a function of the pictures alone, whatever the files are called: within a class they are ordered by
    the SHA-256 of their bytes, and the first round(`test_share` · n), one at least, are the test set. Rows are in that
    order too. Of equal files in a class only the first by name is used; a picture in two classes is left out
    altogether, as nobody knows which is right. Both are warnings.

    Args:
        root: of the class folders; what is no image is left out, with a warning.
        attribute: what the classes are called in the tables.
        test_share: between 0 and 1.

    Raises:
        ValueError: no such folder, no class folders, a class with fewer than two different images, or a file that
            cannot be read; the sentence names it.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"The test set's share must be between 0 and 1, got {test_share}. Choose 0.2, for example.")
    files = _files(Path(root))
    train, test = [], []
    for name, pictures in _different(Path(root), files).items():
        if len(pictures) < 2:
            raise ValueError(
                f"The class {name!r} of {root} has {len(pictures)} different image(s) of its own; expected at least "
                "two, one of them for the test. Add images, or remove the folder."
            )
        paths = [pictures[digest] for digest in sorted(pictures)]
        count = min(max(round(test_share * len(paths)), 1), len(paths) - 1)
        test += [(path, name) for path in paths[:count]]
        train += [(path, name) for path in paths[count:]]
    return LabeledImages(*(pd.DataFrame(rows, columns=["path", attribute]) for rows in (train, test)))


def _files(root: Path) -> list[tuple[str, str]]:
    """Class and path of all images, in the order of names."""
    if not root.is_dir():
        raise ValueError(f"The data folder {root} does not exist. Check --data-dir.")
    # Archives of macOS have a folder of their own next to the classes.
    entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    classes = [entry for entry in entries if entry.is_dir() and not is_leftover(entry.name)]
    if not classes:
        raise ValueError(f"{root} has no folders; expected one per class with images in it. Check --data-dir.")
    files, left_out = [], [e.path for e in entries if e not in classes and _should_be_in_a_class(e.name)]
    for entry in classes:
        images, others = list_images(entry.path, nested=True)
        left_out += others
        if not images:
            raise ValueError(
                f"The class {entry.name!r} of {root} has no images ({', '.join(SUFFIXES)}) in its folder. Add images, "
                "or remove the folder."
            )
        files += [(entry.name, path) for path in images]
    warn_left_out(root, left_out, 3)
    return files


def _should_be_in_a_class(name: str) -> bool:
    """Or else it is a text about the set, which may well stand next to the classes."""
    return is_leftover(name) or name.lower().endswith(SUFFIXES)


def _different(root: Path, files: list[tuple[str, str]]) -> dict[str, dict[bytes, str]]:
    """Digest -> path of the pictures that only this class has, for each class."""
    classes: dict[bytes, set[str]] = defaultdict(set)
    pictures: dict[str, dict[bytes, str]] = {name: {} for name, _ in files}
    paths = [path for _, path in files]
    # Small files take more time to arrive than to hash, so that threads help.
    with ThreadPool(8) as pool:
        digests = pool.imap(_digest, paths, chunksize=64)
        for (name, path), digest in zip(files, tqdm(digests, "hash", len(paths), unit="image", delay=2, leave=False)):
            classes[digest].add(name)
            pictures[name].setdefault(digest, path)
    repeated = len(files) - sum(map(len, pictures.values()))
    if repeated:
        warnings.warn(f"{repeated} image(s) of {root} equal another one of their class and are left out.", stacklevel=3)
    shared = {digest for digest, names in classes.items() if len(names) > 1}
    if shared:
        warnings.warn(
            f"{len(shared)} image(s) of {root} are in several classes each and are left out of all.", stacklevel=3
        )
    return {name: {d: path for d, path in own.items() if d not in shared} for name, own in pictures.items()}


def _digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ValueError(f"The image {path} cannot be read ({error.strerror}). Fetch it again.") from error
    if not data:
        raise ValueError(f"The image {path} has no bytes. Fetch it again, or remove it.")
    return hashlib.sha256(data).digest()
