"""What the adversary has (pub Fig. 1): a local set with its features from the server, and users' stolen features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.datasets import reid
from common.files import read_arrays, replacing

from .client import Client
from .config import Config


@dataclass(frozen=True)
class Parts:
    """Tables of images that share no person: path, identity, camera and attributes.

    Attributes:
        proprietary: what the proprietary model is trained on; nothing where it comes from elsewhere.
        local: what the adversary has collected.
        users: query and gallery without junk, merged, as the publication tests on.
    """

    proprietary: pd.DataFrame
    local: pd.DataFrame
    users: pd.DataFrame


def read(config: Config) -> Parts:
    """The images of a run."""
    data = reid.read(config.dataset, config.data_dir, attributes=True, identities=config.people)
    users = pd.concat([data.query, data.gallery[data.gallery.identity != reid.JUNK]], ignore_index=True)
    if 0 < config.users < len(users):
        users = users.iloc[np.linspace(0, len(users) - 1, config.users).astype(int)].reset_index(drop=True)
    identities = np.random.default_rng(0).permutation(data.train.identity.unique())
    share = config.proprietary_share if config.proprietary == "trained" else 0.0
    is_proprietary = data.train.identity.isin(identities[: round(share * len(identities))])
    proprietary, local = (data.train[rows].reset_index(drop=True) for rows in (is_proprietary, ~is_proprietary))
    return Parts(proprietary, local, users)


def is_validation(local: pd.DataFrame, share: float) -> np.ndarray:
    """(N,) which local images show the share of people by whom the adversary chooses the best epoch."""
    identities = np.random.default_rng(1).permutation(local.identity.unique())
    return local.identity.isin(identities[: max(round(share * len(identities)), 1)]).to_numpy()


def collect(config: Config, parts: Parts, client: Client | None, path: Path) -> None:
    """Writes the features of the local images and of the users' to the npz file `path`.

    A server is asked for them, with a fresh key for each request, or they are read from the file that the config names.

    Args:
        config: of the run.
        parts: its images.
        client: of a server with the proprietary model; None: its features are in the file.
        path: where to keep them.

    Raises:
        ValueError: the server or the file of features lacks something; the sentence says what.
    """
    features = {}
    for side, table in (("local", parts.local), ("users", parts.users)):
        paths = table.path.tolist()
        features[side] = read_features(config.features, paths) if client is None else client.embed(paths)
    with replacing(path) as temporary:
        np.savez(temporary, **features)


def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features of the local images (N, D) and of the users' (M, D), float32, from the file that `collect` writes."""
    with np.load(path) as arrays:
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
