"""Vehicles with their attributes: VERI-Wild, CompCars, MIO-TCD, folders of classes, and vehicles drawn here."""

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from common.datasets.class_folders import read_folders, read_mio_tcd
from common.datasets.compcars import read_compcars, read_compcars_sv
from common.datasets.drawn_vehicles import draw_vehicles
from common.datasets.images import BOX
from common.datasets.vehicle_data import VehicleData, check_listed, find_folder, read_lines, wrong_line

_INFO = "train_test_split/vehicle_info.txt"
_COLUMNS = ["id/image", "camera id", "time", "model", "type", "color"]
_TEST_LIST = re.compile(r"test_(\d+)(_id)?_query\.txt")
_UNKNOWN = ("", "unknown", "none", "null")


def read(name: str, root: Path | None, *, attributes: Sequence[str] = (), **drawing: int) -> VehicleData:
    """Reads "vehicles", "veri_wild", "compcars", "compcars_sv", "mio_tcd" or "folders" from `root`.

    Vehicles are drawn at first; `root` is where to keep them (a cache folder if None), and `drawing` holds
    arguments of `draw_vehicles`, which the other sets ignore. Images of which one of `attributes` is not known are
    left out, and their number told as a warning. The classes of "folders" are those of the attribute asked for.

    Raises:
        ValueError: unknown set, no folder given, attributes that the set lacks or knows of no image, or the reader's
            complaint.
    """
    readers = {
        "veri_wild": read_veri_wild,
        "compcars": read_compcars,
        "compcars_sv": read_compcars_sv,
        "mio_tcd": read_mio_tcd,
        "folders": lambda root: read_folders(root, attributes[0] if len(attributes) == 1 else "type"),
    }
    if name == "vehicles":
        return _with_known(read_veri_wild(draw_vehicles(root, **drawing)), name, attributes)
    if name not in readers:
        raise ValueError(f"Unknown data set {name!r}; expected one of {['vehicles', *readers]}.")
    if root is None:
        raise ValueError(f"Data set {name!r} is read from a folder: pass --data-dir.")
    return _with_known(readers[name](root), name, attributes)


def read_veri_wild(root: Path) -> VehicleData:
    """VERI-Wild (Lou et al., 2019): training list, and gallery and query of the largest test list that is there.

    The columns of `vehicle_info.txt` are found by its header, or are image, camera, time, model, type and color in
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
    found = [match for match in map(_TEST_LIST.fullmatch, os.listdir(split)) if match]
    if not found:
        raise ValueError(f"{split} has no list test_*_query.txt. Unpack the set again.")
    query = max(found, key=lambda match: (int(match[1]), match[2] is None))[0]
    lists = ([train], [query.replace("_query", ""), query])
    tables = []
    for names in lists:
        keys = dict.fromkeys(key for name in names for key in _read_list(split / name, info))
        rows = [(os.path.join(folder, "images", f"{key}.jpg"), *info[key]) for key in keys]
        tables.append(pd.DataFrame(rows, columns=["path", "identity", "camera", *attributes]))
    data = VehicleData(*tables)
    check_listed(data, split)
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


def _with_known(data: VehicleData, name: str, attributes: Sequence[str]) -> VehicleData:
    """Without the images of which an attribute is not known."""
    others = {"path", "identity", "camera", "viewpoint", *BOX}
    has = [column for column in data.train.columns if column not in others]
    if not set(attributes) <= set(has):
        raise ValueError(f"Data set {name!r} has the attributes {has}, not all of {list(attributes)}. Ask for those.")
    tables, left_out = [], 0
    for table in (data.train, data.test):
        known = pd.Series(True, index=table.index)
        for attribute in attributes:
            known &= ~table[attribute].str.lower().isin(_UNKNOWN)
        if not known.any():
            raise ValueError(
                f"No image of a split of {name!r} has {' and '.join(attributes)}. Ask for others of {has}."
            )
        left_out += int((~known).sum())
        tables.append(table[known].reset_index(drop=True))
    if left_out:
        warnings.warn(
            f"{left_out} images of data set {name!r} are left out, as their {' or '.join(attributes)} is not known.",
            stacklevel=3,
        )
    return VehicleData(*tables)
