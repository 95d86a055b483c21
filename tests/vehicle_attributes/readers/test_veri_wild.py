import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vehicle_attributes.layouts import write_veri_wild
from vehicle_attributes.config import Config
from vehicle_attributes.data import read
from vehicle_attributes.readers import counts
from vehicle_attributes.readers.veri_wild import read_veri_wild

INFO = """id/image;Camera ID;Time;Model;Type;Color
00001/000001;34;2018-03-11 08:00:05;Volkswagen;sedan;white
00001/000002;8;2018-03-11 08:20:41;Volkswagen;sedan;white
00002/000003;8;2018-03-12 17:00:00;;SUV;black
00003/000004;2;2018-03-12 17:00:01;Audi;sedan;red
00003/000005;3;2018-03-12 18:00:01;Audi;sedan;red
00004/000006;3;2018-03-13 18:00:01;Ford;pickup;Unknown
"""
LISTS = {
    "train_list.txt": ["00001/000002", "00001/000001", "00002/000003"],
    "test_3000.txt": ["00003/000004"],
    "test_3000_query.txt": ["00003/000005"],
    "test_10000.txt": ["00003/000004", "00004/000006"],
    "test_10000_query.txt": ["00003/000005", "00003/000004"],
}


pytestmark = pytest.mark.filterwarnings("ignore:.* the published set:UserWarning")


def write_wild(root, info=INFO, lists=LISTS):
    images = {line.split(";")[0]: b"image" for line in INFO.splitlines()[1:]}
    return write_veri_wild(root, info, lists, images)


def rows(table):
    """All rows, of paths only the names."""
    return [(Path(path).name, *rest) for path, *rest in table.itertuples(index=False)]


WILD_TRAIN = [
    ("000002.jpg", 1, 8, "sedan", "Volkswagen", "white"),
    ("000001.jpg", 1, 34, "sedan", "Volkswagen", "white"),
    ("000003.jpg", 2, 8, "SUV", "", "black"),
]
WILD_TEST = [
    ("000004.jpg", 3, 2, "sedan", "Audi", "red"),
    ("000006.jpg", 4, 3, "pickup", "Ford", "Unknown"),
    ("000005.jpg", 3, 3, "sedan", "Audi", "red"),
]


def test_veri_wild(tmp_path):
    data = read_veri_wild(write_wild(tmp_path / "VERI-Wild"))
    assert list(data.train.columns) == ["path", "identity", "camera", "type", "make", "color"]
    assert [str(kind) for kind in data.train.dtypes] == ["str", "int64", "int64", "str", "str", "str"]
    assert rows(data.train) == WILD_TRAIN
    assert rows(data.test) == WILD_TEST  # the largest list, gallery then query, each image once
    assert data.test["path"][0] == str(tmp_path / "VERI-Wild/images/00003/000004.jpg")
    assert rows(read_veri_wild(tmp_path).test) == WILD_TEST  # from the folder that holds it


def test_veri_wild_of_the_later_release(tmp_path):
    """Lists with suffixes and numbers behind, names of their own, and no header in the info."""
    lists = {
        name.replace("train_list", "train_list_start0")
        .replace("000_query", "000_id_query")
        .replace("000.txt", "000_id.txt"): [f"{line}.jpg {i} 7" for i, line in enumerate(lines)]
        for name, lines in LISTS.items()
    }
    assert {"train_list_start0.txt", "test_10000_id.txt", "test_3000_id_query.txt"} < set(lists)
    data = read_veri_wild(write_wild(tmp_path, INFO.partition("\n")[2], lists))
    assert rows(data.train) == WILD_TRAIN and rows(data.test) == WILD_TEST


def test_other_numbers_than_the_published_ones_are_a_warning(tmp_path, monkeypatch):
    root = write_wild(tmp_path)
    expected = (
        "has training images 3, test images 3, type 3, make 3, the published set training images 277,797, "
        "test images 138,517, type 14, make 149: scores on it do not compare with published ones"
    )
    with pytest.warns(UserWarning, match=expected):
        read_veri_wild(root)
    published = {"training images": 3, "test images": 3, "type": 3, "make": 4}
    monkeypatch.setitem(counts.PUBLISHED, "VERI-Wild", published)
    with pytest.warns(UserWarning, match="has make 3, the published set make 4: scores"):
        read_veri_wild(root)
    published["make"] = 3  # an empty one is none
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_veri_wild(root)


def test_columns_are_those_of_the_header(tmp_path):
    info = [
        "Make;Color;Camera ID;id/image;Model",
        *(f"Audi;red;{i};0000{j}/00000{i};A{i}" for i, j in enumerate((1, 1, 2, 3, 3, 4), 1)),
    ]
    data = read_veri_wild(write_wild(tmp_path, "\n".join(info)))
    assert list(data.train.columns) == ["path", "identity", "camera", "make", "model", "color"]
    assert rows(data.train)[0] == ("000002.jpg", 1, 2, "Audi", "A2", "red")


