import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.datasets.image_folder import read_folders

# Ten pictures a class, named against the order of their digests; each suffix is there.
NAMES = ["a.jpg", "b.JPG", "c.jpeg", "d.png", "e.PNG", "f.bmp", "g.webp", "h.jpg", "i.jpg", "j.jpg"]


def picture(name):
    random = np.random.default_rng(list(name.encode()))
    return cv2.imencode(".png", random.integers(0, 256, (3, 4, 3), "uint8"))[1].tobytes()


def pictures(name, count=10):
    return [picture(f"{name} {i}") for i in range(count)]


def write_classes(root, classes=("bus", "car", "truck")):
    for name in classes:
        (root / name).mkdir(parents=True)
        for file, content in zip(NAMES, sorted(pictures(name), key=lambda c: hashlib.sha256(c).digest(), reverse=True)):
            (root / name / file).write_bytes(content)
    return root


def contents(table):
    return [(Path(path).read_bytes(), Path(path).parent.name) for path in table["path"]]


def test_split_is_by_digest_within_each_class(tmp_path):
    data = read_folders(write_classes(tmp_path / "set"))
    assert list(data.train.columns) == ["path", "type"] and [str(kind) for kind in data.test.dtypes] == ["str", "str"]
    expected = {"train": [], "test": []}
    for name in ("bus", "car", "truck"):
        ordered = sorted(pictures(name), key=lambda content: hashlib.sha256(content).hexdigest())
        expected["test"] += [(content, name) for content in ordered[:2]]
        expected["train"] += [(content, name) for content in ordered[2:]]
    assert contents(data.train) == expected["train"] and contents(data.test) == expected["test"]
    assert data.test["type"].tolist() == ["bus", "bus", "car", "car", "truck", "truck"]
    # Names run against the digests.
    assert [Path(path).name for path in data.test["path"][:2]] == ["j.jpg", "i.jpg"]


def test_split_does_not_depend_on_names(tmp_path):
    before = read_folders(write_classes(tmp_path))
    expected = [contents(before.train), contents(before.test)]
    for folder in tmp_path.iterdir():
        for i, path in enumerate(sorted(folder.iterdir(), reverse=True)):
            path.rename(folder / f"{i:02d}.png")
    after = read_folders(tmp_path)
    assert [contents(after.train), contents(after.test)] == expected


@pytest.mark.parametrize(("share", "test"), [(0.2, 2), (0.5, 5), (0.01, 1), (0.99, 9), (0.26, 3)])
def test_share_of_the_test(tmp_path, share, test):
    data = read_folders(write_classes(tmp_path, ["bus"]), test_share=share)
    assert [len(data.test), len(data.train)] == [test, 10 - test]
    assert not set(data.test["path"]) & set(data.train["path"])


def test_two_pictures_are_enough_for_a_class(tmp_path):
    (tmp_path / "bus").mkdir()
    for name in "ab":
        (tmp_path / f"bus/{name}.jpg").write_bytes(picture(name))
    assert [len(part) for part in (read_folders(tmp_path).train, read_folders(tmp_path).test)] == [1, 1]


def test_attribute_is_the_requested_one(tmp_path):
    assert list(read_folders(write_classes(tmp_path), "color").train.columns) == ["path", "color"]


def test_other_files_and_folders_are_left_out_and_named(tmp_path):
    expected = read_folders(write_classes(tmp_path))
    for folder in (".cache", "__MACOSX"):
        (tmp_path / folder).mkdir()
    for name in ("README.txt", "bus/Thumbs.db", "car/._a.jpg", "car/notes.txt", "stray.jpg"):
        (tmp_path / name).write_text("read me")
    with pytest.warns(UserWarning, match=r"^6 file\(s\) or folder\(s\) in .* are no images and are left out: 1 "):
        assert read_folders(tmp_path).train.equals(expected.train)


