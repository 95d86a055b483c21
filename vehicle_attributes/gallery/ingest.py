"""Pictures into a gallery, as a job: all are checked first, and what is done outlives a kill at any moment."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.datasets.images import BOX, SUFFIXES, boxes_of, list_images, warn_left_out
from common.datasets.own_pictures import checked, read_table
from common.files import write_text

from ..readers.compcars import box_of
from . import storage
from .index import Gallery
from .validation import label_list, unit, unless_in_use

if TYPE_CHECKING:  # a gallery is searched without Keras
    from ..recognizer import Recognizer

STEP = 1024  # images from one commit to the next
_SHOWN = 5  # paths in a line on the screen


@dataclass
class Outcome:
    """What became of the pictures of a job: how many were added or were there already, and path -> why it was not."""

    added: int = 0
    already: int = 0
    left_out: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """For the screen; nothing if all are in the gallery that were to be added."""
        lines = [f"{self.already} image(s) were in the gallery already."] if self.already else []
        for reason in dict.fromkeys(self.left_out.values()):
            paths = [path for path, why in self.left_out.items() if why == reason]
            more = " …" if len(paths) > _SHOWN else ""
            lines.append(f"{len(paths)} image(s) left out, {reason}: {', '.join(paths[:_SHOWN])}{more}")
        return "\n".join(lines)

    def write(self, gallery: Path) -> None:
        """Leaves the list next to the gallery, if there is something to list."""
        if self.left_out:
            rows = pd.DataFrame({"path": list(self.left_out), "reason": list(self.left_out.values())})
            write_text(gallery.with_name(f"{gallery.name}.left_out.csv"), rows.to_csv(index=False))


def pictures(sources: Sequence[Path], label: str | None = None) -> pd.DataFrame:
    """A table as of `own_pictures.read_table` of image files, folders of images, or CSV files, all with one label.

    Raises:
        ValueError: there is none; the sentence names what has no images.
    """
    tables = []
    for source in sources:
        if source.suffix.lower() == ".csv" and source.is_file():
            tables.append(read_table(source))
            continue
        files = [os.path.abspath(source)]
        if source.is_dir():
            files, others = list_images(os.path.abspath(source))
            warn_left_out(source, others, 2)
            if not files:
                raise ValueError(f"The folder {source} has no images ({', '.join(SUFFIXES)}); add some, or remove it.")
        elif not source.exists():
            raise ValueError(f"The image {source} does not exist; check its path.")
        tables.append(pd.DataFrame({"path": files, "label": ""}))
    if not tables:
        raise ValueError("There must be one image or more, got none; pass image files or folders of them.")
    table = pd.concat(tables).drop_duplicates("path", ignore_index=True)
    return table if label is None else table.assign(label=label)


def with_boxes(table: pd.DataFrame, recognizer: "Recognizer", whole_images: bool = False) -> pd.DataFrame:
    """The table with the columns `BOX` where the network was trained on boxes, and without them elsewhere.

    They are those of a CSV file, or of the label files of CompCars.

    Raises:
        ValueError: images have no boxes, and are not to be taken whole.
    """
    if whole_images or not recognizer.takes_boxes:
        return table.drop(columns=[name for name in BOX if name in table])
    if BOX[0] not in table:
        table = table.assign(**dict.fromkeys(BOX, np.nan))
    boxes = table[BOX].to_numpy(float)
    for row in np.flatnonzero(np.isnan(boxes[:, 0])):
        boxes[row] = box_of(table["path"].iloc[row]) or np.nan
    missing = table["path"][np.isnan(boxes[:, 0])].tolist()
    if missing:
        raise ValueError(
            f"The network was trained on boxes cut out of images, and {len(missing)} of {len(table)} images have none, "
            f"such as {missing[0]}. List them in a CSV file with the columns path, label, {', '.join(BOX)}, or pass "
            "--whole-images where nothing but the vehicle is in them."
        )
    return table.assign(**dict(zip(BOX, boxes.astype("int64").T)))


def load(training: Path) -> "Recognizer":
    """The network of a training; the framework is imported only here."""
    from .. import recognizer

    return recognizer.load(training)


def embedded(
    recognizer: "Recognizer", table: pd.DataFrame, whole_images: bool, skip_damaged: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Features (N, D) float32 of unit length, and labels, of pictures all of which are checked first."""
    table = checked(with_boxes(table, recognizer, whole_images), skip_damaged)
    features = recognizer.embed(table["path"], boxes_of(table))["embedding"]
    return unit(features, names=table["path"].tolist()), table["label"].tolist()


