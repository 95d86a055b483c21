"""Your own pictures: a folder of classes or a CSV file, which of them can be read, and which are equal."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.datasets.images import BOX, SUFFIXES, boxes_of, digest_of, is_leftover, list_images, warn_left_out
from common.files import replacing

# Column of a table -> what it may be called in a CSV file.
NAMES = {
    "path": ("path", "image", "image_path", "img_path", "file", "filename"),
    "label": ("label", "class", "identity", "id", "type", "name"),
    "camera": ("camera", "camera_id", "camid", "cam"),
    "split": ("split", "subset", "set", "part"),
    **{name: (name,) for name in BOX},
}
SPLITS = ("train", "test", "query", "gallery")
_NAMED = 100  # files that a sentence lists
_REMEMBERED = 4096  # images from which on the digests of files are remembered from one command to the next


def read_table(source: Path) -> pd.DataFrame:
    """The pictures of a folder that has a folder per class, or of a CSV file; a row per image, nothing is decoded.

    Of a folder, the class is the name of the folder in it that has the image, in whatever depth. A CSV file has the
    columns `path`, relative to its own folder, and `label`, and optionally `camera`, `split` (train, test, query or
    gallery) and the box `left`, `top`, `right`, `bottom` in pixels; others are left out with a warning.

    Returns:
        `path` (absolute) and `label`, and those of `camera`, `split` (text) and `BOX` (int64) that there are.

    Raises:
        ValueError: nothing is there, or a column or a row is not what it should be; the sentence names it.
    """
    source = Path(source)
    if source.is_dir():
        files = class_files(source)
        return pd.DataFrame(
            {"path": [os.path.abspath(path) for _, path in files], "label": [name for name, _ in files]}
        )
    if source.suffix.lower() != ".csv":
        raise ValueError(
            f"There are no pictures at {source}; expected a folder with a folder per class, or a CSV file with the "
            "columns path and label. Check --data-dir."
        )
    return _read_csv(source)


def class_files(root: Path) -> list[tuple[str, str]]:
    """Class and path of all images in the folders of a folder, in whatever depth, in the order of names.

    Raises:
        ValueError: it has none, or one of these has no image.
    """
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
    warn_left_out(root, left_out, 4)
    return files


def _should_be_in_a_class(name: str) -> bool:
    """Or else it is a text about the set, which may well stand next to the classes."""
    return is_leftover(name) or name.lower().endswith(SUFFIXES)


def _read_csv(source: Path) -> pd.DataFrame:
    try:
        cells = pd.read_csv(source, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=None, engine="python")
    except Exception:  # pandas raises whatever the bytes lead it to
        raise ValueError(f"{source} cannot be read as a table with names of columns in its first row.") from None
    known = {str(column).strip().lower(): column for column in cells.columns}
    columns = {name: [known[other] for other in others if other in known] for name, others in NAMES.items()}
    lacking = [name for name in ("path", "label") if not columns[name]]
    boxes = [name for name in BOX if columns[name]]
    if lacking or (boxes and boxes != BOX) or cells.empty:
        raise ValueError(
            f"{source} must have rows with the columns path and label, and of a box all of {', '.join(BOX)}; got "
            f"{len(cells)} rows with {', '.join(map(str, cells.columns))}."
        )
    chosen = {name: others[0] for name, others in columns.items() if others}
    table = pd.DataFrame({name: cells[column].str.strip() for name, column in chosen.items()})
    unused = [str(column) for column in cells.columns if column not in chosen.values()]
    if unused:
        warnings.warn(f"Columns of {source} that nothing is known of are left out: {', '.join(unused)}.", stacklevel=3)
    _check_rows(source, table)
    table["path"] = [os.path.abspath(source.parent / path) for path in table["path"]]
    if repeated := table["path"][table["path"].duplicated()].tolist():
        raise ValueError(f"{source} lists {repeated[0]} more than once; leave one row of it.")
    if boxes:
        table[BOX] = table[BOX].astype("int64")
    return table


def _check_rows(source: Path, table: pd.DataFrame) -> None:
    wrong = (table[[name for name in ("path", "label", "camera") if name in table]] == "").any(axis=1)
    expected = "a path, a label, and a camera where there is such a column"
    if "split" in table and not wrong.any():
        table["split"] = table["split"].str.lower()
        wrong, expected = ~table["split"].isin(SPLITS), f"a split of {', '.join(SPLITS)}"
    if BOX[0] in table and not wrong.any():
        wrong = ~table[BOX].apply(lambda column: column.str.fullmatch(r"\d+")).all(axis=1)
        expected = "whole pixels in " + ", ".join(BOX)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{wrong.sum()} row(s) of {source} are not what they should be, the first is line {first + 2} "
            f"({', '.join(map(str, table.iloc[first]))}); expected {expected}."
        )


def checked(table: pd.DataFrame, skip_damaged: bool = False) -> pd.DataFrame:
    """The table without images that cannot be read, which are named, and with a column `digest` of 32 bytes.

    Every image is read and decoded, in threads; what is known of a large set's files is remembered in the user's cache
    as long as their sizes and times stay. The digest is of the file, and of the box where there is one.

    Raises:
        ValueError: images cannot be read and are not to be skipped: the sentence names them, all before any work.
    """
    digests = digests_of(table["path"].tolist())
    is_damaged = np.array([digest is None for digest in digests], bool)
    if is_damaged.any():
        names = table["path"][is_damaged].tolist()
        listed = ", ".join(names[:_NAMED]) + f" and {len(names) - _NAMED} more" * (len(names) > _NAMED)
        sentence = f"{len(names)} of {len(table)} images cannot be read, they are missing or damaged: {listed}."
        if not skip_damaged or is_damaged.all():
            raise ValueError(f"{sentence} Fetch them again, remove them, or pass --skip-damaged.")
        warnings.warn(f"{sentence} They are left out.", stacklevel=2)
    boxes = boxes_of(table)
    if boxes is not None:
        digests = [d and hashlib.sha256(d + box.tobytes()).digest() for d, box in zip(digests, boxes)]
    digested = table.assign(digest=pd.Series(digests, index=table.index, dtype=object))
    return digested[~is_damaged].reset_index(drop=True)


def different(table: pd.DataFrame) -> pd.DataFrame:
    """The pictures of a `checked` table once each, the first of equal ones; none that several classes have.

    Nobody knows which class is right. Both are warnings.
    """
    labels = table.groupby("digest")["label"].nunique()
    shared = table["digest"].isin(labels.index[labels > 1])
    repeated = table["digest"].duplicated() & ~shared
    for rows, what in ((repeated, "equal another one of their class"), (shared, "are in several classes")):
        if rows.any():
            first = table["path"][rows].iloc[0]
            warnings.warn(
                f"{rows.sum()} image(s) {what}, byte for byte, and are left out, such as {first}.", stacklevel=2
            )
    return table[~(repeated | shared)].reset_index(drop=True)


def digests_of(paths: Sequence[str]) -> list[bytes | None]:
    """SHA-256 of each image file; None of one that cannot be read and decoded."""
    remembered = _Remembered(paths) if len(paths) >= _REMEMBERED else None
    known = {} if remembered is None else remembered.read()
    missing = [path for path in paths if path not in known]
    with ThreadPool(8) as pool:  # small files take more time to arrive than to decode
        made = pool.imap(digest_of, missing, chunksize=16)
        for path, digest in zip(missing, tqdm(made, "check", len(missing), unit="image", delay=2, leave=False)):
            known[path] = digest
    if remembered is not None and missing:
        remembered.write(known)
    return [known[path] for path in paths]


class _Remembered:
    """Digests of the files of one list of paths, in the user's cache; those of changed files are forgotten."""

    def __init__(self, paths: Sequence[str]) -> None:
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "image_embeddings/pictures"
        self._file = folder / f"{hashlib.sha256(os.path.commonpath(paths).encode()).hexdigest()[:32]}.parquet"
        self._states = {path: _state(path) for path in paths}

    def read(self) -> dict[str, bytes | None]:
        try:
            table = pd.read_parquet(self._file)
        except Exception:  # there is none, or it is damaged: it is only a help
            return {}
        rows = zip(table["path"], table["state"], table["digest"])
        return {path: digest or None for path, state, digest in rows if state == self._states.get(path)}

    def write(self, known: dict[str, bytes | None]) -> None:
        table = pd.DataFrame({"path": list(known), "digest": [digest or b"" for digest in known.values()]})
        table["state"] = [self._states[path] for path in known]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._file) as temporary:
                table.to_parquet(temporary)
        except OSError:  # no place for it
            pass


def _state(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
