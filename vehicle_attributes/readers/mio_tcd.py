"""MIO-TCD (Luo et al., 2018): crops of traffic cameras."""

from pathlib import Path

from common.datasets.image_folder import LabeledImages, find_folder, read_folders


def read_mio_tcd(root: Path) -> LabeledImages:
    """The classification set: `train/CLASS/*.jpg`, 11 types, one of them no vehicle.

    Its folder `test` has no labels, as it was the test set of a challenge; so `train` is split as
    `read_folders` does, and scores do not compare with the challenge's.

    Args:
        root: has the folder `train`, or has a folder that does.

    Raises:
        ValueError: as `read_folders`.
    """
    return read_folders(find_folder(root, "train") / "train")
