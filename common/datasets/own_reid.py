"""Your own pictures as a re-identification set: identities to train on, and others with queries and a gallery."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.datasets.own_pictures import checked, different, read_table
from common.datasets.person_reid import ReIDData


def read_own(source: Path, held_out: int = 0, skip_damaged: bool = False) -> ReIDData:
    """Your own pictures, as of `own_pictures.read_table`; tables have a column `label` too, and boxes where there are.

    The split is that of a CSV file. Or else identities are held out of the training, spread evenly over those by name
    that have pictures enough, and are the test. Its queries are, with cameras, the first picture of each identity by
    each camera, and all are in the gallery; without cameras, a fifth of each identity's pictures, which the gallery
    lacks, and tables have no column `camera`.

    Args:
        source: folder or CSV file.
        held_out: identities of the test; 0: a fifth, two at least.
        skip_damaged: as of `own_pictures.checked`.

    Raises:
        ValueError: images cannot be read, all of which are named; or there are too few identities or pictures.
    """
    listed = different(checked(read_table(source), skip_damaged))
    names, identities = np.unique(listed["label"], return_inverse=True)
    table = listed.drop(columns="digest").assign(identity=identities.astype("int64"))
    if "camera" in table:
        table["camera"] = np.unique(table["camera"], return_inverse=True)[1].astype("int64") + 1
    if "split" in table:
        split = table.pop("split")
        train, test = table[split == "train"], table[split == "test"]
        query, gallery = table[split == "query"], table[split == "gallery"]
        if not test.empty:
            query, gallery = (pd.concat(parts) for parts in zip((query, gallery), _own_queries(test)))
    else:
        differing = table.groupby("identity")["camera" if "camera" in table else "path"].nunique()
        eligible = differing.index[differing > 1].to_numpy()
        count = held_out or max(2, round(len(names) / 5))
        if count < 2 or count > min(len(eligible), len(names) - 2):
            raise ValueError(
                f"{source} has {len(names)} identities, {len(eligible)} of them with two pictures or more (and of two "
                f"cameras, where cameras are known); {count} cannot be held out for the test, as two or more must "
                "remain. Add pictures, or give fewer by --held-out."
            )
        chosen = eligible[np.linspace(0, len(eligible) - 1, count).astype(int)]
        is_test = table["identity"].isin(chosen)
        train, (query, gallery) = table[~is_test], _own_queries(table[is_test])
    parts = {"train": train, "query": query, "gallery": gallery}
    if empty := [name for name, part in parts.items() if part.empty]:
        raise ValueError(f"{source} has no pictures for {' and '.join(empty)}; add some, or change the column split.")
    if (count := _searchable(query, gallery)) < 2:
        where = " from another camera" if "camera" in table else ""
        raise ValueError(
            f"{count} of the {query['identity'].nunique()} identities that {source} has queries of are in the gallery"
            f"{where} too; a score with an interval needs two. Add pictures, or change the column split."
        )
    return ReIDData(*(part.reset_index(drop=True) for part in parts.values()))


def _searchable(query: pd.DataFrame, gallery: pd.DataFrame) -> int:
    """How many identities have a query with a match: a picture in the gallery, of another camera if there are such."""
    names = ["identity", "camera"] if "camera" in query else ["identity"]
    pairs = query[names].drop_duplicates().merge(gallery[names].drop_duplicates(), on="identity")
    if "camera" in query:
        pairs = pairs[pairs["camera_x"] != pairs["camera_y"]]
    return pairs["identity"].nunique()


def _own_queries(test: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Queries and gallery."""
    if "camera" in test:
        return test.groupby(["identity", "camera"], sort=False).head(1), test
    is_query = test.groupby("identity").cumcount() % 5 == 0
    return test[is_query], test[~is_query]
