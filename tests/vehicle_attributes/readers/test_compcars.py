import os
from pathlib import Path

import pytest
import scipy.io

from common.datasets.images import BOX
from tests.vehicle_attributes.layouts import cells, column, write_compcars, write_files
from vehicle_attributes.config import Config
from vehicle_attributes.data import read
from vehicle_attributes.readers.compcars import read_cells, read_compcars, read_compcars_sv
from vehicle_attributes.readers.values import similar_names

WEB = {
    "train": ["2/5/2010/a.jpg", "1/1/unknown/b.jpg", "2/4/2011/c.jpg", "1/3/2009/d.jpg"],
    "test": ["1/2/2012/e.jpg", "3/6/2012/f.jpg"],
}
LABELS = {"a": "4\n1\n11 21 300 200", "b": "-1\n1\n1 1 640 480 \n", "c": "1\n1\n2 3 4 5\n"}
ATTRIBUTES = """model_id maximum_speed displacement door_number seat_number type
1 235 1.8 5 5 4
2 0 0.0 0 0 0
4 180 1.6 4 5 3
5 200 2.0 4 5 3
6 190 2.0 4 5 12
"""
TYPES = ["MPV", "SUV", "sedan", "hatchback", *"56789", "10", "11", "convertible"]
SV = {"train": ["1/aa.jpg", "3/bb.jpg", "1/cc.jpg"], "test": ["2/dd.jpg"]}
SV_NAMES = [["Besturn", "Besturn X80", 366], ["BWM", "X5", 716], ["Hyundai ", "Elantra", 5]]


pytestmark = pytest.mark.filterwarnings("ignore:.* the published set:UserWarning")


def write_web(root):
    images = {line: b"image" for lines in WEB.values() for line in lines}
    labels = {line: LABELS.get(Path(line).stem, "5\n1\n1 2 3 4\n") for line in images}
    names = {"make_names": column("Audi", "BMW", ""), "model_names": column("Audi A3", "R8 ", "R8", "X5", "X5", "")}
    return write_compcars(root, WEB, images, labels, ATTRIBUTES, TYPES, names)


def write_sv(root):
    write_files(root, {f"image/{line}": "image" for lines in SV.values() for line in lines})
    write_files(root, {f"{name}_surveillance.txt": "\n".join(lines) + "\n" for name, lines in SV.items()})
    scipy.io.savemat(root / "sv_make_model_name.mat", {"sv_make_model_name": cells(SV_NAMES)})
    return root


def test_web(tmp_path):
    data = read_compcars(write_web(tmp_path / "data"))
    kinds = {"path": "str", "type": "str", "make": "str", "model": "str", **dict.fromkeys(["viewpoint", *BOX], "int64")}
    assert data.train.dtypes.astype(str).to_dict() == kinds
    # Boxes begin at pixel 1 in the files, and their last pixels are inside.
    assert data.train.drop(columns="path").to_numpy().tolist() == [
        ["sedan", "BMW", "BMW X5 (5)", 4, 10, 20, 300, 200],
        ["hatchback", "Audi", "Audi A3", -1, 0, 0, 640, 480],
        ["sedan", "BMW", "BMW X5 (4)", 1, 1, 2, 4, 5],
        ["", "Audi", "Audi R8 (3)", 5, 0, 1, 3, 4],
    ]
    assert data.test.drop(columns="path").to_numpy().tolist() == [
        ["", "Audi", "Audi R8 (2)", 5, 0, 1, 3, 4],
        ["convertible", "make 3", "make 3 model 6", 5, 0, 1, 3, 4],
    ]
    assert data.train["path"][1] == str(tmp_path / "data/image/1/1/unknown/b.jpg")
    assert read_compcars(tmp_path).train.equals(data.train)  # from the folder that holds it


def test_other_numbers_than_the_published_ones_are_a_warning(tmp_path):
    web = (
        "has training images 4, test images 2, make 3, model 6, the published set training images 16,016, test images "
    )
    with pytest.warns(UserWarning, match=f"{web}14,939, make 75, model 431: scores"):
        read_compcars(write_web(tmp_path / "web"))
    sv = "has training images 3, test images 1, make 3, model 3, the published set training images 31,148, test images "
    with pytest.warns(UserWarning, match=f"{sv}13,333, make 68, model 281: scores"):
        read_compcars_sv(write_sv(tmp_path / "sv"))


