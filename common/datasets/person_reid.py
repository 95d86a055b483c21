"""Person re-identification sets: Market-1501, DukeMTMC-reID, MSMT17, and synthetic people."""

import os
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from common.datasets.images import SUFFIXES, find_folder, list_images, warn_left_out
from common.synthetic.people import draw_people

JUNK = -1  # identity of boxes that are neither right nor wrong answers: left out of a ranking
DISTRACTOR = 0  # identity of boxes that show nobody who is searched for (Market-1501 and synthetic people)

SPLITS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
# identity, camera[, sequence], frame[, box]: 0002_c1s1_000451_03.jpg, -1_c3s2_001000_00.jpg.jpg, 0005_c2_f0046985.jpg
BOX_NAME = re.compile(r"(-1|\d+)_c(\d+)(?:s\d+)?_.*\.(?:jpe?g|png|bmp|webp)", re.IGNORECASE)
# Images of train, query and gallery without junk, as the sets' authors count them.
OFFICIAL_COUNTS = {"Market": (12936, 3368, 15913), "Duke": (16522, 2228, 17661), "MSMT17": (32621, 11659, 82161)}


@dataclass(frozen=True)
class ReIDData:
    """Three tables with a row per image, in the order of file names or of the set's own lists.

    Columns: `path` (str), `identity` and `camera` (int64), and a column per attribute where attributes are read.
    """

    train: pd.DataFrame
    query: pd.DataFrame
    gallery: pd.DataFrame

    def without_junk(self) -> "ReIDData":
        """The set without the boxes in the gallery that are neither right nor wrong answers."""
        return replace(self, gallery=self.gallery[self.gallery.identity != JUNK])


def read(name: str, root: Path | None, *, attributes: bool = False, **synthetic: int) -> ReIDData:
    """Reads "market1501", "duke", "msmt17" or "synthetic" from `root`.

    Synthetic people are generated the first time, into `root` or a cache folder; `synthetic` holds arguments of
    `draw_people`, which the other sets ignore.

    Raises:
        ValueError: unknown set, no folder given, attributes of a set that has none, or the reader's complaint.
    """
    if name == "synthetic":
        folder = draw_people(root, **synthetic)
        return _with_attributes(_read_named_files(folder), folder, "Market", attributes)
    readers = {"market1501": read_market1501, "duke": read_duke}  # of sets with attributes
    if name not in (*readers, "msmt17"):
        raise ValueError(f"Unknown data set {name!r}; expected one of {[*readers, 'msmt17', 'synthetic']}.")
    if root is None:
        raise ValueError(f"Data set {name!r} is read from a folder: pass --data-dir.")
    if name in readers:
        return readers[name](root, attributes=attributes)
    if attributes:
        raise ValueError("Data set 'msmt17' has no attributes; those with attributes: market1501, duke, synthetic.")
    return read_msmt17(root)


def read_market1501(root: Path, attributes: bool | Path = False) -> ReIDData:
    """Market-1501 (Zheng et al., 2015) from its own folder or the folder that holds it.

    Args:
        root: contains `bounding_box_train`, `query` and `bounding_box_test`, or a folder `Market*` that does.
        attributes: True joins `market_attribute.mat` (Lin et al., 2019) of the set's folder or of the one that
            holds it; a path joins that file. Columns have the file's names and values, which
            start at 1 ("no", or the first of several classes); -1 where an identity is not annotated,
            as all distractors and junk.

    Returns:
        The gallery has the distractors (identity 0) and the junk (identity -1).

    Raises:
        ValueError: something is missing, empty or not what it should be; the sentence names it.
    """
    return _read_boxes(root, "Market", attributes)


def read_duke(root: Path, attributes: bool | Path = False) -> ReIDData:
    """DukeMTMC-reID (Zheng et al., 2017) from its own folder or the folder that holds it as `Duke*`.

    Arguments and errors are those of `read_market1501`; its attributes are in `duke_attribute.mat`.
    """
    return _read_boxes(root, "Duke", attributes)


