"""A gallery that changes: exemplars added and removed, by several processes, by hand and by the command line."""

import json
import os
import re
import sys

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.datasets.images import read_image
from tests.helpers import run_python
from tests.vehicle_attributes.gallery.small_gallery import MODEL, angles, build, contents
from vehicle_attributes import recognizer
from vehicle_attributes.gallery import Gallery, cli, storage
from vehicle_attributes.gallery.cli import main
from vehicle_attributes.gallery.validation import unit


def test_what_is_added_answers_and_what_is_removed_does_not(tmp_path):
    path = tmp_path / "g"
    gallery = build(path, angles(0, 10), ["car", "van"], threshold=0.01)
    assert gallery.query(angles(200)).recognized.tolist() == ["unknown"]
    assert gallery.add(angles(200, 201, 198), "tram", ["t0", "t1", "t2"]) == 3
    assert gallery.query(angles(200.1)).recognized.tolist() == ["tram"]
    assert list(gallery.classes.items()) == [("car", 1), ("tram", 3), ("van", 1)] and len(gallery) == 5
    assert repr(gallery) == f"Gallery({str(path)!r}, 5 exemplars of 3 classes)"
    assert gallery.remove(path="t0") == 1
    assert gallery.query(angles(200), 2).paths.tolist() == [["t1", "t2"]]
    assert gallery.remove(label="car") == 1
    for opened in (gallery, Gallery(path, MODEL)):
        assert opened.classes == {"tram": 2, "van": 1}
        assert opened.query(angles(0), 9).paths.tolist() == [["/pictures/1.png", "t1", "t2"]]
    assert gallery.remove(label="tram") == 2 and gallery.remove(label="van") == 1
    with pytest.raises(ValueError, match="has no exemplars; add some first"):
        gallery.query(angles(0))
    with pytest.raises(ValueError, match="has no label 'van'; known are none"):
        gallery.remove(label="van")
    gallery.add(angles(5), "car", ["/pictures/0.png"])
    assert len(Gallery(path)) == 1


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_file_and_memory_stay_in_step(seed, tmp_path_factory):
    """Random additions and removals, compared with a list; blocks of two exemplars."""
    random, path, expected = np.random.default_rng(seed), tmp_path_factory.mktemp("g") / "g", []
    features = random.normal(size=(200, 3)).astype("float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "_BLOCK_BYTES", 24)
        gallery, done = build(path, features[:0].reshape(0, 3)), 0
        for _ in range(12):
            if expected and random.random() < 0.4:
                name, file = expected[random.integers(len(expected))][:2]
                if random.random() < 0.5:
                    gallery.remove(label=name)
                    expected = [row for row in expected if row[0] != name]
                else:
                    gallery.remove(path=file)
                    expected = [row for row in expected if row[1] != file]
            else:
                rows = range(done, done := done + int(random.integers(1, 9)))
                added = [(f"label {random.integers(4)}", f"p{i}", i) for i in rows]
                gallery.add(features[rows], [row[0] for row in added], [row[1] for row in added])
                expected += added
            for opened in (gallery, Gallery(path)):
                np.testing.assert_array_equal(opened.features, unit(features[[row[2] for row in expected]]))
                if expected:
                    answers = opened.query(features[expected[-1][2]][np.newaxis], 1)
                    assert (answers.labels[0, 0], answers.paths[0, 0]) == expected[-1][:2]


def test_memory_grows_and_moves_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("vehicle_attributes.gallery.index._ROWS", 3)
    features = np.random.default_rng(0).normal(size=(500, 4))
    gallery = build(tmp_path / "g", features[:10])
    for i in range(10, 500, 49):
        gallery.add(features[i : i + 49], f"at {i}", [f"p{j}" for j in range(i, i + 49)])
    np.testing.assert_array_equal(gallery.features, unit(features))
    gallery.remove(label="at 59")
    np.testing.assert_array_equal(gallery.features, unit(np.delete(features, np.arange(59, 108), axis=0)))
    assert contents(gallery) == contents(Gallery(tmp_path / "g"))


def test_changes_of_other_processes_are_seen(tmp_path):
    """Neither loses what the other wrote."""
    path = tmp_path / "g"
    first = build(path, angles(0))
    second = Gallery(path)
    second.add(angles(90), "van", ["v"])
    assert first.query(angles(80)).recognized.tolist() == ["van"]
    second.add(angles(180), "bus", ["b"])
    first.add(angles(270), "tram", ["t"])
    second.remove(label="car")
    first.calibrate(0.5, angles(91), "van")
    for gallery in (first, second, Gallery(path)):
        assert gallery.query(angles(90), 9).labels.tolist() == [["van", "bus", "tram"]]
        assert gallery.threshold == first.threshold and gallery.classes == {"bus": 1, "tram": 1, "van": 1}
    Gallery.build(path, angles(0), "a", ["p"], fingerprint="ab" * 32, attribute="make", overwrite=True)
    with pytest.raises(ValueError, match="was made with another network"):
        first.query(angles(0))
    path.unlink()
    with pytest.raises(ValueError, match=r"There is no gallery .*; build one first"):
        second.query(angles(0))


@pytest.mark.parametrize(
    "features, labels, paths, message",
    [
        ([[np.nan, 1]], "a", ["n"], "features of n must be finite and not all zero, got a largest one of nan; leave"),
        ([[1, 1], [np.inf, 1]], "a", ["n", "m"], "features of m must be finite and not all zero, got .* inf"),
        ([[0, 0]], "a", ["n"], "features of n must be finite and not all zero, got a largest one of 0"),
        ([[1, 2, 3]], "a", ["n"], r"must be of shape \(N, 2\), got \(1, 3\); pass one row for each image"),
        ([1, 2], "a", ["n", "m"], r"must be of shape \(N, 2\), got \(2,\)"),
        ([["x", "y"]], "a", ["n"], "must be numbers, got <U1"),
        ([[1, 2]], ["a", "b"], ["n"], "one label for each of 1 features, got 2"),
        ([[1, 2]], "", ["n"], "A label must be a text, and not empty or 'unknown'"),
        ([[1, 2]], "unknown", ["n"], "which rejected queries are called, got 'unknown'; choose another name"),
        ([[1, 2]], [3], ["n"], "A label must be a text, .* got 3"),
        ([[1, 2]], "a", ["n", "m"], "one path for each of 1 features, got 2"),
        ([[1, 2], [2, 3]], "a", ["n", "n"], "Each path must be there once, got n 2 times"),
        ([[1, 2]], "a", "n", "paths must be a list .* got 'n'; put it into a list"),
        ([[1, 2]], "a", ["/pictures/1.png"], "The image /pictures/1.png is in the gallery already"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_lost(tmp_path, features, labels, paths, message):
    gallery = build(tmp_path / "g", angles(0, 40), ["car", "van"], threshold=0.5)
    before, file = contents(gallery), (tmp_path / "g").read_bytes()
    with pytest.raises(ValueError, match=message):
        gallery.add(features, labels, paths)
    assert contents(gallery) == before == contents(Gallery(tmp_path / "g"))
    assert (tmp_path / "g").read_bytes() == file and len(list(tmp_path.iterdir())) == 1


def test_bad_calls_are_refused(tmp_path):
    path = tmp_path / "g"
    gallery = build(path, angles(*range(30)), [f"c{i:02}" for i in range(30)])
    with pytest.raises(ValueError, match=r"no label 'x'; known are 'c00', .*, 'c19' and 10 more\."):
        gallery.remove(label="x")
    with pytest.raises(ValueError, match="has no image x; pass its path as query shows it"):
        gallery.remove(path="x")
    with pytest.raises(ValueError, match="takes a label or a path, got label=None and path=None"):
        gallery.remove()
    with pytest.raises(ValueError, match="k must be one or more, got 0"):
        gallery.query(angles(0), 0)
    with pytest.raises(ValueError, match="The features of row 1 must be finite"):
        gallery.query([[1, 2], [np.nan, 1]])
    for limit in (-1, 2.5, float("nan")):
        with pytest.raises(ValueError, match=f"between 0 and 2, got {limit}"):
            build(tmp_path / "h", angles(0), threshold=limit)
    with pytest.raises(ValueError, match="exists; pass overwrite to replace it"):
        build(path, angles(0))
    with pytest.raises(ValueError, match="folder .* of the gallery does not exist"):
        build(tmp_path / "no" / "g", angles(0))
    assert len(Gallery(path, MODEL)) == 30 and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match=r"made with another network \(5e5e5e5e5e5e…, this one is abababababab…\), so"):
        Gallery(path, "ab" * 32)
    with pytest.raises(ValueError, match="read-only"):
        gallery.features[0, 0] = 2
    gallery.add(angles(40), "new", ["new"])


COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def draw(folder, name, count, first=0):
    """Pictures of about one color."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(first, first + count):
        random = np.random.default_rng(i)
        picture = np.clip(random.normal(COLORS[name], 8, (12, 12, 3)) + random.normal(0, 15, 3), 0, 255)
        paths.append(str(folder / f"{i}.png"))
        cv2.imwrite(paths[-1], picture.astype("uint8")[..., ::-1])
    return paths


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    outputs = {"embedding": keras.layers.GlobalAveragePooling2D(name="embedding")(x)}
    recognizer.save(recognizer.Recognizer(keras.Model(inputs, outputs), {"color": ["red", "green"]}), folder)
    return str(folder)


def test_command_line_from_start_to_end(training, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorflow")  # reads image files

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gallery", *map(str, arguments)])
        main()
        return capsys.readouterr().out

    for name in ("red", "green"):
        draw(tmp_path / "images" / name, name, 12)
    (tmp_path / "images/notes.txt").touch()
    (tmp_path / "images/red/notes.txt").touch()
    path, model = tmp_path / "colors.gallery", ("--training", training)
    out = run("build", path, *model, "--images", tmp_path / "images", "--accept", "0.9")
    limit = Gallery(path).threshold
    assert out == f"{path}: 24 exemplars of 2 classes (color). Queries farther than {limit:.4f} are unknown.\n"
    assert 0 < limit < 0.05
    (red,), (blue,) = draw(tmp_path / "new", "red", 1, 50), draw(tmp_path / "new", "blue", 1, 51)
    answer = json.loads(run("query", path, red, blue, *model, "--k", "3", "--json"))
    assert answer["attribute"] == "color" and answer["threshold"] == limit
    assert [image["label"] for image in answer["images"]] == ["red", "unknown"]
    assert [image["image"] for image in answer["images"]] == [red, blue]
    nearest_red = answer["images"][0]["nearest"]
    assert len(nearest_red) == 3 and all(n["image"].startswith(str(tmp_path / "images/red/")) for n in nearest_red)
    with pytest.raises(ValueError, match="exists; pass --overwrite to replace it"):
        run("build", path, *model, "--images", tmp_path / "images")
    out = run("add", path, *draw(tmp_path / "blue", "blue", 4, 20), *model, "--label", "blue")
    assert out.startswith(f"{path}: added 4 exemplars of 'blue'; embedding took ") and out.endswith(
        "28 of 3 classes.\n"
    )
    drawn = []
    monkeypatch.setattr(cli, "ranked_lists", lambda *arguments: drawn.append(arguments))
    out = run("query", path, tmp_path / "new", *model, "--figure", tmp_path / "answer.png")
    lines = out.splitlines()
    assert re.fullmatch(r"\| image +\| color +\| distance +\| threshold +\| nearest +\|", lines[0]) and len(lines) == 4
    assert [line.split(" | ")[1].strip() for line in lines[2:]] == ["red", "blue"]
    ((file, rows, matches),) = drawn
    assert file == tmp_path / "answer.png" and np.array(rows).shape == (2, 6, 96, 96, 3)
    assert matches.tolist() == [[True] * 5, [True] * 4 + [False]]  # of four blue ones
    shown = [[red, *(n["image"] for n in nearest_red)], [blue]]
    for row, paths in zip(rows, shown):
        for image, picture in zip(row, paths):
            np.testing.assert_array_equal(image, read_image(picture, (96, 96)))
    answer = json.loads(run("query", path, red, blue, *model, "--by-means", "--json"))
    assert [image["label"] for image in answer["images"]] == ["red", "blue"] and answer["threshold"] is None
    near_red = [near["label"] for near in answer["images"][0]["nearest"]]
    assert near_red[0] == "red" and sorted(near_red) == ["blue", "green", "red"]
    assert re.search(r"\| blue +\| 0\.\d{4} +\| – +\| blue 0\.\d{4}, ", run("query", path, blue, *model, "--by-means"))
    gone = os.path.relpath(tmp_path / "blue/20.png")
    assert run("remove", path, "--image", gone) == f"{path}: removed 1 exemplar(s). It has 27 of 3 classes.\n"
    assert run("remove", path, "--label", "blue") == f"{path}: removed 3 exemplar(s). It has 24 of 2 classes.\n"
    with pytest.raises(ValueError, match="no label 'blue'; known are 'green', 'red'"):
        run("remove", path, "--label", "blue")
    with pytest.raises(ValueError, match="either --label or --image"):
        run("remove", path)
    draw(tmp_path / "others/red", "red", 3, 70)
    options = ("--calibration", tmp_path / "others", "--overwrite")
    assert "unknown, as no threshold can be set. Accepting 0.95 of the" in run(
        "build", path, *model, "--images", tmp_path / "images", *options
    )
    assert Gallery(path).threshold is None
    run("build", path, *model, "--images", tmp_path / "images", *options, "--accept", "0.5")
    assert Gallery(path).threshold > 0
    assert "| unknown " in run("query", path, blue, *model)


def test_command_line_refuses(training, tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")  # reads image files

    def refused(*arguments):
        monkeypatch.setattr(sys, "argv", ["gallery", *map(str, arguments)])
        with pytest.raises(ValueError) as error:
            main()
        return str(error.value)

    path, model = tmp_path / "g", ("--training", training)
    (red,) = draw(tmp_path / "images/red", "red", 1)
    (tmp_path / "empty/class").mkdir(parents=True)
    assert "missing does not exist; pass one that has a folder" in refused(
        "build", path, *model, "--images", tmp_path / "missing"
    )
    assert "red has no folders; expected one of images for each class" in refused(
        "build", path, *model, "--images", tmp_path / "images/red"
    )
    assert "class has no images (.jpg, " in refused("build", path, *model, "--images", tmp_path / "empty")
    assert "has no trained recognizer" in refused("query", path, red, "--training", tmp_path)
    assert "There is no gallery" in refused("query", path, red, *model)
    assert "no.png does not exist; check its path" in refused("query", path, tmp_path / "no.png", *model)
    assert "got none; pass image files or folders" in refused("query", path, *model)
    assert "drop --figure or --by-means" in refused("query", path, red, *model, "--by-means", "--figure", "a.png")
    build(path, np.ones((1, 3)))
    assert "made with another network" in refused("query", path, red, *model)
    assert "A label must be a text" in refused("add", path, red, *model, "--label", "unknown")
    black = tmp_path / "blacks/none/black.png"
    black.parent.mkdir(parents=True)
    cv2.imwrite(str(black), np.zeros((8, 8, 3), "uint8"))
    assert f"The features of {black} must be finite and not all zero" in refused(
        "build", tmp_path / "h", *model, "--images", tmp_path / "blacks"
    )
    assert not (tmp_path / "h").exists()


def test_searching_needs_no_keras():
    out, _ = run_python(
        "-c",
        "import sys, vehicle_attributes.gallery.cli; print({'keras', 'tensorflow'} & set(sys.modules))",
        fresh=True,
    )
    assert out == "set()\n"


def test_the_package_is_a_program(tmp_path):
    _, err = run_python("-m", "vehicle_attributes.gallery", "remove", str(tmp_path / "g"), "--label", "x", status=1)
    assert err.startswith("ValueError: There is no gallery") and err.count("\n") == 1
