"""Galleries by the command line."""

import json
import os
import re
import sys

import cv2
import keras
import numpy as np
import pytest

from common.datasets.images import read_image
from common.report import plots
from tests.helpers import run_python
from tests.vehicle_attributes.gallery.small_gallery import build
from vehicle_attributes import recognizer
from vehicle_attributes.gallery import Gallery
from vehicle_attributes.gallery.cli import main

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


@pytest.mark.filterwarnings("ignore:1 file.* are no images and are left out:UserWarning")
def test_command_line_from_start_to_end(training, tmp_path, monkeypatch, capsys):

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
    assert re.fullmatch(
        rf"{path}: added 4 exemplars of 'blue' in .* s. It has 28 of 3 classes. Queries farther than .* now.\n", out
    )
    plotted = []
    monkeypatch.setattr(plots, "ranked_lists", lambda *arguments: plotted.append(arguments))
    out = run("query", path, tmp_path / "new", *model, "--figure", tmp_path / "answer.png")
    lines = out.splitlines()
    assert re.fullmatch(r"\| image +\| color +\| distance +\| threshold +\| nearest +\|", lines[0]) and len(lines) == 4
    assert [line.split(" | ")[1].strip() for line in lines[2:]] == ["red", "blue"]
    ((file, columns),) = plotted
    lists = columns[""]
    assert file == tmp_path / "answer.png" and np.array([each.images for each in lists]).shape == (2, 6, 96, 96, 3)
    assert [each.right.tolist() for each in lists] == [[True] * 5, [True] * 4 + [False]]  # of four blue ones
    assert [each.title for each in lists] == ["red", "blue"]
    np.testing.assert_allclose(lists[0].distances[:3], [n["distance"] for n in nearest_red])
    shown = [[red, *(n["image"] for n in nearest_red)], [blue]]
    for each, paths in zip(lists, shown):
        for image, picture in zip(each.images, paths):
            np.testing.assert_array_equal(image, read_image(picture, (96, 96)))
    answer = json.loads(run("query", path, red, blue, *model, "--by", "class_means", "--json"))
    assert [image["label"] for image in answer["images"]] == ["red", "blue"] and answer["threshold"] is None
    near_red = [near["label"] for near in answer["images"][0]["nearest"]]
    assert near_red[0] == "red" and sorted(near_red) == ["blue", "green", "red"]
    assert re.search(
        r"\| blue +\| 0\.\d{4} +\| – +\| blue 0\.\d{4}, ", run("query", path, blue, *model, "--by", "class_means")
    )
    stale = " Its threshold is stale: set it anew with calibrate."
    gone = os.path.relpath(tmp_path / "blue/20.png")
    assert run("remove", path, "--image", gone) == f"{path}: removed 1 exemplar(s). It has 27 of 3 classes.{stale}\n"
    assert run("remove", path, "--label", "blue") == f"{path}: removed 3 exemplar(s). It has 24 of 2 classes.{stale}\n"
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

    def refused(*arguments):
        monkeypatch.setattr(sys, "argv", ["gallery", *map(str, arguments)])
        with pytest.raises(ValueError) as error:
            main()
        return str(error.value)

    path, model = tmp_path / "g", ("--training", training)
    (red,) = draw(tmp_path / "images/red", "red", 1)
    images = ("--images", tmp_path / "images")
    assert "accept must be between 0 and 1, got 1.5" in refused("build", path, *model, *images, "--accept", "1.5")
    assert "accept must be between 0 and 1, got 0.0" in refused("calibrate", path, "--accept", "0")
    draw(tmp_path / "others/blue", "blue", 1)
    calibration = ("--calibration", tmp_path / "others")
    assert "others has pictures of blue, but" in refused("build", path, *model, *images, *calibration)
    assert not path.exists()
    (tmp_path / "empty/class").mkdir(parents=True)
    assert "missing; expected a folder with a folder per class" in refused(
        "build", path, *model, "--images", tmp_path / "missing"
    )
    assert "red has no folders; expected one per class with images in it" in refused(
        "build", path, *model, "--images", tmp_path / "images/red"
    )
    assert "The class 'class' of" in refused("build", path, *model, "--images", tmp_path / "empty")
    assert "has no trained recognizer" in refused("query", path, red, "--training", tmp_path)
    assert "There is no gallery" in refused("query", path, red, *model)
    assert "no.png does not exist; check its path" in refused("query", path, tmp_path / "no.png", *model)
    assert "got none; pass image files or folders" in refused("query", path, *model)
    assert "drop --figure or --by class_means" in refused(
        "query", path, red, *model, "--by", "class_means", "--figure", "a.png"
    )
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
