"""Features of images with what retrieval knows about them."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from common.files import replacing


@dataclass(frozen=True, eq=False)
class Embeddings:
    """N images as a retrieval method sees them.

    Identities and cameras are names: integers, also as whole floats or as 64-bit hashes without a sign, or strings.
    Those of a query and a gallery are compared as they are; "0002" and 2 are two.

    Args:
        features: (N, D) finite numbers of any float or integer type, stored as contiguous float32.
        identities: N names; -1 marks junk, which rankings ignore in a gallery (`Protocol`).
        cameras: N names, or None where there are none.
        paths: N strings, of the image files, or None.

    Raises:
        ValueError: shapes or types do not fit, there are no images, or a feature is NaN or infinite.
    """

    features: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray | None = None
    paths: np.ndarray | None = None

    def __post_init__(self) -> None:
        features = _numbers(self.features)
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "identities", _ids("identities", self.identities, len(features)))
        for name in ("cameras", "paths"):
            values = getattr(self, name)
            if values is not None:
                values = _ids(name, values, len(features))
                object.__setattr__(self, name, values.astype(str) if name == "paths" else values)

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: np.ndarray) -> "Embeddings":
        """The images at `rows`: indices or a mask."""
        optional = [None if values is None else values[rows] for values in (self.cameras, self.paths)]
        return Embeddings(self.features[rows], self.identities[rows], *optional)


FIELDS = tuple(field.name for field in fields(Embeddings))


def save_embeddings(path: Path, query: Embeddings, gallery: Embeddings) -> None:
    """Writes an npz file of query_features, query_identities, query_cameras and the same for gallery_.

    Cameras and paths are left out where there are none.
    """
    sides = (("query", query), ("gallery", gallery))
    arrays = {f"{side}_{name}": values for side, images in sides for name, values in vars(images).items()}
    with replacing(path) as temporary:
        np.savez(temporary, **{name: values for name, values in arrays.items() if values is not None})


def check_widths(query: Embeddings, gallery: Embeddings) -> None:
    """Raises ValueError where the features of query and gallery cannot be compared."""
    widths = query.features.shape[1], gallery.features.shape[1]
    if widths[0] != widths[1]:
        raise ValueError(
            f"Features of query and gallery must be of equal width, got {widths[0]} and {widths[1]}; "
            "compute both with the same model."
        )


def is_identity(identities: np.ndarray, name: int | str | None) -> np.ndarray:
    """(N,) which of the identities are the given one; an integer is also meant by its digits. None is nobody's."""
    if name is None:
        return np.zeros(len(identities), bool)
    if identities.dtype.kind == "U":
        return identities == str(name)
    try:
        number = int(name)
    except ValueError:
        return np.zeros(len(identities), bool)
    bounds = np.iinfo(identities.dtype)
    return identities == number if bounds.min <= number <= bounds.max else np.zeros(len(identities), bool)


def joint_numbers(what: str, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Q,) and (G,) int64: equal numbers for equal names.

    Raises:
        ValueError: one side has strings and the other one numbers, which would never be equal.
    """
    if left.dtype == right.dtype == np.int64:
        return left, right
    kinds = ["strings" if names.dtype.kind == "U" else "integers" for names in (left, right)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{what} of query and gallery must be of one kind, got {kinds[0]} in the query and {kinds[1]} in the "
            "gallery; read both in the same way."
        )
    numbers, _ = pd.factorize(np.concatenate([names.astype(object) for names in (left, right)]))
    return numbers[: len(left)], numbers[len(left) :]


def _numbers(values: np.ndarray) -> np.ndarray:
    try:
        features = np.asarray(values)
        if features.dtype.kind not in "iufb":
            raise TypeError
    except (TypeError, ValueError):
        kind = getattr(values, "dtype", None) or "rows of several lengths, or no numbers"
        raise ValueError(f"features must be an (N, D) array of numbers, got {kind}.") from None
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is reported below
        features = np.ascontiguousarray(features, dtype=np.float32)
    if features.ndim != 2 or features.size == 0:
        raise ValueError(
            f"features must have shape (N, D) with at least one row and column, got {features.shape}; "
            "flatten each image's features to one row."
        )
    # By blocks, because a mask of all features would take a quarter of their memory.
    bad = [start + np.flatnonzero(~np.isfinite(features[start : start + 4096]).all(axis=1))
           for start in range(0, len(features), 4096)]  # fmt: skip
    rows = np.concatenate(bad)
    if len(rows):
        raise ValueError(
            f"Features must be finite in float32, got NaN or infinity in {len(rows)} of {len(features)} rows, "
            f"first in row {rows[0]}; look at that image and at the model's weights."
        )
    return features


def _ids(name: str, values: np.ndarray, length: int) -> np.ndarray:
    """(N,) int64, or uint64 where a number is larger, or strings."""
    array = np.asarray(values)
    if array.size != length or max(array.shape, default=0) != length:  # (N,), or a row or a column of a table
        raise ValueError(
            f"{name} must have one entry for each of the {length} rows of features, got shape {array.shape}; "
            "were they read from another list of images?"
        )
    array = array.ravel()
    if array.dtype.kind == "O":
        kinds = {str if isinstance(value, str) else type(value) for value in array}
        array = np.array(array.tolist()) if kinds == {str} or not kinds & {str, type(None)} else array
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8")
    if array.dtype.kind in "UT":
        return array.astype(str)
    if array.dtype.kind == "f":
        largest = 2.0 ** (np.finfo(array.dtype).nmant + 1)  # up to it, each whole number has its own float
        wrong = np.flatnonzero(~(np.abs(array) <= largest) | (array != np.floor(array)))
        if len(wrong):
            raise ValueError(
                f"{name} must be strings or whole numbers that {array.dtype} holds exactly, got {array[wrong[0]]} in "
                f"row {wrong[0]}; are these columns in the right order?"
            )
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        kind = "values of several kinds" if array.dtype.kind == "O" else array.dtype
        raise ValueError(f"{name} must be integers or strings, got {kind}; give each one a number or a name.")
    return array if array.dtype == np.uint64 and array.max() >= 2**63 else array.astype(np.int64)
