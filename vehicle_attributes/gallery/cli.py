"""Recognizes vehicles by the nearest exemplars of a gallery file, to which classes are added without training.

python -m PROJECT.gallery build GALLERY --training FOLDER --images FOLDER
python -m PROJECT.gallery add GALLERY --training FOLDER --label NAME IMAGE...
python -m PROJECT.gallery remove GALLERY --label NAME
python -m PROJECT.gallery query GALLERY --training FOLDER IMAGE... [--figure answer.png]
"""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tyro
from tqdm import tqdm

from common.datasets.images import SUFFIXES, read_image
from common.report.plots import ranked_lists
from common.report.tables import table

from .index import Answers, Gallery
from .search import calibrated
from .validation import label_list, unit

if TYPE_CHECKING:  # a gallery is searched without Keras
    from ..recognizer import Recognizer

_STEP = 1024  # images from one sign of life to the next
_PIXELS = (96, 96)  # of an image in a figure


@dataclass(frozen=True)
class Build:
    """Makes a gallery of a folder that has a folder of images for each class."""

    gallery: tyro.conf.Positional[Path]  # file to write
    training: Path  # folder of a finished training
    images: Path  # folder of the class folders
    attribute: str | None = None  # what the classes are; default: what the network was trained for
    accept: float = 0.95  # share of pictures of known classes that the threshold accepts
    calibration: Path | None = None  # class folders of other pictures, to set the threshold by; default: the exemplars
    overwrite: bool = False  # replace a gallery that is there

    def run(self) -> None:
        if self.gallery.exists() and not self.overwrite:  # before the network is loaded, which takes a while
            raise ValueError(f"{self.gallery} exists; pass --overwrite to replace it, or choose another path.")
        paths, labels = _class_folders(self.images)
        others = None if self.calibration is None else _class_folders(self.calibration)
        recognizer = _load(self.training)
        attribute = self.attribute or _only(list(recognizer.classes))
        features = unit(_embed(recognizer, paths), names=paths)
        given = None
        if others is not None:
            given = unit(_embed(recognizer, others[0]), names=others[0]), np.array(others[1], object)
        try:
            threshold = calibrated(features, np.array(labels, object), self.accept, given)
            limit = f"Queries farther than {threshold:.4f} are unknown."
        except ValueError as error:
            threshold, limit = None, f"No query is unknown, as no threshold can be set. {error}"
        built = Gallery.build(
            self.gallery,
            features,
            labels,
            paths,
            fingerprint=recognizer.fingerprint,
            attribute=attribute,
            threshold=threshold,
            overwrite=self.overwrite,
        )
        print(f"{self.gallery}: {len(built)} exemplars of {len(built.classes)} classes ({attribute}). {limit}")


@dataclass(frozen=True)
class Add:
    """Adds exemplars of a class, known or new, without training anything."""

    gallery: tyro.conf.Positional[Path]  # file that build wrote
    images: tyro.conf.Positional[tuple[Path, ...]]  # image files, or folders of them
    training: Path  # folder of the training that it was built with
    label: str  # their class

    def run(self) -> None:
        paths = _pictures(self.images)
        label_list(self.label, 1)  # before the network is loaded
        recognizer = _load(self.training)
        gallery = Gallery(self.gallery, recognizer.fingerprint)
        begin = time.perf_counter()
        features = _embed(recognizer, paths)
        embedded = time.perf_counter()
        gallery.add(features, self.label, paths)
        stored = time.perf_counter()
        print(
            f"{self.gallery}: added {len(paths)} exemplars of {self.label!r}; embedding took "
            f"{1e3 * (embedded - begin):.0f} ms, storing {1e3 * (stored - embedded):.1f} ms. It has {len(gallery)} of "
            f"{len(gallery.classes)} classes."
        )


@dataclass(frozen=True)
class Remove:
    """Removes a class, or the exemplar of one image."""

    gallery: tyro.conf.Positional[Path]  # file that build wrote
    label: str | None = None  # class to remove
    image: Path | None = None  # image to remove

    def run(self) -> None:
        if (self.label is None) == (self.image is None):
            raise ValueError("remove takes either --label or --image, got both or neither; pass one.")
        gallery = Gallery(self.gallery)
        path = None if self.image is None else os.path.abspath(self.image)
        count = gallery.remove(label=self.label, path=path)
        print(f"{self.gallery}: removed {count} exemplar(s). It has {len(gallery)} of {len(gallery.classes)} classes.")