def read_msmt17(root: Path) -> ReIDData:
    """MSMT17 (Wei et al., 2018), V1 or V2, from its own folder or the folder that holds it as `MSMT17*`.

    The published protocol trains on the lists `train` and `val` together. Identity 0 is a person here, in
    training and, another one, in query and gallery.

    Raises:
        ValueError: something is missing, empty or not what it should be; the sentence names it.
    """
    lists = [f"list_{name}.txt" for name in ("train", "val", "query", "gallery")]
    folder = find_folder(root, "list_train.txt", prefix="MSMT17")
    version_1 = (folder / "train").is_dir()
    train, test = (folder / name for name in (("train", "test") if version_1 else ("mask_train_v2", "mask_test_v2")))
    for needed in [train, test, *(folder / name for name in lists)]:
        if not needed.exists():
            raise ValueError(f"{folder} is not a whole MSMT17: {needed.name} is missing. Unpack the set again.")
    tables = [_read_list(folder / name, images) for name, images in zip(lists, (train, train, test, test))]
    data = ReIDData(pd.concat(tables[:2], ignore_index=True), *tables[2:])
    _check_matches(data, folder)
    _check_counts(data, "MSMT17", folder)
    return data


def hold_out(data: ReIDData, count: int) -> ReIDData:
    """A set of the training images alone, whose test images are of other people than its training images.

    What is chosen by it, such as a learning rate, has not seen the test set.

    Args:
        data: whose training images are taken.
        count: identities to hold out, spread evenly over the sorted ones. The gallery is all of their images, and the
            first one from each camera is a query.

    Raises:
        ValueError: fewer than two identities would be left on a side.
    """
    identities = np.unique(data.train.identity)
    if not 2 <= count <= len(identities) - 2:
        raise ValueError(
            f"Of {len(identities)} training identities 2 to {len(identities) - 2} can be held out, got {count}."
        )
    chosen = identities[np.linspace(0, len(identities) - 1, count).astype(int)]
    held = data.train.identity.isin(chosen)
    gallery = data.train[held].reset_index(drop=True)
    query = gallery.groupby(["identity", "camera"], sort=False).head(1).reset_index(drop=True)
    return ReIDData(data.train[~held].reset_index(drop=True), query, gallery)


def read_attributes(path: Path) -> pd.DataFrame:
    """The attributes of `market_attribute.mat` or `duke_attribute.mat`: a row per identity, indexed by identity.

    Values are those of the file: 1 is "no" (or the first class: young, short hair, long sleeve, long lower
    body, dress, male), 2 "yes" (or the second class); Market-1501's `age` goes to 4.

    Raises:
        ValueError: the file is missing, damaged or not such a file.
    """
    if not path.is_file():
        raise ValueError(f"The attributes are read from {path}, which does not exist. Put the file there.")
    try:
        content = scipy.io.loadmat(path, simplify_cells=True)
        splits = content["duke_attribute" if "duke_attribute" in content else "market_attribute"]
        # The fields of train and test are in different orders: by name.
        columns = [{key: np.ravel(value) for key, value in splits[name].items()} for name in ("train", "test")]
        table = pd.concat([pd.DataFrame(split) for split in columns], ignore_index=True)
        index = table.pop("image_index").astype("int64").rename("identity")
    except Exception as error:  # scipy raises whatever the damaged bytes lead it to
        raise ValueError(
            f"{path} cannot be read as attributes of people ({type(error).__name__}: {error}). Fetch it again."
        ) from error
    return table.astype("int64").set_index(index)


def _read_boxes(root: Path, prefix: str, attributes: bool | Path) -> ReIDData:
    folder = find_folder(root, *SPLITS.values(), prefix=prefix)
    data = _read_named_files(folder)
    _check_counts(data, prefix, folder)
    return _with_attributes(data, folder, prefix, attributes)


