"""The doctor of data sets: a sound copy has no problems, and each planted fault is named."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.datasets import check as module
from common.datasets.__main__ import main
from common.datasets.check import check

MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000001_00.jpg"],
    "query": ["0004_c2s1_000001_00.jpg"],
    "bounding_box_test": ["-1_c1s1_000001_00.jpg", "0000_c1s1_000001_00.jpg", "0004_c1s1_000001_00.jpg"],
}
LINES = {
    "train": ["0000/0000_000_01_0303morning_0008_0.jpg 0"],
    "val": ["0001/0001_000_02_0303morning_0008_0.jpg 1"],
    "query": ["0000/0000_000_03_0303morning_0008_0.jpg 0"],
    "gallery": ["0000/0000_000_04_0303morning_0008_0.jpg 0"],
}


def image(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 4, 3), 5 * number, "uint8"))


@pytest.fixture
def market(tmp_path, monkeypatch):
    """All of different pictures, and as many as are published."""
    root = tmp_path / "sets" / "Market-1501-v15.09.15"
    for i, (folder, name) in enumerate((folder, name) for folder, names in MARKET.items() for name in names):
        image(root / folder / name, i)
    layout, *others = module.LAYOUTS
    published = (("Market", (2, 1, 2)), ("Duke", (9, 9, 9)))
    monkeypatch.setattr(module, "LAYOUTS", (module.Layout(layout.name, layout.marks, layout.sides, published), *others))
    return root


def texts(findings, problems=True):
    return [finding.text for finding in findings if finding.is_problem == problems]


@pytest.mark.parametrize("above", [0, 1])
def test_a_sound_set_has_no_problems(market, above):
    name, findings = check(market.parents[above - 1] if above else market)
    assert name == f"Market-1501 or DukeMTMC-reID in {market}"
    assert texts(findings) == []
    assert texts(findings, False) == ["Images: train 2, query 1, gallery 2, as published for Market."]


FAULTS = {
    "leaked identity": (
        lambda root: image(root / "query/0002_c5s1_000001_00.jpg", 30),
        "^1 identities are in the training set and in the test set: 2$",
    ),
    "same picture": (
        lambda root: shutil.copy(root / "query" / MARKET["query"][0], root / "bounding_box_train/0003_c1s1_1_0.jpg"),
        "^1 picture.s. are in query and train, byte for byte, such as .*bounding_box_train/0003_c1s1_1_0.jpg",
    ),
    "damaged": (
        lambda root: (root / "query" / MARKET["query"][0]).write_bytes(b"\xff\xd8 no image"),
        "^1 image.s. cannot be read; fetch them again, or remove them: .*query/0004_c2s1",
    ),
    "name": (
        lambda root: image(root / "query/4.png", 30),
        "^1 file name.s. tell no identity and camera: .*query/4.png",
    ),
    "count": (
        lambda root: (root / "bounding_box_test" / MARKET["bounding_box_test"][1]).unlink(),
        "^Images: train 2, query 1, gallery 1; published are Market .2, 1, 2.; Duke .9, 9, 9.. Scores on this copy",
    ),
    "two sets": (
        lambda root: shutil.copytree(root, root.parent / "Copy"),
        "^Several sets are here, of which the first is checked: .*Copy .Market-1501 or .*, .*v15.09.15 .* Name one",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_problems_are_named(market, fault, monkeypatch, capsys):
    plant, message = FAULTS[fault]
    plant(market)
    problems = texts(check(market.parent)[1])
    assert [text for text in problems if re.search(message, text)]
    assert len([text for text in problems if not text.startswith("Images: ")]) == (fault != "count")
    monkeypatch.setattr("sys.argv", ["datasets", "check", str(market.parent)])
    with pytest.raises(SystemExit) as stopped:
        main()
    out = capsys.readouterr().out
    assert stopped.value.code == 1 and f"{len(problems)} problem(s)" in out and f"PROBLEM  {problems[0]}" in out


def test_what_readers_cope_with_is_a_note(market):
    """Left behind by systems, nested, other kinds of files, another suffix, and equal bytes on one side."""
    query = market / "query"
    for name in ("._0004_c2s1_000001_00.jpg", "Thumbs.db", "notes.doc"):
        (query / name).write_bytes(b"x")
    (market / "__MACOSX").mkdir()
    image(query / "more/0004_c3s1_000001_00.jpg", 31)
    first, second = (market / "bounding_box_test" / name for name in MARKET["bounding_box_test"][1:])
    shutil.copy(first, second)
    shutil.move(second, second.with_suffix(".png"))  # what a file holds counts, not its name
    (market / "list.txt").write_bytes(b"\xef\xbb\xbfa\r\n")
    findings = check(market)[1]
    assert texts(findings) == []
    notes = "\n".join(texts(findings, False))
    for text in (
        "3 file(s) or folder(s) that systems and archives leave behind", "1 file(s) that are neither images nor texts",
        "1 image(s) that are on no side", "Images have several suffixes: 5 .jpg, 1 .png",
        "1 image(s) equal another one of their side", "1 text(s) with Windows line ends", "1 text(s) with a byte order",
    ):  # fmt: skip
        assert text in notes, text


def write_msmt(root):
    for number, (name, lines) in enumerate(LINES.items()):
        image(root / ("train" if name in ("train", "val") else "test") / lines[0].split()[0], number)
        (root / f"list_{name}.txt").write_text("\n".join(lines))
    return "train 2, query 1, gallery 1; published are MSMT17 (32621, 11659, 82161)"


def write_veri_wild(root):
    split = root / "train_test_split"
    split.mkdir(parents=True)
    (split / "vehicle_info.txt").write_text("")
    lists = {"train_list": ["1/1", "1/2"], "test_3000": ["9/1"], "test_3000_query": ["9/2"], "test_10000": ["2/1"]}
    lists["test_10000_query"] = ["2/2 2 5"]
    for name, lines in lists.items():
        (split / f"{name}.txt").write_text("\n".join(lines))
    for number, key in enumerate(("1/1", "1/2", "2/1", "2/2")):
        image(root / f"images/{key}.jpg", number)
    return "train 2, test 2; published are VERI-Wild (277797, 138517)"


def write_compcars(root):
    for side, number in (("train", 0), ("test", 1)):
        lists = root / "train_test_split/classification"
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f"{side}.txt").write_text(f"78/3/2010/{side}.jpg\n")
        image(root / f"image/78/3/2010/{side}.jpg", number)
    return "train 1, test 1; published are CompCars (16016, 14939)"


def write_compcars_sv(root):
    for side, number in (("train", 0), ("test", 1)):
        image(root / f"image/1/{side}.jpg", number)
        (root / f"{side}_surveillance.txt").write_text(f"1/{side}.jpg\n")
    return "train 1, test 1; published are CompCars SV (31148, 13333)"


@pytest.mark.parametrize("write", [write_msmt, write_veri_wild, write_compcars, write_compcars_sv])
def test_sets_with_lists(tmp_path, write):
    """The counts are those of the lists; an image that a list has and the disk has not is a problem."""
    expected = write(tmp_path)
    assert texts(check(tmp_path)[1]) == [f"Images: {expected}. Scores on this copy do not compare."]
    path = next(path for path in sorted(Path(tmp_path).rglob("*.jpg")))
    path.unlink()
    assert f"1 listed image(s) are missing: {path}" in texts(check(tmp_path)[1])


def test_lists_that_are_missing_are_named(tmp_path):
    write_msmt(tmp_path)
    (tmp_path / "list_val.txt").unlink()
    assert texts(check(tmp_path)[1]) == [
        f"{tmp_path / 'list_val.txt'} is missing or cannot be read. Unpack the set again."
    ]


def test_folder_of_classes(tmp_path):
    """Nested images are of their class; one picture in two classes is a problem, twice in one is not."""
    for number, name in enumerate(("bus/a.jpg", "bus/may/b.jpg", "car/c.png")):
        image(tmp_path / name, number)
    name, findings = check(tmp_path)
    assert name == f"a folder of classes in {tmp_path}" and texts(findings) == []
    assert "Images: bus 2, car 1." in texts(findings, False)
    assert any(text.startswith("1 image(s) in folders inside a class") for text in texts(findings, False))
    shutil.copy(tmp_path / "bus/a.jpg", tmp_path / "bus/twice.jpg")
    assert texts(check(tmp_path)[1]) == []
    shutil.copy(tmp_path / "bus/a.jpg", tmp_path / "car/a.jpg")
    assert [
        text.startswith("1 picture(s) are in bus and car, byte for byte") for text in texts(check(tmp_path)[1])
    ] == [True]
    with pytest.raises(ValueError, match="has no images"):
        check(tmp_path / "bus/may")
    with pytest.raises(ValueError, match="The data folder .*nowhere does not exist"):
        check(tmp_path / "nowhere")
