"""Your own pictures from a CSV file, and what is remembered of them."""

import hashlib

import pytest

from common.datasets import own_pictures
from common.datasets.image_folder import read_folders
from common.datasets.own_pictures import checked, different, read_table
from tests.common.datasets.test_image_folder import picture, write_classes


def write(folder, text, names=("a", "b", "c")):
    for name in names:
        (folder / f"{name}.png").write_bytes(picture(name))
    (folder / "list.csv").write_text(text, encoding="utf-8-sig")
    return folder / "list.csv"


def test_a_csv_file_is_read_by_the_names_of_its_columns(tmp_path):
    text = "Image;identity;camid;split;left;top;right;bottom;photographer\na.png;007;c1;TRAIN;0;0;2;3;x\n"
    file = write(tmp_path, text + f"{tmp_path}/b.png; 7 ;c2;query;1;1;4;3;y\n")
    with pytest.warns(UserWarning, match="that nothing is known of are left out: photographer"):
        table = read_table(file)
    assert table["path"].tolist() == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert table["label"].tolist() == ["007", "7"]  # two names, not one number
    assert table["camera"].tolist() == ["c1", "c2"] and table["split"].tolist() == ["train", "query"]
    assert table[["left", "top", "right", "bottom"]].to_numpy().tolist() == [[0, 0, 2, 3], [1, 1, 4, 3]]
    boxes = [bytes.fromhex("".join(f"{n:02x}{0:014x}" for n in box)) for box in ([0, 0, 2, 3], [1, 1, 4, 3])]
    expected = [hashlib.sha256(hashlib.sha256(picture(n)).digest() + b).digest() for n, b in zip("ab", boxes)]
    assert checked(table)["digest"].tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,kind\na.png,x\n", "must have rows with the columns path and label, .*; got 1 rows with path, kind"),
        ("path,label\n", "must have rows with the columns path and label"),
        ("path,label,left\na.png,x,1\n", "of a box all of left, top, right, bottom; got 1 rows with path, label, left"),
        ("path,label\na.png,x\nb.png,\nc.png,\n", r"2 row\(s\) of .* the first is line 3 \(b.png, \); expected a path"),
        ("path,label,split\na.png,x,valid\n", "the first is line 2 .* expected a split of train, test, query, gallery"),
        ("path,label\na.png,x\na.png,y\n", "list.csv lists .*a.png more than once"),
        ("path,label,left,top,right,bottom\na.png,x,0,0,1.5,2\n", "line 2 .* expected whole pixels in left, top"),
    ],
)
def test_what_is_wrong_with_a_csv_file_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path, text))


def test_other_places_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="There are no pictures at .*a.txt; expected a folder with a folder per class, or"
    ):
        read_table(tmp_path / "a.txt")


def test_the_split_of_a_csv_file_counts(tmp_path):
    rows = [f"{name}.png,{label},{split}" for name, label, split in zip("abc", "xyx", ("train", "test", "gallery"))]
    data = read_folders(write(tmp_path, "path,label,split\n" + "\n".join(rows)), "make")
    assert data.train["make"].tolist() == ["x"] and data.test["make"].tolist() == ["y", "x"]


def test_digests_are_remembered_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(own_pictures, "_REMEMBERED", 5)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    table = read_table(write_classes(tmp_path / "set"))
    expected, read, digest_of = checked(table), [], own_pictures.digest_of
    monkeypatch.setattr(own_pictures, "digest_of", lambda path: read.append(path) or digest_of(path))
    assert checked(table).equals(expected) and not read
    (tmp_path / "set/car/a.jpg").write_bytes(picture("another"))
    changed = checked(table)
    assert read == [str(tmp_path / "set/car/a.jpg")] and (changed["digest"] != expected["digest"]).sum() == 1
    (tmp_path / "set/car/a.jpg").unlink()
    for _ in range(2):
        with pytest.raises(ValueError, match="^1 of 30 images cannot be read, they are missing .*car/a.jpg"):
            checked(table)
    with pytest.warns(UserWarning, match="1 of 30"):
        assert len(different(checked(table, skip_damaged=True))) == 29
