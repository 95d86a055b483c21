"""CompCars (Yang et al., 2015): photographs from the web with boxes, and crops of surveillance cameras."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
from tqdm import tqdm

from common.datasets.image_folder import LabeledImages
from common.datasets.images import BOX, find_folder

from .counts import check_counts
from .lists import check_listed, read_lines, wrong_line

_IMAGE = "'78/3/2010/c0a2f5ab7f6b7b.jpg', which is make, model, year and name"


def read_compcars(root: Path) -> LabeledImages:
    """The part from the web, split for classification as its authors do.

    Attributes are `type`, `make` and `model`. A model is named with its make; the number follows where several have
    one name, and replaces a name that is missing. Type is "" for models whose type the set does not know (0).
    `viewpoint` is -1 (uncertain), 1 front, 2 rear, 3 side, 4 front-side or 5 rear-side. Other numbers of images or
    classes than the published ones are a warning.

    Args:
        root: has `image`, `label`, `misc` and `train_test_split`, or has a folder (`data`) that does.

    Raises:
        ValueError: something is missing or not what it should be; the sentence names it.
    """
    folder = find_folder(root, "train_test_split/classification/train.txt")
    lists = folder / "train_test_split/classification"
    listed = [_read_web_list(lists / f"{split}.txt") for split in ("train", "test")]  # (make, model, image) each
    cells = read_cells(folder / "misc/make_model_name.mat", "make_names", "model_names")
    makes = _unique({i: name or f"make {i}" for i, name in enumerate(cells["make_names"].ravel(), 1)})
    names = dict(enumerate(cells["model_names"].ravel(), 1))
    for make, _, image in listed[0] + listed[1]:
        if make not in makes:
            raise ValueError(f"{image} is of make {make}, but make_names has {len(makes)}. Fetch {lists} again.")
    pairs = sorted({(make, model) for make, model, _ in listed[0] + listed[1]})
    models = _unique({(make, m): _model_name(makes[make], names.get(m, ""), m) for make, m in pairs})
    types = _read_types(folder)
    tables = []
    for rows in listed:
        table = pd.DataFrame({"path": [str(folder / "image" / image) for _, _, image in rows]})
        table["type"] = [types.get(model, "") for _, model, _ in rows]
        table["make"] = [makes[make] for make, _, _ in rows]
        table["model"] = [models[make, model] for make, model, _ in rows]
        tables.append(table)
    check_listed(LabeledImages(*tables), lists)
    for table, rows in zip(tables, listed):
        labels = [folder / "label" / Path(image).with_suffix(".txt") for _, _, image in rows]
        numbers = [_read_label(path) for path in tqdm(labels, "boxes", unit="image", delay=2, leave=False)]
        table[["viewpoint", *BOX]] = np.array(numbers, "int64")
    data = LabeledImages(*tables)
    check_counts("CompCars", folder, data)
    return data


def read_compcars_sv(root: Path) -> LabeledImages:
    """The part of surveillance cameras, front views cut to the car, split as its authors do.

    Attributes are `make` and `model`, named as the set does ("BWM"), models as in `read_compcars`. Other numbers of
    images or classes than those of the set's own lists are a warning.

    Args:
        root: has `image`, `train_surveillance.txt`, `test_surveillance.txt` and `sv_make_model_name.mat`, or has a
            folder (`sv_data`) that does.

    Raises:
        ValueError: something is missing or not what it should be; the sentence names it.
    """
    folder = find_folder(root, "train_surveillance.txt")
    names = read_cells(folder / "sv_make_model_name.mat", "sv_make_model_name")["sv_make_model_name"]  # (281, 3)
    if names.ndim != 2 or names.shape[1] < 2:
        raise ValueError(f"The names in {folder} have shape {names.shape}; expected (281, 3). Fetch the set again.")
    models = _unique({i: _model_name(make, model, i) for i, (make, model) in enumerate(names[:, :2], 1)})
    tables = []
    for split in ("train", "test"):
        path, rows = folder / f"{split}_surveillance.txt", []
        for number, line in read_lines(path):
            model, _, image = line.partition("/")
            if not image or not model.isdecimal() or int(model) not in models:
                expected = f"a model from 1 to {len(models)} and a name like '1/431e8997607115.jpg'"
                raise wrong_line(path, number, line, expected)
            rows.append((str(folder / "image" / line), names[int(model) - 1, 0], models[int(model)]))
        tables.append(pd.DataFrame(rows, columns=["path", "make", "model"]))
    data = LabeledImages(*tables)
    check_listed(data, f"{folder}/*_surveillance.txt")
    check_counts("CompCars SV", folder, data)
    return data


def _read_web_list(path: Path) -> list[tuple[int, int, str]]:
    rows = []
    for number, line in read_lines(path):
        parts = line.split("/")
        if len(parts) != 4 or not (parts[0].isdecimal() and parts[1].isdecimal()):
            raise wrong_line(path, number, line, _IMAGE)
        rows.append((int(parts[0]), int(parts[1]), line))
    return rows


def read_cells(path: Path, *keys: str) -> dict[str, np.ndarray]:
    """Cell arrays of a MATLAB file as texts, in their shapes; an empty cell is ""."""
    if not path.is_file():
        raise ValueError(f"{path} is missing. Unpack the set again.")
    try:
        content = scipy.io.loadmat(path)
        return {key: np.vectorize(_text, otypes=[object])(content[key]) for key in keys}
    except Exception as error:  # scipy raises whatever the damaged bytes lead it to
        raise ValueError(
            f"{path} cannot be read as the cell array(s) {', '.join(keys)} ({type(error).__name__}: {error}). "
            "Fetch it again."
        ) from error


def _text(cell: np.ndarray) -> str:
    return str(np.ravel(cell)[0]).strip() if np.size(cell) else ""


def _read_types(folder: Path) -> dict[int, str]:
    """Model -> type of car; models whose type is not known are left out."""
    types = read_cells(folder / "misc/car_type.mat", "types")["types"].ravel()
    path = folder / "misc/attributes.txt"
    (first, header), *lines = read_lines(path)
    columns = header.split()
    if not {"model_id", "type"} <= set(columns):
        raise wrong_line(path, first, header, "names of columns with model_id and type")
    model_types = {}
    for number, line in lines:
        fields = dict(zip(columns, line.split()))
        values = [fields.get(name, "") for name in ("model_id", "type")]
        if not all(value.isdecimal() for value in values) or int(values[1]) > len(types):
            raise wrong_line(path, number, line, f"{len(columns)} numbers, the type from 0 to {len(types)}")
        model, kind = map(int, values)
        if kind:
            model_types[model] = types[kind - 1]
    return model_types


def box_of(image: str) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of an image of the part from the web, from its label file; None if it has none."""
    before, folder, behind = image.rpartition("/image/")
    path = Path(before) / "label" / Path(behind).with_suffix(".txt")
    return _read_label(path)[1:] if folder and path.is_file() else None


