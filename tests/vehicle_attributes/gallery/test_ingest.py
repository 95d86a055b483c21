"""Pictures into a gallery: checked first, once each, in pieces that outlive a kill; and what is said of the whole."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from common.retrieval import load_embeddings
from tests.helpers import ROOT, run_python
from tests.test_faults_sentences import NAMESPACE
from tests.vehicle_attributes.gallery.test_cli import draw
from vehicle_attributes import recognizer
from vehicle_attributes.gallery import Gallery, cli, ingest
from vehicle_attributes.gallery.thresholds import calibrated
from vehicle_attributes.gallery.validation import unit


def save_network(folder, takes_boxes=False):
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    outputs = {"embedding": keras.layers.GlobalAveragePooling2D(name="embedding")(x)}
    network = recognizer.Recognizer(keras.Model(inputs, outputs), {"color": ["red", "green"]}, takes_boxes)
    recognizer.save(network, folder)
    return str(folder)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp("training"))


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gallery", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    return call


def images(root, count=6):
    return [path for name in ("red", "green") for path in draw(root / name, name, count)]


def test_a_build_that_was_killed_goes_on(training, tmp_path, run, monkeypatch):
    """After each commit the process may end."""
    paths = images(tmp_path / "images")
    command = ("build", tmp_path / "g", "--training", training, "--images", tmp_path / "images", "--accept", "0.5")
    run(*command[:1], tmp_path / "whole", *command[2:])
    expected = Gallery(tmp_path / "whole")
    monkeypatch.setattr(ingest, "STEP", 4)
    add, embedded = Gallery.add, []

    def add_once(gallery, features, labels, *rest):
        add(gallery, features, labels, *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(Gallery, "add", add_once)
    for count in (4, 8):
        with pytest.raises(KeyboardInterrupt):
            run(*command)
        assert len(Gallery(tmp_path / "g.part")) == count and not (tmp_path / "g").exists()
    monkeypatch.setattr(Gallery, "add", lambda *a: embedded.append(len(a[1])) or add(*a))
    run(*command)
    gallery = Gallery(tmp_path / "g")
    assert embedded == [4] and not (tmp_path / "g.part").exists()
    assert gallery.paths.tolist() == expected.paths.tolist() == paths[6:] + paths[:6]
    assert gallery.features.tobytes() == expected.features.tobytes()
    assert gallery.labels.tolist() == expected.labels.tolist() and gallery.threshold == expected.threshold
    assert gallery.ids.tolist() == list(range(12))


def test_pictures_that_are_elsewhere_since_a_build_was_killed_are_removed_at_once(training, tmp_path, run, monkeypatch):
    """Six of twelve that it had: one transaction, and their new paths are added."""
    images(tmp_path / "images")
    command = ("build", tmp_path / "g", "--training", training, "--images", tmp_path / "images", "--accept", "0.5")
    add, remove, calls = Gallery.add, Gallery.remove, []
    with monkeypatch.context() as patch:
        patch.setattr(Gallery, "add", lambda *a: add(*a) and pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception, match="killed"):
            run(*command)
    assert len(Gallery(tmp_path / "g.part")) == 12
    (tmp_path / "images/red").rename(tmp_path / "images/crimson")
    monkeypatch.setattr(Gallery, "remove", lambda *a, **o: calls.append(o) or remove(*a, **o))
    run(*command)
    gallery = Gallery(tmp_path / "g")
    assert len(calls) == 1 and gallery.classes == {"crimson": 6, "green": 6}
    assert all(Path(path).is_file() for path in gallery.paths)


def test_equal_pictures_are_there_once_and_do_not_drive_the_threshold_to_zero(training, tmp_path, run):
    images(tmp_path / "images", 12)
    options = ("--training", training, "--images", tmp_path / "images", "--accept", "0.9")
    run("build", tmp_path / "g", *options)
    limit = Gallery(tmp_path / "g").threshold
    for name in ("red", "green"):
        for path in list((tmp_path / "images" / name).iterdir()):
            (path.parent / f"copy of {path.name}").write_bytes(path.read_bytes())
    (tmp_path / "images/red/stray.png").write_bytes((tmp_path / "images/green/3.png").read_bytes())
    out = run("build", tmp_path / "h", *options)
    gallery = Gallery(tmp_path / "h")
    assert len(gallery) == 23 and "3 image(s) left out, equal to one of another class: " in out
    assert "23 image(s) left out, equal to another one: " in out
    listed = (tmp_path / "h.left_out.csv").read_text().splitlines()
    assert listed[0] == "path,reason" and len(listed) == 27
    assert gallery.threshold == pytest.approx(limit, abs=0.3 * limit) and limit > 0
    # The same by features alone, in an order and with roundings of their own.
    features, labels = Gallery(tmp_path / "g").features, Gallery(tmp_path / "g").labels
    twice, names = np.concatenate([features, features[::-1]]), np.concatenate([labels, labels[::-1]])
    assert calibrated(unit(twice), names, 0.9) == calibrated(unit(features), labels, 0.9)
    out = run("add", tmp_path / "g", "--training", training, "--label", "red", tmp_path / "images/red")
    assert "added 0 exemplars of 'red' in " in out and "It has 24 of 2 classes.\n12 image(s) were in the" in out
    assert "12 image(s) left out, equal to another one: " in out and len(Gallery(tmp_path / "g")) == 24


def test_pictures_that_calibrate_and_are_exemplars_do_not_count(training, tmp_path, run):
    images(tmp_path / "images", 12)
    options = ("--training", training, "--images", tmp_path / "images")
    out = run("build", tmp_path / "g", *options, "--calibration", tmp_path / "images")
    assert "No query is unknown, as no threshold can be set. Accepting 0.95 of" in out and "got 0; add" in out


def test_damaged_pictures_are_named_before_one_is_added(training, tmp_path, run):
    paths = images(tmp_path / "images")
    for path in (paths[1], paths[9]):
        Path(path).write_bytes(Path(path).read_bytes()[:60])
    options = ("--training", training, "--images", tmp_path / "images", "--accept", "0.5")
    with pytest.raises(ValueError, match="^2 of 12 images cannot be read, .*green/3.png, .*red/1.png. Fetch them"):
        run("build", tmp_path / "g", *options)
    assert {path.name for path in tmp_path.iterdir()} == {"images"}
    with pytest.warns(UserWarning, match="2 of 12"):
        out = run("build", tmp_path / "g", *options, "--skip-damaged")
    assert "10 exemplars of 2 classes" in out and "2 image(s) left out, damaged: " in out
    black = tmp_path / "new/black.png"
    black.parent.mkdir()
    cv2.imwrite(str(black), np.zeros((8, 8, 3), "uint8"))
    add = ("add", tmp_path / "g", "--training", training, "--label", "red", black)
    with pytest.raises(ValueError, match="features of .*black.png must be finite and not all zero"):
        run(*add)
    assert "1 image(s) left out, no features: " in run(*add, "--skip-damaged")


def test_boxes_of_a_network_that_takes_boxes(tmp_path, run):
    """A red car on green ground; CompCars has a label file for each image, others a CSV file."""
    model = save_network(tmp_path, takes_boxes=True)
    folder = tmp_path / "data/image/78/3/2010"
    folder.mkdir(parents=True)
    picture = np.full((40, 50, 3), (30, 200, 30), "uint8")
    picture[10:20, 5:25] = (30, 30, 200)  # blue, green, red
    cv2.imwrite(str(folder / "a.png"), picture)
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes())
    options = ("--training", model, "--images", tmp_path / "data/image")
    with pytest.raises(ValueError, match="trained on boxes .* and 2 of 2 images have none, such as .*a.png"):
        run("build", tmp_path / "g", *options)
    for name, box in (("a", "6 11 25 20"), ("b", "30 25 50 40")):
        label = tmp_path / f"data/label/78/3/2010/{name}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"1\n1\n{box}\n")
    run("build", tmp_path / "g", *options)
    features = Gallery(tmp_path / "g").features
    red, green = unit([[200, 30, 30]])[0], unit([[30, 200, 30]])[0]
    np.testing.assert_allclose(features, [red, green], atol=1e-3)
    (tmp_path / "list.csv").write_text(f"path,label,left,top,right,bottom\n{folder}/a.png,car,5,10,25,20\n")
    run("build", tmp_path / "h", "--training", model, "--images", tmp_path / "list.csv")
    assert Gallery(tmp_path / "h").features.tobytes() == features[:1].tobytes()
    answer = json.loads(run("query", tmp_path / "h", "--training", model, tmp_path / "list.csv", "--json"))
    assert answer["images"][0]["distance"] == 0
    whole = json.loads(run("query", tmp_path / "h", "--training", model, folder / "a.png", "--json", "--whole-images"))
    assert whole["images"][0]["distance"] > 0.1


def test_what_is_said_of_a_gallery_and_its_way_out(training, tmp_path, run):
    paths = images(tmp_path / "images")
    path = tmp_path / "g"
    run("build", path, "--training", training, "--images", tmp_path / "images", "--accept", "0.5")
    facts = json.loads(run("info", path, "--json"))
    gallery = Gallery(path)
    assert facts == {
        "attribute": "color", "fingerprint": gallery.fingerprint, "dimensions": 3, "exemplars": 12, "classes": 2,
        "threshold": gallery.threshold, "accept": 0.5, "by_exemplars": True, "is_stale": False,
        "bytes": path.stat().st_size,
    }  # fmt: skip
    assert "| dimensions " in run("info", path)
    assert json.loads(run("list", path, "--json")) == [{"color": n, "exemplars": 6} for n in ("green", "red")]
    listed = json.loads(run("list", path, "--label", "red", "--json"))
    assert [entry["image"] for entry in listed] == sorted(paths[:6])
    assert [entry["number"] for entry in listed] == list(range(6, 12))
    with pytest.raises(ValueError, match="has no label 'blue'; known are 'green', 'red'"):
        run("list", path, "--label", "blue")
    assert run("export", path, tmp_path / "g.parquet") == f"{tmp_path / 'g.parquet'}: 12 exemplars of 2 classes.\n"
    query, exported = load_embeddings(tmp_path / "g.parquet")
    assert query is exported and exported.paths.tolist() == gallery.paths.tolist()
    assert exported.identities.tolist() == gallery.labels.tolist()
    assert exported.features.tobytes() == gallery.features.tobytes()
    with pytest.raises(ValueError, match="exists; pass --overwrite"):
        run("export", path, tmp_path / "g.parquet")
    (tmp_path / "images").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="6 of 6 images are not in .*nowhere, such as .*nowhere/0.png; pass"):
        run("relocate", path, tmp_path / "images/red", tmp_path / "nowhere")
    run("relocate", path, tmp_path / "images", tmp_path / "moved")
    assert Gallery(path).paths.tolist() == [p.replace("/images/", "/moved/") for p in gallery.paths.tolist()]
    with pytest.raises(ValueError, match="has no image in the folder .*images; pass a part of its paths"):
        run("relocate", path, tmp_path / "images", tmp_path / "moved")


def test_a_threshold_follows_additions_or_is_stale(training, tmp_path, run, capsys):
    images(tmp_path / "images", 12)
    (tmp_path / "others").mkdir()
    path, model = tmp_path / "g", ("--training", training)
    run("build", path, *model, "--images", tmp_path / "images", "--accept", "0.9")
    before = Gallery(path).threshold
    far = draw(tmp_path / "far", "blue", 1, 40) + draw(tmp_path / "far", "red", 1, 60)
    assert "are unknown now." in run("add", path, *model, "--label", "green", *far)
    assert Gallery(path).threshold > before and not Gallery(path).head.is_stale
    more = draw(tmp_path, "red", 1, 80)
    assert "is stale: set it anew" in run("add", path, *model, "--label", "red", *more, "--no-calibrate")
    assert json.loads(run("query", path, *model, far[0], "--json"))["threshold_is_stale"]
    assert " (stale) " in run("query", path, *model, far[0])
    run("calibrate", path, "--accept", "0.5")
    assert not Gallery(path).head.is_stale and Gallery(path).threshold < before
    draw(tmp_path / "other/red", "red", 9, 90)
    run("calibrate", path, "--accept", "0.5", "--images", tmp_path / "other", *model)
    assert not Gallery(path).head.by_exemplars
    assert "is stale: set it anew" in run("add", path, *model, "--label", "red", *draw(tmp_path, "red", 1, 81))


ON_A_SMALL_DISK = """
import pathlib, subprocess, sys
import numpy as np
from common.experiments.config import run_command
from vehicle_attributes.gallery import Gallery, maintenance
disk = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=True)
path, random = pathlib.Path(disk) / "g", np.random.default_rng(0)
def say(action):
    try:
        run_command(action)
    except SystemExit as error:
        print(error)