def _with_attributes(data: ReIDData, folder: Path, prefix: str, attributes: bool | Path) -> ReIDData:
    if not attributes:
        return data
    if attributes is True:
        places = [place / f"{prefix.lower()}_attribute.mat" for place in (folder, folder.parent)]
        attributes = next((path for path in places if path.is_file()), places[0])
    table = read_attributes(attributes)
    tables = [
        rows.join(table.reindex(rows["identity"], fill_value=-1).reset_index(drop=True))
        for rows in (data.train, data.query, data.gallery)
    ]
    return ReIDData(*tables)


def _read_named_files(folder: Path) -> ReIDData:
    """The layout of Market-1501: three folders of images whose names tell identity and camera."""
    data = ReIDData(**{split: _read_folder(folder / name) for split, name in SPLITS.items()})
    _check_matches(data, folder)
    return data


def _read_folder(folder: Path) -> pd.DataFrame:
    if not folder.is_dir():
        raise ValueError(f"The folder {folder} is missing. Unpack the set again, or check --data-dir.")
    images, others = list_images(folder)
    if not images:
        raise ValueError(f"The folder {folder} has no images ({', '.join(SUFFIXES)}). Unpack the set again.")
    warn_left_out(folder, others, 5)
    rows = []
    for path in images:
        match = BOX_NAME.fullmatch(os.path.basename(path))
        if match is None:
            raise ValueError(
                f"The file name of {path} tells no identity and camera; expected a name like "
                "0002_c1s1_000451_03.jpg. Rename or remove it."
            )
        _check_bytes(path, os.path.getsize(path))
        rows.append((path, int(match[1]), int(match[2])))
    return pd.DataFrame(rows, columns=["path", "identity", "camera"])


def _read_list(path: Path, images: Path) -> pd.DataFrame:
    """A list of MSMT17: lines `0000/0000_000_01_0303morning_0008_0.jpg 0`, path and identity."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        match = re.fullmatch(r"(\S+) +(\d+)\s*", line)
        fields = Path(match[1]).name.split("_") if match else []
        if match is None or len(fields) < 3 or not fields[2].isdigit():
            raise ValueError(
                f"Line {number} of {path} reads {line!r}; expected a path and an identity like "
                "'0000/0000_000_01_0303morning_0008_0.jpg 0'. Fetch the list again."
            )
        rows.append((str(images / match[1]), int(match[2]), int(fields[2])))
    if not rows:
        raise ValueError(f"{path} is empty; expected a line per image. Fetch the list again.")
    for image, _, _ in rows:
        if not os.path.isfile(image):
            raise ValueError(f"{image} is missing, but {path} lists it. Unpack the set again.")
        _check_bytes(image, os.path.getsize(image))
    return pd.DataFrame(rows, columns=["path", "identity", "camera"])


def _check_bytes(image: str, size: int) -> None:
    if size == 0:
        raise ValueError(f"The image {image} has no bytes. Fetch it again, or remove it.")


def _check_matches(data: ReIDData, folder: Path) -> None:
    """At least one query needs its identity in the gallery from another camera; `score` counts those without."""
    seen = data.gallery.groupby("identity")["camera"].agg(["min", "max"]).reindex(data.query["identity"])
    camera = data.query["camera"].to_numpy()
    if not np.any((seen["min"].to_numpy() < camera) | (seen["max"].to_numpy() > camera)):
        raise ValueError(
            f"No query of {folder} has its identity in the gallery from another camera, so nothing can be scored; "
            "expected images of the same identities, taken by at least two cameras, in query and gallery."
        )


def _check_counts(data: ReIDData, prefix: str, folder: Path) -> None:
    counts = (len(data.train), len(data.query), len(data.without_junk().gallery))
    if counts != OFFICIAL_COUNTS[prefix]:
        warnings.warn(
            f"{folder} has {counts} images in train, query and gallery without junk, the published set "
            f"{OFFICIAL_COUNTS[prefix]}: scores on it do not compare with published ones.",
            stacklevel=4,
        )