def _read_label(path: Path) -> tuple[int, int, int, int, int]:
    """Viewpoint, left, top, right and bottom; the file has the viewpoint, how many boxes there are, and the box."""
    lines = [line for _, line in read_lines(path)]
    try:
        viewpoint, (x1, y1, x2, y2) = int(lines[0]), (int(number) for number in lines[2].split())
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"{path} reads {lines}; expected the viewpoint, the number of boxes, and a box of four numbers. "
            "Fetch it again."
        ) from error
    if not (1 <= x1 < x2 and 1 <= y1 < y2):
        raise ValueError(f"{path} has the box {lines[2]!r}; expected x1 y1 x2 y2, 1 or more and x1 < x2, y1 < y2.")
    # The set's pixels begin at 1, and x2 and y2 are still inside.
    return viewpoint, x1 - 1, y1 - 1, x2, y2


def _model_name(make: str, model: str, number: int) -> str:
    """The name with its make, as different makes have models of one name; many names begin with the make already."""
    if not model:
        return f"{make} model {number}"
    return model if model.lower().startswith(make.lower()) else f"{make} {model}"


def _unique(names: Mapping) -> dict:
    """Numbers, or pairs of numbers, -> names, with the (last) number behind a name that several have."""
    counts = Counter(names.values())
    numbers = {key: key[-1] if isinstance(key, tuple) else key for key in names}
    return {key: name if counts[name] == 1 else f"{name} ({numbers[key]})" for key, name in names.items()}