@dataclass(frozen=True)
class Query:
    """Recognizes images by their nearest exemplars."""

    gallery: tyro.conf.Positional[Path]  # file that build wrote
    images: tyro.conf.Positional[tuple[Path, ...]]  # image files, or folders of them
    training: Path  # folder of the training that it was built with
    k: int = 5  # nearest exemplars to show
    by_means: bool = False  # compare with the mean of each class, for classes of few exemplars; nothing is unknown then
    figure: Path | None = None  # PNG to draw: images and their nearest exemplars, green where these are of the class
    json: bool = False  # print JSON in place of a table

    def run(self) -> None:
        if self.by_means and self.figure is not None:
            raise ValueError(
                "A figure shows the nearest exemplars, and means have no image; drop --figure or --by-means."
            )
        paths = _pictures(self.images)
        recognizer = _load(self.training)
        gallery = Gallery(self.gallery, recognizer.fingerprint)
        answers = gallery.query(unit(_embed(recognizer, paths), names=paths), self.k, by_means=self.by_means)
        limit = None if self.by_means else gallery.threshold
        show = _as_json if self.json else _as_table
        print(show(gallery.attribute, limit, paths, answers))
        if self.figure is not None:
            _draw(self.figure, paths, answers)


def _as_table(attribute: str, threshold: float | None, paths: Sequence[str], answers: Answers) -> str:
    limit = None if threshold is None else f"{threshold:.4f}"
    rows = []
    for i, path in enumerate(paths):
        names = (f"{a} {b:.4f} {Path(c).name}".rstrip() for a, b, c in zip(*_neighbors(answers, i)))
        rows.append([path, answers.recognized[i], f"{answers.distances[i, 0]:.4f}", limit, ", ".join(names)])
    return table(["image", attribute, "distance", "threshold", "nearest"], rows)


def _as_json(attribute: str, threshold: float | None, paths: Sequence[str], answers: Answers) -> str:
    images = [
        {
            "image": path,
            "label": str(answers.recognized[i]),
            "distance": float(answers.distances[i, 0]),
            "nearest": [{"label": a, "distance": b, "image": c} for a, b, c in zip(*_neighbors(answers, i))],
        }
        for i, path in enumerate(paths)
    ]
    return json.dumps({"attribute": attribute, "threshold": threshold, "images": images}, indent=2)


def _neighbors(answers: Answers, i: int) -> tuple[list[str], list[float], list[str]]:
    return answers.labels[i].tolist(), answers.distances[i].tolist(), answers.paths[i].tolist()


def _draw(path: Path, paths: Sequence[str], answers: Answers) -> None:
    rows = [[read_image(file, _PIXELS) for file in (query, *near)] for query, near in zip(paths, answers.paths)]
    # A rejected query is of no class, so that none of its neighbors is of its class.
    ranked_lists(path, rows, answers.labels == answers.recognized[:, np.newaxis])


def _load(training: Path) -> "Recognizer":
    from .. import recognizer

    return recognizer.load(training)


def _embed(recognizer: "Recognizer", paths: Sequence[str]) -> np.ndarray:
    """(N, D) float32."""
    steps = tqdm(range(0, len(paths), _STEP), "embed", unit_scale=_STEP, unit="image", delay=2, leave=False)
    return np.concatenate([recognizer.embed(paths[start : start + _STEP])["embedding"] for start in steps])


def _only(attributes: list[str]) -> str:
    if len(attributes) != 1:
        raise ValueError(
            f"The network was trained for {', '.join(attributes)}; pass --attribute, what the folders are."
        )
    return attributes[0]


def _class_folders(root: Path) -> tuple[list[str], list[str]]:
    """Absolute paths of the images in the folders of a folder, and the folders' names, in the order of names."""
    if not root.is_dir():
        raise ValueError(f"The folder {root} does not exist; pass one that has a folder of images for each class.")
    paths, labels = [], []
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        pictures = _pictures([folder])
        paths, labels = paths + pictures, labels + [folder.name] * len(pictures)
    if not paths:
        raise ValueError(f"{root} has no folders; expected one of images for each class, named as the class.")
    label_list(labels, len(paths))  # before anything is embedded
    return paths, labels


def _pictures(images: Sequence[Path]) -> list[str]:
    """Absolute paths of image files, and of those in folders in the order of names."""
    paths = []
    for path in images:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
            if not files:
                raise ValueError(f"The folder {path} has no images ({', '.join(SUFFIXES)}); add some, or remove it.")
        elif not path.exists():
            raise ValueError(f"The image {path} does not exist; check its path.")
        paths += [os.path.abspath(file) for file in files]
    if not paths:
        raise ValueError("There must be one image or more, got none; pass image files or folders of them.")
    return list(dict.fromkeys(paths))


def main() -> None:
    """Command line."""
    tyro.cli(Build | Add | Remove | Query).run()
