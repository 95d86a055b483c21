import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io

from common.datasets import person_reid

MARKET = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c3s2_000900_01.jpg.jpg", "0010_c6s3_077467_02.JPG"],
    "query": ["0004_c2s1_000001_00.jpg"],
    "bounding_box_test": [
        "0004_c1s1_000002_01.jpg",
        "0000_c4s6_000003_01.jpg",
        "-1_c5s1_000004_02.jpg",
        "0004_c2s1_000005_01.jpg",
    ],
}
MSMT = {
    "train": ["0000/0000_000_01_0303morning_0008_0.jpg 0", "0001/0001_000_15_0303noon_0100_1.jpg 1"],
    "val": ["0000/0000_001_02_0303morning_0009_0.jpg 0"],
    "query": ["0000/0000_000_03_0113morning_0000_0.jpg 0"],
    "gallery": ["0000/0000_001_04_0113morning_0001_0.jpg 0", "0007/0007_001_14_0113morning_0001_0.jpg 7"],
}
pytestmark = pytest.mark.filterwarnings("ignore:.* the published set:UserWarning")


def write_named(root, files):
    for folder, names in files.items():
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).write_bytes(b"image")
    return root


@pytest.fixture
def market(tmp_path):
    return write_named(tmp_path / "Market-1501-v15.09.15", MARKET)


def write_msmt(root, train="train", test="test"):
    for name, lines in MSMT.items():
        folder = root / (train if name in ("train", "val") else test)
        for line in lines:
            path = folder / line.split()[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"image")
        (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def rows(table):
    return list(zip((Path(path).name for path in table["path"]), table["identity"], table["camera"]))


def test_market_names(market):
    """Files with other names are left out, which is said."""
    (market / "query" / "Thumbs.db").write_bytes(b"")
    (market / "query" / "._0004_c2s1_000001_00.jpg").write_bytes(b"")
    (market / "query" / "nested").mkdir()
    with pytest.warns(
        UserWarning, match=r"^3 file\(s\) or folder\(s\) in .*query are no images and are left out: .*1 [.]_[*]"
    ):
        data = person_reid.read_market1501(market)
    assert rows(data.train) == [
        ("0002_c1s1_000451_03.jpg", 2, 1),
        ("0002_c3s2_000900_01.jpg.jpg", 2, 3),
        ("0010_c6s3_077467_02.JPG", 10, 6),
    ]
    assert rows(data.query) == [("0004_c2s1_000001_00.jpg", 4, 2)]
    assert [row[1:] for row in rows(data.gallery)] == [(-1, 5), (0, 4), (4, 1), (4, 2)]
    assert [str(kind) for kind in data.gallery.dtypes] == ["str", "int64", "int64"]
    assert all(os.path.isfile(path) for path in data.gallery["path"])


def test_duke_names(tmp_path):
    write_named(
        tmp_path / "DukeMTMC-reID",
        {
            "bounding_box_train": ["0001_c2_f0046182.jpg", "0001_c1_f0044158.jpg"],
            "query": ["0005_c2_f0046985.jpg"],
            "bounding_box_test": ["0005_c8_f0050000.jpg"],
        },
    )
    data = person_reid.read("duke", tmp_path)
    assert rows(data.train) == [("0001_c1_f0044158.jpg", 1, 1), ("0001_c2_f0046182.jpg", 1, 2)]
    assert rows(data.gallery) == [("0005_c8_f0050000.jpg", 5, 8)]


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17_lists(tmp_path, folders):
    write_msmt(tmp_path / "MSMT17_V1", *folders)
    data = person_reid.read("msmt17", tmp_path)
    assert [row[1:] for row in rows(data.train)] == [(0, 1), (1, 15), (0, 2)]  # train, then val
    assert [row[1:] for row in rows(data.query)] == [(0, 3)]
    assert [row[1:] for row in rows(data.gallery)] == [(0, 4), (7, 14)]
    assert data.gallery["path"][1] == str(tmp_path / "MSMT17_V1" / folders[1] / MSMT["gallery"][1].split()[0])


def test_sets_side_by_side_are_distinguished(tmp_path, market):
    write_named(tmp_path / "DukeMTMC-reID", {**MARKET, "query": ["0004_c7_f0046985.jpg"]})
    write_msmt(tmp_path / "MSMT17")
    assert person_reid.read("market1501", tmp_path).query["camera"][0] == 2
    assert person_reid.read("duke", tmp_path).query["camera"][0] == 7
    assert person_reid.read("msmt17", tmp_path).query["camera"][0] == 3


def write_attributes(path):
    """Two train and one test identities; as in the real file the fields are in different orders."""
    train = {"upred": [1, 2], "age": [2, 4], "image_index": np.array(["0002", "0010"], object)}
    test = {"age": [3], "image_index": np.array(["0004"], object), "upred": [2]}
    scipy.io.savemat(path, {"market_attribute": {"train": train, "test": test}})


@pytest.mark.parametrize("place", ["market_attribute.mat", "../market_attribute.mat", "../elsewhere.mat"])
def test_attributes_are_joined_by_identity(market, place):
    write_attributes(market / place)
    data = person_reid.read_market1501(market, attributes=market / place if "elsewhere" in place else True)
    assert data.train[["age", "upred"]].to_numpy().tolist() == [[2, 1], [2, 1], [4, 2]]
    assert data.query[["age", "upred"]].to_numpy().tolist() == [[3, 2]]
    assert data.gallery[["age", "upred"]].to_numpy().tolist() == [[-1, -1], [-1, -1], [3, 2], [3, 2]]
    assert set(data.train.columns) == {"path", "identity", "camera", "age", "upred"}


def test_other_counts_than_published_are_reported(market, monkeypatch):
    with pytest.warns(UserWarning, match=r"has \(3, 1, 3\) images .* the published set \(12936, 3368, 15913\)"):
        person_reid.read_market1501(market)
    monkeypatch.setitem(person_reid.OFFICIAL_COUNTS, "Market", (3, 1, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        person_reid.read_market1501(market)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "query"), "The folder .*query is missing. Unpack the set again"),
        (lambda root: [p.unlink() for p in (root / "query").iterdir()], "The folder .*query has no images .*.jpg"),
        (lambda root: (root / "query/0004.jpg").write_bytes(b"x"), "file name of .*0004.jpg tells no identity"),
        (lambda root: (root / "query/0004_c1s1_000001_00.jpg").write_bytes(b""), "0004_c1s1_000001_00.jpg has no b"),
        (lambda root: (root / "bounding_box_test/0004_c1s1_000002_01.jpg").unlink(), "No query of .* another camera"),
        (lambda root: [shutil.rmtree(root / name) for name in MARKET], "has no bounding_box_train, nor .* Market"),
        (lambda root: shutil.rmtree(root), "The data folder .* does not exist. Check --data-dir"),
    ],
)
def test_what_is_wrong_is_named(market, change, message):
    change(market)
    with pytest.raises(ValueError, match=message):
        person_reid.read_market1501(market)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "list_val.txt").unlink(), "not a whole MSMT17: list_val.txt is missing"),
        (lambda root: (root / "list_train.txt").unlink(), "has no list_train.txt, nor has a folder MSMT17"),
        (lambda root: shutil.rmtree(root / "test"), "not a whole MSMT17: test is missing"),
        (lambda root: shutil.rmtree(root / "train/0001"), "0001_000_15_0303noon_0100_1.jpg is missing, but .*lists"),
        (lambda root: (root / "list_query.txt").write_text(""), "list_query.txt is empty"),
        (lambda root: (root / "list_query.txt").write_text("a_b_1.jpg 3\n"), "Line 1 of .*list_query.txt reads 'a_b_1"),
        (lambda root: (root / "list_query.txt").write_text("a_b_1_2.jpg x\n"), "Line 1 .* expected a path and an id"),
        (
            lambda root: (root / "test" / MSMT["query"][0].split()[0]).write_bytes(b""),
            "morning_0000_0.jpg has no bytes",
        ),
    ],
)
def test_what_is_wrong_in_msmt17_is_named(tmp_path, change, message):
    root = write_msmt(tmp_path / "set")
    change(root)
    with pytest.raises(ValueError, match=message):
        person_reid.read_msmt17(root)


