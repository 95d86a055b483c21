"""What the adversary collects (pub Fig. 1): features of a local set from the server, and users' stolen features."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from common.files import read_arrays, replacing

from ..config import Config
from ..data import Parts
from ..service.client import Client
from ..service.server import serving
from .victim import restore_embedder

FEATURES = "features.npz"  # of the local images and the users', in the run folder


@contextmanager
def victim_client(config: Config, run: Path) -> Iterator[Client | None]:
    """A client of a server with the victim model, all that the adversary has; None where the model is not here."""
    if config.victim != "trained":
        yield None
        return
    with serving(restore_embedder(run)) as url:
        yield Client(url)


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


def read_features(path: Path, images: Sequence[str]) -> np.ndarray:
    """The features (N, D) of images from an npz file that any framework's user can write.

    Args:
        path: file with the arrays `paths` (P,), text, of which folder and name count, and `features` (P, D) float32.
        images: N paths; the file may have more.

    Raises:
        ValueError: there is no such file, an array is missing or does not fit, or an image has no features.
    """
    if not path.is_file():
        raise ValueError(
            f"There is no file of features {path}; write one with np.savez(path, paths=..., features=...)."
        )
    arrays = read_arrays(path)
    missing = [name for name in ("paths", "features") if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {' and '.join(missing)}; it has {', '.join(arrays) or 'no arrays'}.")
    paths, features = arrays["paths"], arrays["features"]
    if features.dtype != np.float32 or features.ndim != 2 or paths.shape != (len(features),):
        raise ValueError(
            f"{path} must have paths (N,) and features (N, D) float32, got {paths.shape} and {features.shape} "
            f"{features.dtype}; cast to float32 yourself, and know what precision is lost."
        )
    if not np.isfinite(features).all():
        raise ValueError(f"{path} has features that are NaN or infinite; look at the model that made them.")
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
