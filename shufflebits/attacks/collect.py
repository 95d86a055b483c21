"""What the adversary collects (pub Fig. 1): features of a local set from the server, and users' stolen features."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from common.experiments.checkpoint import BEST_WEIGHTS
from common.files import read_arrays, replacing

from ..config import Config
from ..data import Parts
from ..service.client import Client
from ..service.encrypted_model import EncryptedEmbedder
from ..service.server import serving
from .victim import FOLDER, restore_embedder

FEATURES = "features.npz"  # of the local images and the users', in the run folder
# Names of the arrays in a file of features: ours, and those of the author's recipe for FastReID.
_ARRAYS = (("paths", "features"), ("accumulated_image_file_paths", "accumulated_feature_array"))


@contextmanager
def victim_client(config: Config, run: Path) -> Iterator[Client | None]:
    """A client of a server with the victim model, all that the adversary has; None where the model is not here."""
    if config.victim != "trained":
        yield None
        return
    with serving(_embedder(run, (run / FOLDER / BEST_WEIGHTS).stat().st_mtime_ns)) as url:
        yield Client(url)


@functools.lru_cache(maxsize=1)  # all trainings of a run ask the same model, whose graphs take seconds to compile
def _embedder(run: Path, written_at: int) -> EncryptedEmbedder:
    return EncryptedEmbedder(restore_embedder(run))


def collect(config: Config, parts: Parts, run: Path) -> None:
    """Writes the features of the local images and of the users' into the run folder.

    They come from a server, with a fresh key for each request, or from the file that the config names.

    Raises:
        ValueError: the server or the file of features lacks something; the sentence says what.
    """
    features = {}
    with victim_client(config, run) as client:
        for side, table in (("local", parts.local), ("users", parts.users)):
            paths = table.path.tolist()
            features[side] = read_features(config.features, paths) if client is None else client.embed(paths)
    with replacing(run / FEATURES) as temporary:
        np.savez(temporary, **features)


def load(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features of the local images (N, D) and of the users' (M, D), float32, as `collect` wrote them."""
    with np.load(run / FEATURES) as arrays:
        return arrays["local"], arrays["users"]


def read_features(path: Path, images: Sequence[str], dimensions: int | None = None) -> np.ndarray:
    """The features (N, D) of images from an npz file that any framework's user can write.

    Args:
        path: file with the arrays `paths` (P,), text, of which folder and name count, and `features` (P, D) float32; or
            the same as the author's recipe for FastReID names them, `accumulated_image_file_paths` and
            `accumulated_feature_array`.
        images: N paths; the file may have more.
        dimensions: D; None: any.

    Raises:
        ValueError: there is no such file, an array is missing or does not fit, or an image has no features.
    """
    if not path.is_file():
        raise ValueError(
            f"There is no file of features {path}; write one with np.savez(path, paths=..., features=...)."
        )
    arrays = read_arrays(path)
    names = next((names for names in _ARRAYS if set(names) & set(arrays)), _ARRAYS[0])
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {' and '.join(missing)}; it has {', '.join(arrays) or 'no arrays'}.")
    paths, features = (arrays[name] for name in names)
    if features.dtype != np.float32 or features.ndim != 2 or paths.shape != (len(features),):
        raise ValueError(
            f"{path} must have {names[0]} (N,) and {names[1]} (N, D) float32, got {paths.shape} and {features.shape} "
            f"{features.dtype}; cast to float32 yourself, and know what precision is lost."
        )
    if paths.dtype.kind != "U":
        raise ValueError(f"{path} must have {names[0]} as text, got {paths.dtype}; write the paths of the images.")
    if not np.isfinite(features).all():
        raise ValueError(f"{path} has features that are NaN or infinite; look at the model that made them.")
    if dimensions not in (None, features.shape[1]):
        raise ValueError(
            f"{path} has features of {features.shape[1]} numbers, and those of the run have {dimensions}; embed the "
            "images with the model that made the run's."
        )
    rows = {_short(name): i for i, name in enumerate(paths.tolist())}
    if len(rows) < len(paths):
        raise ValueError(f"{path} has features of {len(paths) - len(rows)} images twice; keep one row for each.")
    absent = [name for name in images if _short(name) not in rows]
    if absent:
        raise ValueError(f"{path} has no features of {len(absent)} of {len(images)} images, the first is {absent[0]}.")
    return features[[rows[_short(name)] for name in images]]


def _short(path: str) -> str:
    """The part of a path that does not depend on where a set lies."""
    return "/".join(str(path).replace("\\", "/").split("/")[-2:])
