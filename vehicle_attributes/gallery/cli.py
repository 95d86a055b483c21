"""Recognizes vehicles by the nearest exemplars of a gallery file, to which classes are added without training.

python -m PROJECT.gallery build GALLERY --training FOLDER --images FOLDER
python -m PROJECT.gallery add GALLERY --training FOLDER --label NAME IMAGE...
python -m PROJECT.gallery query GALLERY --training FOLDER IMAGE... [--figure answer.png]
python -m PROJECT.gallery {info,list,calibrate,remove,relocate,export,index,push,serve} GALLERY ...
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from common.datasets.images import read_image
from common.datasets.own_pictures import read_table
from common.report.tables import table

from .engines.faiss_index import FaissIndex, Kind
from .engines.milvus import is_milvus, opened
from .index import Answers, Gallery
from .ingest import building, embedded, ingest, load, pictures, readable, with_boxes
from .maintenance import Calibrate, Export, Index, Info, List, Push, Relocate, Remove
from .service.command import Serve
from .thresholds import check_accept
from .validation import label_list
from .voting import Way

_PIXELS = (96, 96)  # of an image in a figure


@dataclass(frozen=True)
class Build:
    """Makes a gallery of a folder that has a folder of images for each class, or of a CSV file.

    A build that was stopped or killed goes on with the same command.
    """

    gallery: tyro.conf.Positional[Path]  # file to write
    training: Path  # folder of a finished training
    images: Path  # folder of the class folders, or a CSV file with path, label, and left, top, right, bottom of a box
    attribute: str | None = None  # what the classes are; default: what the network was trained for
    accept: float = 0.95  # share of pictures of known classes that the threshold accepts
    calibration: Path | None = None  # class folders of other pictures, to set the threshold by; default: the exemplars
    skip_damaged: bool = False  # leave out images that cannot be read, and list them
    whole_images: bool = False  # where a network was trained on boxes: the images show nothing but the vehicle
    overwrite: bool = False  # replace a gallery that is there

    def run(self) -> None:
        if self.gallery.exists() and not self.overwrite:  # before the network is loaded, which takes a while
            raise ValueError(f"{self.gallery} exists; pass --overwrite to replace it, or choose another path.")
        check_accept(self.accept)
        listed = read_table(self.images)
        label_list(listed["label"].tolist(), len(listed))
        known = None if self.calibration is None else read_table(self.calibration)
        if known is not None and (others := sorted(set(known["label"]) - set(listed["label"]))):
            raise ValueError(f"{self.calibration} has pictures of {', '.join(others)}, but {self.images} has none.")
        recognizer = load(self.training)
        attribute = self.attribute or _only(list(recognizer.classes))
        good, outcome = readable(with_boxes(listed, recognizer, self.whole_images), self.skip_damaged)
        given = None
        if known is not None:
            given = embedded(recognizer, known, self.whole_images, self.skip_damaged)
        with building(self.gallery, recognizer, attribute, good) as gallery:
            ingest(gallery, recognizer, good, outcome, self.skip_damaged)
            try:
                limit = gallery.calibrate(self.accept, *(given or ()))
                threshold = f"Queries farther than {limit:.4f} are unknown."
            except ValueError as error:
                threshold = f"No query is unknown, as no threshold can be set. {error}"
        outcome.write(self.gallery)
        print(
            f"{self.gallery}: {len(gallery)} exemplars of {len(gallery.classes)} classes ({attribute}). {threshold}",
            outcome.text(),
            sep="\n" * bool(outcome.text()),
        )


@dataclass(frozen=True)
class Add:
    """Adds exemplars of a class, known or new, without training anything; those that are there already stay."""

    gallery: tyro.conf.Positional[Path]  # file that build wrote
    images: tyro.conf.Positional[tuple[Path, ...]]  # image files, folders of them, or CSV files, which have labels
    training: Path  # folder of the training that it was built with
    label: str | None = None  # their class; not needed of CSV files
    calibrate: bool = True  # set a threshold that was set by the exemplars anew
    skip_damaged: bool = False  # leave out images that cannot be read, and list them
    whole_images: bool = False  # where a network was trained on boxes: the images show nothing but the vehicle

    def run(self) -> None:
        listed = pictures(self.images, self.label)
        if (listed["label"] == "").any() and self.label is None:
            raise ValueError("Images need a class; pass --label, or a CSV file with the columns path and label.")
        label_list(listed["label"].tolist(), len(listed))  # before the network is loaded
        recognizer = load(self.training)
        gallery = Gallery(self.gallery, recognizer.fingerprint)
        begin = time.perf_counter()
        good, outcome = readable(with_boxes(listed, recognizer, self.whole_images), self.skip_damaged)
        ingest(gallery, recognizer, good, outcome, self.skip_damaged)
        spent = time.perf_counter() - begin
        outcome.write(self.gallery)
        labels = ", ".join(repr(name) for name in dict.fromkeys(listed["label"]))
        print(
            f"{self.gallery}: added {outcome.added} exemplars of {labels} in {spent:.1f} s. It has {len(gallery)} of "
            f"{len(gallery.classes)} classes.{_threshold_after(gallery, self.calibrate)}",
            outcome.text(),
            sep="\n" * bool(outcome.text()),
        )


def _threshold_after(gallery: Gallery, calibrate: bool) -> str:
    """Sets the threshold of a gallery that has changed anew if it can, and says what it is."""
    if not gallery.head.is_stale:
        return ""
    if calibrate and gallery.head.by_exemplars and gallery.head.accept is not None:
        try:
            return f" Queries farther than {gallery.calibrate(gallery.head.accept):.4f} are unknown now."
        except ValueError:  # too few of a class, where there were more
            pass
    return " The threshold was set before that and is stale: set it anew with calibrate."


@dataclass(frozen=True)
class Query:
    """Recognizes images by their nearest exemplars."""

    gallery: tyro.conf.Positional[str]  # file that build wrote, or a place of Milvus
    images: tyro.conf.Positional[tuple[Path, ...]]  # image files, folders of them, or a CSV file with boxes
    training: Path  # folder of the training that it was built with
    k: int = 5  # nearest exemplars to show
    by: Way = "nearest"  # what decides: exemplars, as many of each class, votes of equal priors, or means of classes
    index: Kind | None = None  # that index made of the gallery: faster, and may miss some; default: all are compared
    whole_images: bool = False  # where a network was trained on boxes: the images show nothing but the vehicle
    figure: Path | None = None  # PNG to draw: images and their nearest exemplars, ✓ where these are of the class
    json: bool = False  # print JSON in place of a table

    def run(self) -> None:
        if self.by == "class_means" and self.figure is not None:
            raise ValueError(
                "A figure shows the nearest exemplars, and means have no image; drop --figure or --by class_means."
            )
        if self.index is not None and is_milvus(self.gallery):
            raise ValueError("An index of faiss is one of a gallery file, and Milvus has its own; drop --index.")
        listed = pictures(self.images)
        recognizer = load(self.training)
        gallery = opened(self.gallery, recognizer.fingerprint)
        options = {} if self.index is None else {"index": FaissIndex(gallery, self.index)}
        features, _ = embedded(recognizer, listed, self.whole_images)
        paths = listed["path"].tolist()
        answers = gallery.query(features, self.k, by=self.by, **options)
        limit = None if self.by == "class_means" else gallery.threshold
        stale = gallery.head.is_stale and limit is not None
        show = _as_json if self.json else _as_table
        print(show(gallery.attribute, limit, stale, paths, answers))
        if stale:
            print("The gallery has changed since its threshold was set; set it anew with calibrate.", file=sys.stderr)
        if self.figure is not None:
            _draw(self.figure, paths, answers)


def _as_table(attribute: str, threshold: float | None, stale: bool, paths: Sequence[str], answers: Answers) -> str:
    limit = None if threshold is None else f"{threshold:.4f}{' (stale)' * stale}"
    rows = []
    for i, path in enumerate(paths):
        names = (f"{a} {b:.4f} {Path(c).name}".rstrip() for a, b, c in zip(*_neighbors(answers, i)))
        rows.append([path, answers.recognized[i], f"{answers.distances[i, 0]:.4f}", limit, ", ".join(names)])
    return table(["image", attribute, "distance", "threshold", "nearest"], rows)


def _as_json(attribute: str, threshold: float | None, stale: bool, paths: Sequence[str], answers: Answers) -> str:
    limit = {"threshold": threshold, "threshold_is_stale": stale}
    return json.dumps({"attribute": attribute, **limit, "images": as_records(paths, answers)}, indent=2)


def as_records(paths: Sequence[str], answers: Answers) -> list[dict[str, Any]]:
    """Answers as JSON values."""
    return [
        {
            "image": path,
            "label": str(answers.recognized[i]),
            "distance": float(answers.distances[i, 0]),
            "nearest": [{"label": a, "distance": b, "image": c} for a, b, c in zip(*_neighbors(answers, i))],
        }
        for i, path in enumerate(paths)
    ]


def _neighbors(answers: Answers, i: int) -> tuple[list[str], list[float], list[str]]:
    return answers.labels[i].tolist(), answers.distances[i].tolist(), answers.paths[i].tolist()


def _draw(path: Path, paths: Sequence[str], answers: Answers) -> None:
    from common.report.plots import RankedList, ranked_lists  # takes a second to load

    # A rejected query is of no class, so that none of its neighbors is of its class.
    right = answers.labels == answers.recognized[:, np.newaxis]
    lists = [
        RankedList([read_image(file, _PIXELS) for file in (query, *near)], *of_query)
        for query, near, *of_query in zip(paths, answers.paths, right, answers.distances, answers.recognized)
    ]
    ranked_lists(path, {"": lists})


def _only(attributes: list[str]) -> str:
    if len(attributes) != 1:
        raise ValueError(
            f"The network was trained for {', '.join(attributes)}; pass --attribute, what the folders are."
        )
    return attributes[0]


def main() -> None:
    """Command line."""
    tyro.cli(Build | Add | Query | Info | List | Calibrate | Remove | Relocate | Export | Index | Push | Serve).run()
