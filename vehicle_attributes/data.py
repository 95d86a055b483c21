"""The images of a run: which set they are read from, and those of which an attribute is not known left out."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from common import distribution
from common.datasets import sampler
from common.datasets.image_folder import LabeledImages, read_folders
from common.datasets.images import BOX
from common.experiments.checkpoint import epochs_done

from .config import Config, Trial
from .readers.compcars import read_compcars, read_compcars_sv
from .readers.mio_tcd import read_mio_tcd
from .readers.values import is_known, similar_names
from .readers.veri_wild import read_veri_wild
from .recognizer import NETWORK

PHOTOGRAPHS = Path(__file__).with_name("photographs")  # the set "embedded"; ATTRIBUTION.md there says whose they are

_READERS = {
    "veri_wild": read_veri_wild,
    "compcars": read_compcars,
    "compcars_sv": read_compcars_sv,
    "mio_tcd": read_mio_tcd,
}
_SHOWN = 5  # pairs of names in a warning


def read(config: Config) -> LabeledImages:
    """The data set of a run, without the images of which one of its attributes is not known (`values.UNKNOWN`).

    How many are left out is a warning, and so are names that may be one class spelled twice. The classes of "folders"
    are those of the one attribute that is learned.

    Raises:
        ValueError: unknown set, no folder given, attributes that the set lacks or knows of no image, or the reader's
            complaint.
    """
    name, attributes = config.dataset, config.attributes
    if name == "embedded":
        return _with_known(read_folders(PHOTOGRAPHS), name, attributes)
    if name not in (*_READERS, "folders"):
        raise ValueError(f"Unknown data set {name!r}; expected one of {['embedded', *_READERS, 'folders']}.")
    if config.data_dir is None:
        raise ValueError(f"Data set {name!r} is read from a folder: pass --data-dir.")
    if name == "folders":
        data = read_folders(
            config.data_dir, attributes[0] if len(attributes) == 1 else "type", skip_damaged=config.skip_damaged
        )
    else:
        data = _READERS[name](config.data_dir)
    return _with_known(data, name, attributes)


def _with_known(data: LabeledImages, name: str, attributes: Sequence[str]) -> LabeledImages:
    """Without the images of which an attribute is not known."""
    others = {"path", "identity", "camera", "viewpoint", *BOX}
    columns = [column for column in data.train.columns if column not in others]
    if not set(attributes) <= set(columns):
        raise ValueError(
            f"Data set {name!r} has the attributes {columns}, not all of {list(attributes)}. Choose among those."
        )
    tables, left_out = [], 0
    for table in (data.train, data.test):
        known = pd.Series(True, index=table.index)
        for attribute in attributes:
            known &= table[attribute].map(is_known)
        if not known.any():
            raise ValueError(
                f"No image of a split of {name!r} has {' and '.join(attributes)}. Choose others of {columns}."
            )
        left_out += int((~known).sum())
        tables.append(table[known].reset_index(drop=True))
    if left_out:
        warnings.warn(
            f"{left_out} images of data set {name!r} are left out, as their {' or '.join(attributes)} is not known.",
            stacklevel=3,
        )
    known_data = LabeledImages(*tables)
    for attribute in attributes:
        _report_similar(known_data, attribute)
    return known_data


def _report_similar(data: LabeledImages, attribute: str) -> None:
    """Warns of names that may be one class; they stay apart, as nobody but the user knows."""
    pairs = similar_names([*data.train[attribute].unique(), *data.test[attribute].unique()])
    if pairs:
        more = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
        names = ", ".join(f"{a!r} and {b!r}" for a, b in pairs[:_SHOWN])
        warnings.warn(
            f"Classes of {attribute} with almost equal names, which stay apart: {names}{more}. If they are one class, "
            "give them one name in the data set.",
            stacklevel=4,
        )


def describe(config: Config, data: LabeledImages) -> str:
    """What and how much is trained on."""
    classes = ", ".join(f"{data.train[name].nunique()} of {name}" for name in config.attributes)
    return (
        f"{config.dataset}, {len(data.train):,} training and {len(data.test):,} test images, classes: {classes}, "
        f"{config.epochs} epochs"
    )


def check(config: Config, strategy: distribution.Strategy) -> None:
    """Raises ValueError where a batch cannot be split over the devices."""
    sampler.check_parts(config.classes_per_batch, strategy.num_replicas_in_sync)


def is_finished(config: Config, trial: Trial, data: LabeledImages, folder: Path) -> bool:
    """Whether a training has left its recognizer, and not before its epochs were raised."""
    return (folder / NETWORK).exists() and not 0 < epochs_done(folder) < config.epochs