def test_wrong_attributes_are_named(market):
    with pytest.raises(ValueError, match="read from .*market_attribute.mat, which does not exist"):
        person_reid.read_market1501(market, attributes=True)
    path = market / "market_attribute.mat"
    write_attributes(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="market_attribute.mat cannot be read as attributes of people"):
        person_reid.read_market1501(market, attributes=True)
    scipy.io.savemat(path, {"market_attribute": {"train": {"age": [1, 2]}}})
    with pytest.raises(ValueError, match=r"cannot be read as attributes of people \(KeyError: 'test'\)"):
        person_reid.read_market1501(market, attributes=True)


def test_wrong_requests():
    with pytest.raises(ValueError, match="Unknown data set 'cuhk03'; expected one of .*'synthetic'"):
        person_reid.read("cuhk03", None)
    with pytest.raises(ValueError, match="'market1501' is read from a folder: pass --data-dir"):
        person_reid.read("market1501", None)
    with pytest.raises(ValueError, match="'msmt17' has no attributes"):
        person_reid.read("msmt17", Path(), attributes=True)


@pytest.mark.real_data
@pytest.mark.skipif("IMAGE_EMBEDDINGS_DATA" not in os.environ, reason="IMAGE_EMBEDDINGS_DATA is not set")
def test_part_of_market1501_and_its_whole_attributes():
    root = Path(os.environ["IMAGE_EMBEDDINGS_DATA"])
    path = root / "market1501_attribute/market_attribute.mat"
    data = person_reid.read_market1501(root / "market1501_subset", attributes=path)
    counts = [len(data.train), data.train["identity"].nunique(), len(data.query), data.query["identity"].nunique()]
    assert counts == [3871, 200, 449, 100]
    assert data.gallery["identity"].clip(-1, 1).value_counts().to_dict() == {1: 1926, 0: 140, -1: 191}
    table = person_reid.read_attributes(path)
    # As the file's authors publish them: 751 + 750 identities, 27 attributes, 199 + 187 backpacks.
    assert table.shape == (1501, 27) and table.index.is_unique and (table["backpack"] == 2).sum() == 386
    assert (data.train["age"] > 0).all() and (data.gallery["age"] == -1).sum() == 331


def test_held_out_people_are_the_test_set():
    """Of five people the first, the third and the last are held out: 0 + 4 · (0, 0.5, 1)."""
    people = range(3, 8)
    rows = [(f"{person}-{camera}-{i}", person, camera) for person in people for camera in (1, 2) for i in "ab"]
    table = pd.DataFrame(rows, columns=["path", "identity", "camera"])
    data = person_reid.hold_out(person_reid.ReIDData(table, table[:1], table[:1]), 3)
    assert data.train.identity.unique().tolist() == [4, 6]
    assert data.gallery.identity.value_counts().to_dict() == {3: 4, 5: 4, 7: 4}
    assert data.query.path.tolist() == ["3-1-a", "3-2-a", "5-1-a", "5-2-a", "7-1-a", "7-2-a"]
    with pytest.raises(ValueError, match="Of 5 training identities 2 to 3 can be held out, got 4"):
        person_reid.hold_out(person_reid.ReIDData(table, table, table), 4)