def test_images_in_folders_of_a_class_are_the_class(tmp_path):
    expected = read_folders(write_classes(tmp_path))
    (tmp_path / "bus/2019/may").mkdir(parents=True)
    for name in ("a.jpg", "b.JPG"):
        (tmp_path / "bus" / name).rename(tmp_path / "bus/2019/may" / name)
    data = read_folders(tmp_path)
    assert [len(data.train), len(data.test)] == [len(expected.train), len(expected.test)]
    assert str(tmp_path / "bus/2019/may/a.jpg") in [*data.train["path"], *data.test["path"]]
    assert set(data.train["type"]) == {"bus", "car", "truck"}
    (tmp_path / "bus/link").symlink_to(tmp_path / "car")
    with pytest.warns(UserWarning, match="^1 file.*left out: 1 link, such as .*bus/link"):
        assert read_folders(tmp_path).train.equals(data.train)


def test_duplicates_are_on_no_two_sides(tmp_path):
    write_classes(tmp_path)
    before = read_folders(tmp_path)
    for name in ("0.jpg", "z.jpg"):  # the first by name, and the last
        shutil.copy(tmp_path / "bus/c.jpeg", tmp_path / "bus" / name)
    with pytest.warns(
        UserWarning,
        match=r"^2 image\(s\) equal another one of their class, byte .* such as .*c.jpeg",
    ):
        data = read_folders(tmp_path)
    assert contents(data.train) == contents(before.train) and contents(data.test) == contents(before.test)
    paths = [*data.train["path"], *data.test["path"]]
    assert str(tmp_path / "bus/0.jpg") in paths and str(tmp_path / "bus/c.jpeg") not in paths


def test_pictures_of_two_classes_are_left_out_of_both(tmp_path):
    write_classes(tmp_path)
    shutil.copy(tmp_path / "bus/c.jpeg", tmp_path / "car/another.jpg")
    with pytest.warns(UserWarning, match=r"^2 image\(s\) are in several classes, byte for byte, and are left out"):
        data = read_folders(tmp_path)
    left = [content for content, _ in contents(data.train) + contents(data.test)]
    assert len(left) == len(set(left)) == 29 and (tmp_path / "bus/c.jpeg").read_bytes() not in left


def leave(folder, count):
    for path in sorted(folder.iterdir())[count:]:
        path.unlink()


def copies(root):
    leave(root / "bus", 1)
    shutil.copy(root / "bus/a.jpg", root / "bus/b.jpg")


def damage(root):
    (root / "car/a.jpg").write_bytes(b"")
    (root / "bus/b.JPG").write_bytes(picture("whole")[:-30])


def test_damaged_images_are_left_out_where_that_is_requested(tmp_path):
    damage(write_classes(tmp_path))
    with pytest.warns(UserWarning, match="^2 of 30 images cannot .*bus/b.JPG, .*car/a.jpg. They are left out"):
        data = read_folders(tmp_path, skip_damaged=True)
    assert len(data.train) + len(data.test) == 28


@pytest.mark.filterwarnings("ignore:.* equal another one:UserWarning")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: leave(root / "bus", 1),
            r"The class 'bus' of .* has 1 different image\(s\) of its own; expected at",
        ),
        (copies, r"The class 'bus' of .* has 1 different image\(s\) of its own; expected at least two"),
        (
            lambda root: leave(root / "bus", 0),
            r"The class 'bus' of .* has no images \(.jpg, .jpeg, .png, .bmp, .webp\)",
        ),
        (
            damage,
            "^2 of 30 images cannot be read, they are missing or damaged: .*bus/b.JPG, .*car/a.jpg. Fetch",
        ),
        (lambda root: [shutil.rmtree(folder) for folder in root.iterdir()], "has no folders; expected one per class"),
        (lambda root: shutil.rmtree(root), "There are no pictures at .*; expected a folder with a folder per"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    root = write_classes(tmp_path / "set")
    change(root)
    with pytest.raises(ValueError, match=message):
        read_folders(root)


@pytest.mark.parametrize("share", [0, 1, -0.2])
def test_wrong_share_is_named(tmp_path, share):
    with pytest.raises(ValueError, match=f"The test set's share must be between 0 and 1, got {share}. Choose"):
        read_folders(tmp_path, test_share=share)