def readable(table: pd.DataFrame, skip_damaged: bool) -> tuple[pd.DataFrame, Outcome]:
    """The pictures as `ingest` takes them, and the beginning of what becomes of them.

    Raises:
        ValueError: a label is none, or images cannot be read and are not to be skipped; all are named.
    """
    label_list(table["label"].tolist(), len(table))
    good = checked(table, skip_damaged)
    return good, Outcome(left_out=dict.fromkeys(sorted(set(table["path"]) - set(good["path"])), "damaged"))


def ingest(
    gallery: Gallery, recognizer: "Recognizer", table: pd.DataFrame, outcome: Outcome, skip_damaged: bool = False
) -> None:
    """Adds pictures to a gallery, 1,024 at a time; those that are in it already are left as they are.

    Args:
        gallery: of the same network.
        recognizer: the network.
        table: as of `readable`, with boxes if the network takes them.
        outcome: that what becomes of them is added to.
        skip_damaged: whether images of which the network makes nothing are left out.

    Raises:
        ValueError: an image is in the gallery with another label or content, or the network makes nothing of one.
    """
    new = _new(gallery, table, outcome)
    for start in tqdm(range(0, len(new), STEP), "embed", unit_scale=STEP, unit="image", delay=2, leave=False):
        part = new.iloc[start : start + STEP]
        features = recognizer.embed(part["path"], boxes_of(part))["embedding"]
        if skip_damaged:
            sizes = np.abs(features).max(axis=1)
            is_good = (sizes > 0) & (sizes < np.inf)
            outcome.left_out |= dict.fromkeys(part["path"][~is_good], "no features")
            part, features = part[is_good], features[is_good]
        columns = (part[name].tolist() for name in ("label", "path", "digest"))
        outcome.added += gallery.add(features, *columns) if len(part) else 0


def _new(gallery: Gallery, table: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """The pictures that are to be added: not in the gallery, once each, and of one class."""
    known = {p: (lab, d) for b in gallery.blocks() for p, lab, d in zip(b.paths, b.labels, b.digests)}
    labels_of = {digest: label for label, digest in known.values() if digest}
    for path, digest, label in zip(table["path"], table["digest"], table["label"]):
        if path in known and (known[path][0] != label or known[path][1] not in (digest, b"")):
            what = "another content" if known[path][0] == label else f"the label {known[path][0]!r}"
            raise ValueError(
                f"The image {path} is in the gallery with {what}; remove it with --image first, or leave it out."
            )
    is_known = table["path"].isin(known.keys())
    outcome.already = int(is_known.sum())
    new = table[~is_known]
    several = new.groupby("digest")["label"].nunique()
    for path, digest, label in zip(new["path"], new["digest"], new["label"]):
        if several[digest] > 1 or labels_of.get(digest, label) != label:
            outcome.left_out[path] = "equal to one of another class"
        elif digest in labels_of:
            outcome.left_out[path] = "equal to another one"
        else:
            labels_of[digest] = label
    return new[~new["path"].isin(outcome.left_out.keys())]


@contextlib.contextmanager
def building(path: Path, recognizer: "Recognizer", attribute: str, table: pd.DataFrame) -> Iterator[Gallery]:
    """A gallery to ingest into, which takes the place of `path` at the end; one that a kill left half-done goes on.

    Until then it is `path` with the suffix `.part`. What is in it and no longer among the pictures is removed.
    """
    part = path.with_name(f"{path.name}.part")
    if not path.parent.is_dir():
        raise ValueError(f"The folder {path.parent} of the gallery does not exist; make it, or choose another path.")
    gallery = None
    with unless_in_use():
        gallery = Gallery(part, recognizer.fingerprint)
    if gallery is None or gallery.attribute != attribute:
        width = recognizer.network.output["embedding"].shape[-1]
        options = {"fingerprint": recognizer.fingerprint, "attribute": attribute, "overwrite": True}
        gallery = Gallery.build(part, np.empty((0, width)), [], [], **options)
    wanted = dict(zip(table["path"], zip(table["label"], table["digest"])))
    before = [one for block in gallery.blocks() for one in zip(block.paths, block.labels, block.digests)]
    if unwanted := {known for known, *what in before if wanted.get(known) != tuple(what)}:
        gallery.remove(path=unwanted)
    yield gallery
    storage.move(part, path)
