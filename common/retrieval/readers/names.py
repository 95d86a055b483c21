"""What arrays are called by the programs that write them, and which are query and gallery."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from common.retrieval.embeddings import FIELDS, Embeddings
from common.retrieval.readers.files import read_files

FORMATS = "npz, a folder of npy, csv, Parquet or a folder of such, PyTorch's pt and pth, MATLAB's mat"
# Own names first, then those of torchreid (qf, q_pids, q_camids), fast-reid (pids, camids), layumi's
# Person_reID_baseline (query_f, query_label, query_cam) and tables.
NAMES = {
    "features": ("features", "feature", "feats", "feat", "f", "embeddings", "embedding", "vectors", "vector"),
    "identities": (
        "identities", "identity", "ids", "id", "pids", "pid", "person_id", "vehicle_id", "labels", "label", "targets",
        "target", "classes", "class",
    ),
    "cameras": ("cameras", "camera", "camera_ids", "camera_id", "camids", "camid", "cams", "cam"),
    "paths": (
        "paths", "path", "image_paths", "image_path", "img_paths", "img_path", "images", "image", "filenames",
        "filename", "files", "file", "names", "name",
    ),
}  # fmt: skip
_PREFIXES = {"query": ("query_", "query", "q_", "q"), "gallery": ("gallery_", "gallery", "g_", "g")}


def load_embeddings(path: Path) -> tuple[Embeddings, Embeddings]:
    """Query and gallery from what any framework's user has; see `FORMATS` and `NAMES`.

    A file of one set of images is query and gallery, the same object; `Protocol(leave_one_out=True)` is meant for it.
    Relative paths of images are taken from the folder of the file.

    Raises:
        ValueError: the file is absent or cannot be read, lacks an array, or an array does not fit; the sentence names
            file and side.
    """
    path = Path(path)
    arrays = read_files(path)
    sides = {side: _fields(path, arrays, prefixes) for side, prefixes in _PREFIXES.items()}
    if not any(sides.values()):
        one = _images(path, "", _fields(path, arrays, ("",)), arrays)
        return one, one
    query, gallery = (_images(path, side, fields, arrays) for side, fields in sides.items())
    return query, gallery


def _fields(path: Path, arrays: Mapping[str, np.ndarray], prefixes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Field of `Embeddings` -> array of one side."""
    fields = {}
    for field, names in NAMES.items():
        known = {prefix + name for prefix in prefixes for name in names}
        keys = [key for key in arrays if key.lower() in known]
        if len(keys) > 1:
            raise ValueError(f"{path} has several arrays of {field}: {', '.join(keys)}; leave one of them.")
        if keys:
            fields[field] = arrays[keys[0]]
    return fields


def _images(path: Path, side: str, fields: dict[str, np.ndarray], arrays: Mapping[str, np.ndarray]) -> Embeddings:
    prefix = f"{side}_" if side else ""
    missing = [prefix + name for name in ("features", "identities") if name not in fields]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'no arrays'}.")
    try:
        images = Embeddings(**{name: fields[name] for name in FIELDS if name in fields})
    except ValueError as error:
        raise ValueError(f"{path}{', ' if side else ''}{side}: {error}") from None
    if images.paths is None:
        return images
    folder = path if path.is_dir() else path.parent
    return replace(images, paths=np.array([str(folder / name) for name in images.paths]))