def test_the_least_columns_and_both_releases_at_once(tmp_path):
    """Image and camera are enough; of two lists of one size that of the first release is read."""
    lists = LISTS | {"test_10000_id.txt": ["00004/000006"], "test_10000_id_query.txt": ["00004/000006"]}
    root = write_wild(tmp_path, "\n".join(";".join(line.split(";")[:2]) for line in INFO.splitlines()), lists)
    data = read_veri_wild(root)
    assert rows(data.train) == [row[:3] for row in WILD_TRAIN] and rows(data.test) == [row[:3] for row in WILD_TEST]
    (root / "train_test_split/vehicle_info.txt").write_text("00001/000001;34\n")
    with pytest.raises(ValueError, match="Line 1 of .* expected 6 fields between ;"):
        read_veri_wild(root)


def test_images_without_a_learned_attribute_are_left_out(tmp_path):
    config = Config(data_dir=write_wild(tmp_path))
    assert len(read(replace(config, attributes=("type",))).train) == 3
    with pytest.warns(UserWarning, match="2 images of data set 'veri_wild' are left out, as their make or color is"):
        data = read(replace(config, attributes=("make", "color")))
    assert rows(data.train) == WILD_TRAIN[:2] and rows(data.test) == [WILD_TEST[0], WILD_TEST[2]]
    assert data.test.index.tolist() == [0, 1]
    info = tmp_path / "train_test_split/vehicle_info.txt"
    info.write_text(info.read_text().replace("Volkswagen", ""))
    with pytest.raises(ValueError, match="No image of a split of 'veri_wild' has make. Choose others of"):
        read(replace(config, attributes=("make",)))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "vehicle_info.txt",
            "18:00:01;Audi;sedan;red",
            "18:00:01;Audi",
            r"Line 6 .*reads '00003/000005;.*Audi'; expected 6 fields",
        ),
        ("vehicle_info.txt", "01;34;", "01;x;", "Line 2 of .*vehicle_info.txt .* which are id/image, camera id, time"),
        ("vehicle_info.txt", "00001/000001", "000001", "Line 2 of .*vehicle_info.txt reads '000001;34;"),
        ("vehicle_info.txt", "id/image", "name", "Line 1 of .* expected names of columns with id/image and Camera ID"),
        ("vehicle_info.txt", INFO, "", "vehicle_info.txt is empty; expected a line per entry"),
        (
            "train_list.txt",
            "00001/000001",
            "00001/000009",
            "Line 2 of .*train_list.txt reads '00001/000009'; expected an",
        ),
        ("train_list.txt", "00001/000001", "00003/000004", "00003/000004.jpg is both a training and a test image in"),
    ],
)
def test_what_is_wrong_in_veri_wild_is_named(tmp_path, name, old, new, message):
    path = write_wild(tmp_path) / "train_test_split" / name
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        read_veri_wild(tmp_path)


def remove_tests(root):
    for path in (root / "train_test_split").glob("test_*"):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda root: (root / "images/00002/000003.jpg").unlink(),
            "000003.jpg is missing, but .*train_test_split lists",
        ),
        (lambda root: shutil.rmtree(root / "images"), "000002.jpg is missing, but .* lists it. Unpack the set again"),
        (lambda root: (root / "train_test_split/test_10000.txt").unlink(), r"test_10000.txt cannot be read \(No such"),
        (lambda root: (root / "train_test_split/train_list.txt").unlink(), r"train_list_start0.txt cannot be read \("),
        (remove_tests, r"train_test_split has no list test_\*_query.txt"),
        (lambda root: shutil.rmtree(root / "train_test_split"), "has no train_test_split/vehicle_info.txt, nor has a"),
        (lambda root: shutil.rmtree(root), "The data folder .* does not exist. Check --data-dir"),
        (
            lambda root: (root / "train_test_split/vehicle_info.txt").write_bytes(INFO.encode() + b"\xff"),
            r"vehicle_info.txt is not UTF-8 text \(byte \d+\). Convert it",
        ),
    ],
)
def test_what_is_missing_in_veri_wild_is_named(tmp_path, change, message):
    root = write_wild(tmp_path / "set")
    change(root)
    with pytest.raises(ValueError, match=message):
        read_veri_wild(root)


def test_wrong_requests(tmp_path):
    with pytest.raises(ValueError, match="Unknown data set 'cars196'; expected one of .*'embedded', 'veri_wild'"):
        read(Config(dataset="cars196"))
    with pytest.raises(ValueError, match="'compcars' is read from a folder: pass --data-dir"):
        read(Config(dataset="compcars"))
    write_wild(tmp_path)
    with pytest.raises(
        ValueError, match=r"'veri_wild' has the attributes \['type', 'make', 'color'\], not all of \['mo"
    ):
        read(Config(data_dir=tmp_path, attributes=("model",)))
