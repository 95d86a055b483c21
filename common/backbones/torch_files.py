"""Reads the arrays of PyTorch's files with NumPy alone, and runs nothing that a file says.

In both layouts: that since PyTorch 1.6, a ZIP archive of a pickle and raw numbers, and the older one, several pickles
and the raw numbers in a row.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older layout


class Opaque(dict):
    """Stands for an object of any other class, such as an optimizer's, which is not made."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        """Takes nothing over."""

    def __call__(self, *arguments: Any) -> "Opaque":
        return self

    def append(self, item: Any) -> None:
        """Takes nothing over."""

    def extend(self, items: Any) -> None:
        """Takes nothing over."""


class _Unpickler(pickle.Unpickler):
    """Makes arrays of tensors, and `Opaque` of whatever is neither these nor a plain Python value."""

    def __init__(self, file: BinaryIO, storage: Callable[[str, str, int], np.ndarray]):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _array,
            ("torch._utils", "_rebuild_parameter"): lambda array, *_: array,
        }
        return known.get((module, name), Opaque)

    def persistent_load(self, pid: Any) -> Any:
        _, dtype, key, _, count, *view = pid
        return self._storage(key, dtype, count) if isinstance(dtype, str) and view in ([], [None]) else Opaque()


def _array(storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Any:
    """What PyTorch rebuilds a tensor from: a view of its storage."""
    if isinstance(storage, Opaque):
        return storage
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides))
    if min(offset, *strides, *shape, 0) < 0 or (0 not in shape and last >= len(storage)):
        raise ValueError("a tensor lies outside of its storage")
    bytes_between = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, bytes_between)


def read(path: Path) -> Any:
    """What `torch.save` wrote, with NumPy arrays for tensors.

    Raises:
        ValueError: the file is in neither layout, or damaged.
    """
    try:
        with open(path, "rb") as file:
            return _read_archive(file) if zipfile.is_zipfile(file) else _read_pickles(file)
    except OSError:
        raise
    except Exception as error:  # pickles and archives fail with errors of any class
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read as a PyTorch checkpoint of arrays ({reason}).") from error


def _read_archive(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        (content,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        folder = content.removesuffix("data.pkl") + "data/"

        def storage(key: str, dtype: str, count: int) -> np.ndarray:
            return np.frombuffer(archive.read(folder + key), dtype, count)

        with archive.open(content) as pickled:
            return _Unpickler(pickled, storage).load()  # type: ignore[arg-type]


def _read_pickles(file: BinaryIO) -> Any:
    file.seek(0)
    storages: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: str, count: int) -> np.ndarray:
        return storages.setdefault(key, np.empty(count, dtype))  # filled below

    magic, _, _, content, keys = (_Unpickler(file, storage).load() for _ in range(5))
    if magic != _MAGIC:
        raise ValueError("it does not begin as one")
    for key in keys:
        if key not in storages:
            raise ValueError("it holds numbers of a type that NumPy lacks")
        (count,) = struct.unpack("<q", file.read(8))
        numbers = np.frombuffer(file.read(count * storages[key].itemsize), storages[key].dtype, count)
        storages[key][:] = numbers
    return content