def test_web_without_the_images_of_unknown_type(tmp_path):
    write_web(tmp_path)
    with pytest.warns(UserWarning, match="2 images of data set 'compcars' are left out, as their type is not known"):
        data = read(Config(dataset="compcars", data_dir=tmp_path, attributes=("type",)))
    assert data.train["type"].tolist() == ["sedan", "hatchback", "sedan"] and data.test["type"].tolist() == [
        "convertible"
    ]
    assert len(read(Config(dataset="compcars", data_dir=tmp_path, attributes=("make", "model"))).train) == 4
    with pytest.raises(
        ValueError, match=r"'compcars' has the attributes \['type', 'make', 'model'\], not all of \['view"
    ):
        read(Config(dataset="compcars", data_dir=tmp_path, attributes=("viewpoint",)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "label/2/5/2010/a.txt",
            "4\n1\n",
            r"a.txt reads \['4', '1'\]; expected the viewpoint, the number of boxes, and",
        ),
        (
            "label/2/5/2010/a.txt",
            "4\n1\n1 2 x 4\n",
            "a.txt reads .*; expected .* a box of four numbers. Fetch it again",
        ),
        ("label/2/5/2010/a.txt", "4\n1\n9 2 9 4\n", "a.txt has the box '9 2 9 4'; expected x1 y1 x2 y2, 1 or more"),
        ("label/2/5/2010/a.txt", "4\n1\n0 2 9 4\n", "a.txt has the box '0 2 9 4'; expected x1 y1 x2 y2, 1 or more"),
        ("label/2/5/2010/a.txt", None, r"a.txt cannot be read \(No such file or directory\). Unpack the set again"),
        (
            "image/2/5/2010/a.jpg",
            None,
            "2/5/2010/a.jpg is missing, but .*classification lists it. Unpack the set again",
        ),
        ("train_test_split/classification/test.txt", "1/1/unknown/b.jpg", "b.jpg is both a training and a test image"),
        (
            "train_test_split/classification/test.txt",
            "1/b.jpg",
            "Line 1 of .*test.txt reads '1/b.jpg'; expected '78/3/",
        ),
        (
            "train_test_split/classification/test.txt",
            "1/x/9/b.jpg",
            "Line 1 of .* reads '1/x/9/b.jpg'; expected",
        ),
        ("train_test_split/classification/test.txt", "4/1/9/b.jpg", "4/1/9/b.jpg is of make 4, but make_names has 3"),
        ("train_test_split/classification/test.txt", None, r"test.txt cannot be read \(No such file"),
        (
            "train_test_split/classification/train.txt",
            None,
            "has no train_test_split/classification/train.txt, nor has",
        ),
        (
            "misc/attributes.txt",
            "model_id speed\n1 2\n",
            "Line 1 of .*attributes.txt .* columns with model_id and type",
        ),
        ("misc/attributes.txt", ATTRIBUTES + "7 0 0\n", "Line 7 of .*attributes.txt reads '7 0 0'; expected 6 numbers"),
        ("misc/attributes.txt", ATTRIBUTES + "7 0 0 0 0 13\n", "Line 7 .* expected 6 numbers, the type from 0 to 12"),
        ("misc/car_type.mat", "types", r"car_type.mat cannot be read as the cell array\(s\) types \("),
        ("misc/make_model_name.mat", None, "misc/make_model_name.mat is missing. Unpack the set again"),
    ],
)
def test_what_is_wrong_in_the_web_part_is_named(tmp_path, name, text, message):
    path = write_web(tmp_path) / name
    path.write_text(text) if text else path.unlink()
    with pytest.raises(ValueError, match=message):
        read_compcars(tmp_path)


