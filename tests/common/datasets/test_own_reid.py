"""Your own pictures as a re-identification set."""

import numpy as np
import pytest

from common.datasets.own_reid import read_own
from tests.common.datasets.test_image_folder import picture, write_classes

CLASSES = [f"c{i}" for i in range(10)]


def test_a_fifth_of_the_identities_is_held_out_and_its_queries_are_not_in_the_gallery(tmp_path):
    data = read_own(write_classes(tmp_path, CLASSES))
    assert sorted(data.query["label"].unique()) == sorted(data.gallery["label"].unique()) == ["c0", "c9"]
    assert [len(data.train), len(data.query), len(data.gallery)] == [80, 4, 16]  # a fifth of ten pictures each
    assert "camera" not in data.train and not set(data.query["path"]) & set(data.gallery["path"])
    assert not set(data.train["identity"]) & set(data.gallery["identity"])
    assert read_own(tmp_path, held_out=4).query["label"].nunique() == 4
    with pytest.raises(ValueError, match="10 identities, 10 of them with two pictures .*; 9 cannot be held out"):
        read_own(tmp_path, held_out=9)


def write_rows(folder, rows, columns="path,label,camera"):
    for row in rows:
        (folder / row.split(",")[0]).write_bytes(picture(row))
    (folder / "list.csv").write_text("\n".join([columns, *rows]))
    return folder / "list.csv"


def test_with_cameras_the_first_picture_of_each_is_a_query(tmp_path):
    rows = [f"{name}{camera}{i}.png,{name},cam{camera}" for name in "abcdef" for camera in (7, 8) for i in range(3)]
    data = read_own(write_rows(tmp_path, [*rows, "g.png,g,cam7"]))  # g has one camera: not for the test
    assert sorted(data.query["label"].unique()) == ["a", "f"] and len(data.query) == 4 and len(data.gallery) == 12
    assert data.query["camera"].tolist() == [1, 2, 1, 2] and set(data.query["path"]) < set(data.gallery["path"])
    assert len(data.train) == 4 * 6 + 1


def test_a_given_split_counts(tmp_path):
    splits = ("train", "train", "query", "gallery", "gallery", "test", "test")
    rows = [f"{i}.png,{name},{split}" for i, (name, split) in enumerate(zip("abccdee", splits))]
    data = read_own(write_rows(tmp_path, rows, "path,label,split"))
    names = [[path[-5] for path in part["path"]] for part in (data.train, data.query, data.gallery)]
    assert names == [["0", "1"], ["2", "5"], ["3", "4", "6"]]
    with pytest.raises(ValueError, match="has no pictures for train; add some, or change the column split"):
        read_own(write_rows(tmp_path, rows[2:], "path,label,split"))


@pytest.mark.parametrize(
    ("tests", "count", "where"),
    [
        (["c,query,1", "d,gallery,2"], "0 of the 1", ""),
        (["c,query,1", "c,gallery,2"], "1 of the 1", ""),  # nobody to resample for an interval, and no wrong pair
        (["c,query,1", "c,gallery,2", "d,query,1", "d,gallery,1"], "1 of the 2", " from another camera"),
    ],
)
def test_what_could_not_be_scored_is_refused_before_the_training(tmp_path, tests, count, where):
    rows = [f"{i}.png,{row}" for i, row in enumerate(["a,train,1", "b,train,1", *tests])]
    with pytest.raises(ValueError, match=f"{count} identities that .* has queries of are in the gallery{where}"):
        read_own(write_rows(tmp_path, rows, "path,label,split,camera"))


def test_boxes_and_names_stay_with_the_pictures(tmp_path):
    rows = [f"{name}{i}.png,{name},{i},0,4,3" for name in "wxyz" for i in range(3)]
    data = read_own(write_rows(tmp_path, rows, "path,label,left,top,right,bottom"))
    assert data.train["left"].dtype == np.int64 and data.train["label"].tolist() == ["x"] * 3 + ["y"] * 3
    assert data.train["left"].tolist() == [0, 1, 2] * 2
