"""Features of images with what re-identification knows about them."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from common.files import read_arrays, replacing

JUNK = -1  # identity of gallery images that are neither right nor wrong


@dataclass(frozen=True, eq=False)
class Embeddings:
    """N images as a retrieval method sees them.

    Args:
        features: (N, D) finite numbers of any float or integer type, stored as contiguous float32.
        identities: (N,) integers; -1 marks junk, which rankings ignore in a gallery.
        cameras: (N,) integers. Images without camera ids: any two different numbers for query and gallery.

    Raises:
        ValueError: shapes or types do not fit, there are no images, or a feature is NaN or infinite.
    """

    features: np.ndarray
    identities: np.ndarray
    cameras: np.ndarray

    def __post_init__(self) -> None:
        try:
            features = np.asarray(self.features)
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is reported below
                features = np.ascontiguousarray(features, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"features must be an (N, D) array of numbers, got {error}.") from error
        if features.ndim != 2 or features.size == 0:
            raise ValueError(
                f"features must have shape (N, D) with at least one row and column, got {features.shape}; "
                "flatten each image's features to one row."
            )
        _check_finite(features)
        object.__setattr__(self, "features", features)
        for name in ("identities", "cameras"):
            object.__setattr__(self, name, _integers(name, getattr(self, name), len(features)))

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: np.ndarray) -> "Embeddings":
        """The images at `rows`: indices or a mask."""
        return Embeddings(self.features[rows], self.identities[rows], self.cameras[rows])


def _names(side: str) -> list[str]:
    return [f"{side}_{field.name}" for field in fields(Embeddings)]


def save_embeddings(path: Path, query: Embeddings, gallery: Embeddings) -> None:
    """Writes an npz file of query_features, query_identities, query_cameras and the same for gallery_."""
    arrays = [*vars(query).values(), *vars(gallery).values()]
    with replacing(path) as temporary:
        np.savez(temporary, **dict(zip(_names("query") + _names("gallery"), arrays)))


def load_embeddings(path: Path) -> tuple[Embeddings, Embeddings]:
    """Query and gallery from an npz file, which any framework's user can write.

    Raises:
        ValueError: the file is absent, is no npz file, lacks an array, or an array does not fit.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}; write one with np.savez(path, query_features=..., ...).")
    arrays = read_arrays(path)
    missing = [name for name in _names("query") + _names("gallery") if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'no arrays'}.")
    query, gallery = (Embeddings(*(arrays[name] for name in _names(side))) for side in ("query", "gallery"))
    return query, gallery


def check_widths(query: Embeddings, gallery: Embeddings) -> None:
    """Raises ValueError where the features of query and gallery cannot be compared."""
    widths = query.features.shape[1], gallery.features.shape[1]
    if widths[0] != widths[1]:
        raise ValueError(
            f"Features of query and gallery must be of equal width, got {widths[0]} and {widths[1]}; "
            "compute both with the same model."
        )


def _check_finite(features: np.ndarray) -> None:
    # By blocks, because a mask of all features would take a quarter of their memory.
    bad = [start + np.flatnonzero(~np.isfinite(features[start : start + 4096]).all(axis=1))
           for start in range(0, len(features), 4096)]  # fmt: skip
    rows = np.concatenate(bad)
    if len(rows):
        raise ValueError(
            f"Features must be finite in float32, got NaN or infinity in {len(rows)} of {len(features)} rows, "
            f"first in row {rows[0]}; look at that image and at the model's weights."
        )


def _integers(name: str, values: np.ndarray, length: int) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be integers, got {array.dtype}; number them over query and gallery together, "
            "for example with np.unique(names, return_inverse=True)."
        )
    if array.shape != (length,):
        raise ValueError(
            f"{name} must have one number for each of the {length} rows of features, got shape {array.shape}; "
            "were they read from another list of images?"
        )
    return array.astype(np.int64)