def test_surveillance(tmp_path):
    data = read_compcars_sv(write_sv(tmp_path / "sv_data"))
    assert list(data.train.columns) == ["path", "make", "model"]
    assert data.train[["make", "model"]].to_numpy().tolist() == [
        ["Besturn", "Besturn X80"],
        ["Hyundai", "Hyundai Elantra"],
        ["Besturn", "Besturn X80"],
    ]
    assert data.test.to_numpy().tolist() == [[str(tmp_path / "sv_data/image/2/dd.jpg"), "BWM", "BWM X5"]]
    assert read(Config(dataset="compcars_sv", data_dir=tmp_path, attributes=("model",))).test.equals(data.test)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("test_surveillance.txt", "4/dd.jpg", "Line 1 of .*reads '4/dd.jpg'; expected a model from 1 to 3 and a name"),
        ("test_surveillance.txt", "x/dd.jpg", "Line 1 of .*reads 'x/dd.jpg'; expected a model from 1 to 3 and a name"),
        ("test_surveillance.txt", "2\n", "Line 1 of .*test_surveillance.txt reads '2'; expected a model from 1 to 3"),
        ("test_surveillance.txt", "3/bb.jpg", "3/bb.jpg is both a training and a test image in .*_surveillance.txt"),
        ("test_surveillance.txt", "", "test_surveillance.txt is empty; expected a line per entry"),
        ("train_surveillance.txt", None, "has no train_surveillance.txt, nor has a folder in it. Check --data-dir"),
        ("image/1/cc.jpg", None, "image/1/cc.jpg is missing, but .*_surveillance.txt lists it"),
        ("sv_make_model_name.mat", "no", r"cannot be read as the cell array\(s\) sv_make_model_name \("),
    ],
)
def test_what_is_wrong_in_the_surveillance_part_is_named(tmp_path, name, text, message):
    path = write_sv(tmp_path) / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_compcars_sv(tmp_path)


def test_columns_that_are_not_needed_may_be_missing(tmp_path):
    """Of the models' attributes all but the type, and of the names' those behind make and model."""
    lines = [line.split() for line in ATTRIBUTES.splitlines()]
    (write_web(tmp_path / "web") / "misc/attributes.txt").write_text("\n".join(f"{row[0]} {row[-1]}" for row in lines))
    assert read_compcars(tmp_path / "web").train["type"].tolist() == ["sedan", "hatchback", "sedan", ""]
    names = cells([row[:2] for row in SV_NAMES])
    scipy.io.savemat(write_sv(tmp_path / "sv") / "sv_make_model_name.mat", {"sv_make_model_name": names})
    assert read_compcars_sv(tmp_path / "sv").test["model"].tolist() == ["BWM X5"]


def test_names_of_another_shape_are_refused(tmp_path):
    scipy.io.savemat(write_sv(tmp_path) / "sv_make_model_name.mat", {"sv_make_model_name": cells([["Audi", "BWM"]]).T})
    with pytest.raises(ValueError, match=r"The names in .* have shape \(2, 1\); expected \(281, 3\)"):
        read_compcars_sv(tmp_path)


@pytest.mark.real_data
@pytest.mark.skipif("IMAGE_EMBEDDINGS_DATA" not in os.environ, reason="IMAGE_EMBEDDINGS_DATA is not set")
def test_names_and_lists_of_the_surveillance_part(tmp_path):
    root = Path(os.environ["IMAGE_EMBEDDINGS_DATA"]) / "compcars_sv_labels"
    names = read_cells(root / "sv_make_model_name.mat", "sv_make_model_name")["sv_make_model_name"]
    scipy.io.savemat(tmp_path / "ours.mat", {"ours": cells(SV_NAMES)})
    written = [
        scipy.io.loadmat(path)[key][0]
        for path, key in ((root / "sv_make_model_name.mat", "sv_make_model_name"), (tmp_path / "ours.mat", "ours"))
    ]
    for theirs, ours in zip(*written):  # the files of these tests are like the real one
        assert theirs.dtype.kind == ours.dtype.kind or {theirs.dtype.kind, ours.dtype.kind} == set("ui")
        assert theirs.shape == ours.shape
    assert names.shape == (281, 3) and names[0].tolist() == ["Besturn", "Besturn X80", "366"]
    assert len(set(names[:, 0])) == 68 and "" not in names
    assert similar_names(names[:, 0]) == []
    assert similar_names(f"{make} {model}" for make, model in names[:, :2]) == [("Yiqi Weizhi", "Yiqi Weizi")]
    # The first 2,000 lines of each list, with files in the place of the images.
    (tmp_path / "sv_make_model_name.mat").write_bytes((root / "sv_make_model_name.mat").read_bytes())
    for split in ("train", "test"):
        text = (root / f"{split}_surveillance.first2000.txt").read_text()
        write_files(tmp_path, {f"image/{line}": "image" for line in text.split()})
        (tmp_path / f"{split}_surveillance.txt").write_text(text)
    data = read_compcars_sv(tmp_path)
    assert [len(data.train), len(data.test)] == [2000, 2000]
    assert data.train.iloc[0].tolist()[1:] == ["Besturn", "Besturn X80"]