def build(count, name="g"):
    features = random.normal(size=(count, 64))
    paths = [f"{name}{i}" for i in range(count)]
    return Gallery.build(path.with_name(name), features, "a", paths, fingerprint="f", attribute="b")
say(lambda: build(2000))
gallery = build(500)
say(lambda: gallery.add(random.normal(size=(1000, 64)), "b", [f"late {i}" for i in range(1000)]))
rest = open(path.with_name("rest"), "wb", buffering=0)
try:
    while True: rest.write(bytes(4096))
except OSError: pass
say(lambda: gallery.calibrate(0.5))
say(lambda: gallery.relocate("g10", "h"))
say(maintenance.Export(str(path), path.with_suffix(".parquet")).run)
say(lambda: gallery.remove(path="g3"))
print(len(Gallery(path)), sorted(p.name for p in path.parent.iterdir()))
"""


def test_a_full_disk_is_one_sentence_on_every_path(tmp_path):
    if subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("needs a namespace of its own")
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", ON_A_SMALL_DISK, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    lines = done.stdout.splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    assert all("disk is full" in line and line.count("disk") <= 2 for line in lines[:-1]), done.stdout
    assert len(lines) == 7 and lines[-1] == "500 ['g', 'rest']"


def test_a_job_that_is_killed_in_truth(training, tmp_path):
    """SIGKILL between two commits."""
    images(tmp_path / "images")
    program = (
        "import os\nfrom vehicle_attributes.gallery import Gallery, cli, ingest\ningest.STEP, add = 4, Gallery.add\n"
        "Gallery.add = lambda *a: add(*a) and len(a[0]) > 5 and os.kill(os.getpid(), 9)\ncli.main()"
    )
    folder = ("--training", training, "--images", str(tmp_path / "images"))
    run_python("-c", program, "build", str(tmp_path / "g"), *folder, status=-9)
    assert len(Gallery(tmp_path / "g.part")) == 8
