"""Arrays by name from npz, npy, csv, Parquet, PyTorch's and MATLAB's files."""

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.files import read_arrays

_TABLES = (".csv", ".parquet")
_SPLIT_NAMES = ("split", "subset", "set", "part")
_SIDES = {"query": "query", "probe": "query", "gallery": "gallery", "test": "gallery"}  # value of a split -> side
# Columns of a table that are no features.
_META = {
    "features", "feature", "embedding", "embeddings", "vector", "identities", "identity", "id", "pid", "person_id",
    "vehicle_id", "label", "target", "class", "camera", "camera_id", "camid", "cam", "path", "image_path", "img_path",
    "image", "filename", "file", "name",
}  # fmt: skip


def read_files(path: Path) -> dict[str, Any]:
    """Arrays by the names that the file or folder gives them; of a table, query_ and gallery_ are set before them.

    Raises:
        ValueError: there is no such file, it is of no known kind, or it cannot be read.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise ValueError(f"There is no file {path}; write one with np.savez(path, query_features=..., ...).")
    readers: dict[str, Callable[[Path], dict[str, Any]]] = {
        ".npz": read_arrays, ".csv": _read_tables, ".parquet": _read_tables, ".mat": _read_mat, ".pt": _read_torch,
        ".pth": _read_torch,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path} must end in one of {', '.join(readers)}, or be a folder; save the arrays as npz.")
    return readers[path.suffix.lower()](path)


def _read_folder(folder: Path) -> dict[str, Any]:
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    arrays = {file.stem: _read_npy(file) for file in files if file.suffix == ".npy"}
    tables = _of_a_job(folder, [file for file in files if file.suffix.lower() in _TABLES])
    if arrays:
        return arrays
    if {file.stem for file in tables} == {"query", "gallery"}:
        return {f"{file.stem}_{name}": array for file in tables for name, array in _read_tables(file).items()}
    if not tables:
        raise ValueError(
            f"The folder {folder} has no npy, csv or Parquet files; expected query_features.npy and others."
        )
    return _read_tables(*tables)


def _of_a_job(folder: Path, files: list[Path]) -> list[Path]:
    """The files, without empty ones of a job that embedded pictures in shards; of such a job all must be there."""
    names = [re.fullmatch(r"shard-(\d+)-of-(\d+)-part-(\d+)-of-(\d+)\.parquet", file.name) for file in files]
    parts = [tuple(map(int, match.groups())) for match in names if match is not None]
    if len(parts) < len(files) or not parts:
        return files
    shards = {number: count for number, _, _, count in parts}
    missing = [f"shard {i} of {parts[0][1]}" for i in range(1, parts[0][1] + 1) if i not in shards]
    for number, count in shards.items():
        there = {part[2] for part in parts if part[0] == number}
        missing += [f"part {i} of shard {number}" for i in range(1, count + 1) if i not in there]
    if missing or len({part[1] for part in parts}) > 1:
        raise ValueError(f"{folder} has not all of a job's embeddings: {', '.join(missing[:5])} lack; finish the job.")
    import pyarrow.parquet as pq

    return [file for file in files if pq.read_metadata(file).num_rows]


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path)
    except (ValueError, EOFError, OSError):
        raise ValueError(f"{path} is no npy file of plain numbers or strings; write it with np.save.") from None


def _read_tables(*paths: Path) -> dict[str, Any]:
    tables = [_read_table(path) for path in paths]
    for path, table in zip(paths, tables):
        if list(table.columns) != list(tables[0].columns):
            raise ValueError(f"{path} has other columns than {paths[0]}; parts of one table need the same.")
    table = pd.concat(tables, ignore_index=True)
    splits = [name for name in table.columns if name.lower() in _SPLIT_NAMES]
    if not splits:
        return _columns(paths[0], table)
    sides = table.pop(splits[0]).astype(str).str.lower().map(_SIDES)
    if sides.isna().any():
        warnings.warn(
            f"{sides.isna().sum()} of {len(table)} rows of {paths[0]} are neither query nor gallery and are left out.",
            stacklevel=2,
        )
    parts = {side: table[(sides == side).to_numpy()].reset_index(drop=True) for side in ("query", "gallery")}
    for side, part in parts.items():
        if part.empty:
            raise ValueError(f"{paths[0]} has no {side} in its column {splits[0]}; expected 'query' and 'gallery'.")
    return {f"{side}_{key}": array for side, part in parts.items() for key, array in _columns(paths[0], part).items()}


def _read_table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, encoding="utf-8-sig") if path.suffix.lower() == ".csv" else pd.read_parquet(path)
    except ImportError:
        raise ValueError(f"{path} needs pyarrow; install it, or save the table as csv.") from None
    except Exception:  # pandas raises whatever the bytes lead it to
        raise ValueError(f"{path} cannot be read as a table with names of columns in its first row.") from None
    if table.empty:
        raise ValueError(f"{path} has no rows; expected one per image.")
    return table.rename(columns=str)


def _columns(path: Path, table: pd.DataFrame) -> dict[str, Any]:
    """The columns; those of numbers that have no name of their own are the features, if there is no column of such."""
    arrays = {name: table[name].to_numpy() for name in table.columns if name.lower() in _META}
    rest = [name for name in table.columns if name not in arrays]
    for name, array in arrays.items():
        if array.dtype == object and len(array) and isinstance(array[0], (list, np.ndarray)):
            if len({len(row) for row in array}) > 1:
                raise ValueError(
                    f"{path} has rows of several lengths in its column {name}; expected D numbers in each."
                )
            arrays[name] = np.stack(array)
    if any(array.ndim == 2 for array in arrays.values()):
        return arrays
    words = [name for name in rest if not pd.api.types.is_numeric_dtype(table[name])]
    if words:
        raise ValueError(
            f"{path} has columns that are neither known nor numbers: {', '.join(words)}; leave them out, or name "
            "them identity, camera, path or split."
        )
    return arrays | ({"features": table[rest].to_numpy()} if rest else {})


def _read_mat(path: Path) -> dict[str, Any]:
    import scipy.io

    try:
        content = scipy.io.loadmat(path)
    except NotImplementedError:
        raise ValueError(f"{path} is a MATLAB file of version 7.3; save it with scipy.io.savemat or -v7.") from None
    except Exception:  # scipy raises whatever the damaged bytes lead it to
        raise ValueError(f"{path} is no MATLAB file of arrays; save it anew.") from None
    return {name: array for name, array in content.items() if not name.startswith("__")}


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        raise ValueError(f"{path} needs PyTorch, which is not installed; save the arrays as npz where it is.") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a pickle may raise anything
        raise ValueError(
            f"{path} is no PyTorch file of tensors, numbers and strings alone, and anything else might run code; save "
            "a dictionary of tensors."
        ) from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a dictionary of tensors.")
    arrays = {}
    for name, value in content.items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, array in parts:
            is_tensor = isinstance(array, torch.Tensor)
            array = array.detach().float() if is_tensor and array.dtype == torch.bfloat16 else array
            arrays[f"{name}_{key}" if key else str(name)] = array.detach().numpy() if is_tensor else np.asarray(array)
    return arrays
