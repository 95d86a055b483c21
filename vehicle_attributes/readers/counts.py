"""How many images and classes the published sets have, so that another copy of a set is noticed."""

import warnings
from collections.abc import Mapping
from pathlib import Path

from common.datasets.check import LISTED_IMAGES
from common.datasets.image_folder import LabeledImages

from .values import is_known


def _images(name: str) -> dict[str, int]:
    return dict(zip(("training images", "test images"), LISTED_IMAGES[name]))


# Images as the sets' authors count them, or as their lists have lines; classes as the dissertation's Tables 3.1 to 3.4
# have them, those of CompCars' surveillance part as its own file names them.
PUBLISHED: dict[str, dict[str, int]] = {
    # The test set is the largest of three.
    "VERI-Wild": _images("VERI-Wild") | {"type": 14, "make": 149},
    # Table 3.2 counts 12 types in 52,083 images; how many these 30,955 have is not published.
    "CompCars": _images("CompCars") | {"make": 75, "model": 431},
    "CompCars SV": _images("CompCars SV") | {"make": 68, "model": 281},
    # Of 648,959 images; the others have no labels.
    "MIO-TCD": {"images": 519_164, "type": 11},
}


def check_counts(name: str, folder: Path, data: LabeledImages, images: Mapping[str, int] | None = None) -> None:
    """Warns where a set has other numbers of images or classes than `PUBLISHED`.

    Args:
        name: of the set there.
        folder: that it was read from.
        data: its images; classes are counted on both sides, without what is not known.
        images: numbers of images to count in place of those of both tables.
    """
    counts = dict(images or {"training images": len(data.train), "test images": len(data.test)})
    for attribute in PUBLISHED[name].keys() - counts.keys():
        if attribute in data.train:
            values = {*data.train[attribute].unique(), *data.test[attribute].unique()}
            counts[attribute] = sum(map(is_known, values))
    wrong = [key for key in PUBLISHED[name] if counts.get(key) != PUBLISHED[name][key]]
    if wrong:
        ours, published = (
            ", ".join(f"{key} {numbers.get(key, 0):,}" for key in wrong) for numbers in (counts, PUBLISHED[name])
        )
        warnings.warn(
            f"{folder} has {ours}, the published set {published}: scores on it do not compare with published ones.",
            stacklevel=4,
        )
