"""VERI-Wild (Lou et al., 2019): vehicles under surveillance cameras, with type, make or model, and color."""

import os
import re
from pathlib import Path

import pandas as pd

from common.datasets.image_folder import LabeledImages
from common.datasets.images import find_folder

from .counts import check_counts
from .lists import check_listed, read_lines, wrong_line

_INFO = "train_test_split/vehicle_info.txt"
_COLUMNS = ["id/image", "camera id", "time", "model", "type", "color"]
_TEST_LIST = re.compile(r"test_(\d+)(_id)?_query\.txt")


def read_veri_wild(root: Path) -> LabeledImages:
    """The training list, and gallery and query of the largest test list that is there.

    Other numbers of images or classes than the published ones are a warning.

    The columns of `vehicle_info.txt` have the names in its header, or are image, camera, time, model, type and color in
    copies without one. Lists are those of the first release (`train_list.txt`, `test_10000.txt`) or of the later one
    (`train_list_start0.txt`, `test_10000_id.txt`).

    NOTE: code of others that reads the file knows one column "Model" besides "Type" and "Color", and none of the make.
    It is read as `make`, of which 149 are published for this set; whether its values are makes could not be checked,
    as the set is given out on request. A file that has a column "Make" too is read as it says.

    Args:
        root: has `images/ID/IMAGE.jpg` and `train_test_split`, or has a folder that does.

    Raises:
        ValueError: something is missing or not what it should be; the sentence names it.
    """
    folder = find_folder(root, _INFO)
    info, attributes = _read_info(folder / _INFO)
    split = folder / "train_test_split"
    train = "train_list.txt" if (split / "train_list.txt").exists() else "train_list_start0.txt"
    queries = [match for match in map(_TEST_LIST.fullmatch, os.listdir(split)) if match]
    if not queries:
        raise ValueError(f"{split} has no list test_*_query.txt. Unpack the set again.")
    query = max(queries, key=lambda match: (int(match[1]), match[2] is None))[0]
    lists = ([train], [query.replace("_query", ""), query])
    tables = []
    for names in lists:
        keys = dict.fromkeys(key for name in names for key in _read_list(split / name, info))
        rows = [(os.path.join(folder, "images", f"{key}.jpg"), *info[key]) for key in keys]
        tables.append(pd.DataFrame(rows, columns=["path", "identity", "camera", *attributes]))
    data = LabeledImages(*tables)
    check_listed(data, split)
    check_counts("VERI-Wild", folder, data)
    return data


def _read_info(path: Path) -> tuple[dict[str, tuple], list[str]]:
    """Image ("ID/IMAGE") -> identity, camera and attributes; and the attributes' names."""
    lines = read_lines(path)
    first, line = lines[0]
    header = [field.strip().lower() for field in line.split(";")]
    columns = _COLUMNS
    if len(header) < 2 or not header[1].isdecimal():
        columns, lines = header, lines[1:]
        if not set(_COLUMNS[:2]) <= set(columns):
            raise wrong_line(path, first, line, "names of columns with id/image and Camera ID, between ;")
    attributes = [name for name in ("type", "make", "model", "color") if name in columns]
    named = ["make" if name == "model" and "make" not in columns else name for name in attributes]
    image, camera = (columns.index(name) for name in _COLUMNS[:2])
    places = [columns.index(name) for name in attributes]
    info = {}
    for number, line in lines:
        fields = [field.strip() for field in line.split(";")]
        if (
            len(fields) != len(columns)
            or not re.fullmatch(r"\d+/[^/]+", fields[image])
            or not fields[camera].isdecimal()
        ):
            raise wrong_line(path, number, line, f"{len(columns)} fields between ;, which are {', '.join(columns)}")
        key = _key(fields[image])
        info[key] = (int(key.split("/")[0]), int(fields[camera]), *(fields[place] for place in places))
    return info, named


def _read_list(path: Path, info: dict[str, tuple]) -> list[str]:
    """The images ("ID/IMAGE") of a list; behind a space there may be numbers that `info` has as well."""
    keys = []
    for number, line in read_lines(path):
        key = _key(line.split()[0])
        if key not in info:
            raise wrong_line(path, number, line, f"an image of {_INFO} like '00001/000001.jpg'")
        keys.append(key)
    return keys


def _key(image: str) -> str:
    return image[:-4] if image.lower().endswith(".jpg") else image
