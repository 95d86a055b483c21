"""Images in a folder per class, split in two by what they show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from common.datasets.images import BOX
from common.datasets.own_pictures import checked, different, read_table


@dataclass(frozen=True)
class LabeledImages:
    """A training and a test set, tables with a row per image.

    Columns: `path` (str), a text column per attribute (`type`, `make`, `model`, `color`; those the set has, "" where
    it is not known), `identity`, `camera` and `viewpoint` (int64) where the set has them, and `left`, `top`, `right`
    and `bottom` (int64, as `images.BOX`) where it has boxes.
    """

    train: pd.DataFrame
    test: pd.DataFrame


def read_folders(
    root: Path, attribute: str = "type", test_share: float = 0.2, skip_damaged: bool = False
) -> LabeledImages:
    """A folder per class, whose name is the class, with images in it or in folders in it; or a CSV file.

    The split is that of a CSV file's column `split`, where all but `train` is the test set, or else a function of the
    pictures alone, whatever the files are called: within a class they are ordered by the SHA-256 of their bytes, and
    the first round(`test_share` · n), one at least, are the test set. Rows are in that order too. Of equal files in a
    class only the first by name is used; a picture in two classes is left out altogether, as nobody knows which is
    right. Both are warnings.

    Args:
        root: of the class folders; what is no image is left out, with a warning. Or a file, as of
            `own_pictures.read_table`.
        attribute: what the classes are called in the tables.
        test_share: between 0 and 1.
        skip_damaged: whether images that cannot be read are left out, with a warning that names them.

    Raises:
        ValueError: no such folder, no class folders, a class with fewer than two different images, or files that
            cannot be read; the sentence names them.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"The test set's share must be between 0 and 1, got {test_share}. Choose 0.2, for example.")
    listed = read_table(root)
    table = different(checked(listed, skip_damaged))
    if "split" in table:
        train, test = (table[(table["split"] == "train") == is_train] for is_train in (True, False))
        if train.empty or test.empty:
            raise ValueError(f"{root} has {len(train)} training and {len(test)} test images; expected some of each.")
    else:
        train, test = _by_content(root, table, listed["label"].unique(), test_share)
    columns = ["path", "label", *(name for name in BOX if name in table)]
    parts = (part[columns].rename(columns={"label": attribute}).reset_index(drop=True) for part in (train, test))
    return LabeledImages(*parts)


def _by_content(
    root: Path, table: pd.DataFrame, classes: Sequence[str], test_share: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = table.sort_values(["label", "digest"], kind="stable")
    sizes = table["label"].value_counts().reindex(sorted(classes), fill_value=0)
    if sizes.min() < 2:
        raise ValueError(
            f"The class {sizes.idxmin()!r} of {root} has {sizes.min()} different image(s) of its own; expected at "
            "least two, one of them for the test. Add images, or remove the folder."
        )
    tested = (test_share * sizes).round().clip(1, sizes - 1)
    in_test = (table.groupby("label").cumcount() < table["label"].map(tested)).to_numpy()
    return table[~in_test], table[in_test]
