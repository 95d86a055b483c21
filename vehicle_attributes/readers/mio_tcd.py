"""MIO-TCD (Luo et al., 2018): crops of traffic cameras."""

from pathlib import Path

from common.datasets.image_folder import LabeledImages, read_folders
from common.datasets.images import find_folder, list_images

from .counts import check_counts


def read_mio_tcd(root: Path) -> LabeledImages:
    """The classification set: `train/CLASS/*.jpg`, 11 types, one of them no vehicle.

    NOTE(paper): its folder `test` has no labels, as it was the test set of a challenge; so `train` is split as
    `read_folders` does, and scores do not compare with the challenge's. Other numbers of files or types than the
    published ones are a warning.

    Args:
        root: has the folder `train`, or has a folder that does.

    Raises:
        ValueError: as `read_folders`.
    """
    folder = find_folder(root, "train") / "train"
    data = read_folders(folder)
    # All files: equal pictures, of which `read_folders` takes one, are counted in the published number too.
    files = sum(len(list_images(path, nested=True)[0]) for path in folder.iterdir() if path.is_dir())
    check_counts("MIO-TCD", folder, data, {"images": files})
    return data
