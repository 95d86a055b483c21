import hashlib
import itertools
import math
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from common.datasets import drawn_vehicles
from common.datasets.drawn_vehicles import draw_vehicles, plan
from common.datasets.vehicle_bodies import TYPES
from common.datasets.vehicle_cameras import CAMERAS, VIEWS, photograph
from common.datasets.vehicle_drawing import COLOR_SHARES, COLORS, fitted, random_vehicle
from common.datasets.vehicle_makes import BADGE_COLORS, MAKES
from common.datasets.vehicle_solids import Block, Solids
from common.datasets.vehicles import read

SMALL = {"vehicles": 48, "cameras": 2}
MARK = (255.0, 0.0, 255.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """48 vehicles, 2 images by each of 6 cameras."""
    return draw_vehicles(tmp_path_factory.mktemp("vehicles"), vehicles=48).parent


@pytest.fixture(scope="module")
def drawn(root):
    return read("vehicles", root, attributes=("type", "make", "color"), vehicles=48)


def lines(folder, name):
    return (folder / "train_test_split" / f"{name}.txt").read_text().splitlines()


def test_layout_is_that_of_veri_wild(root):
    folder = root / "vehicles-v1-48x6x2-seed0"
    info = lines(folder, "vehicle_info")
    assert info[0] == "id/image;Camera ID;Time;Model;Type;Color" and len(info) == 1 + 48 * 6 * 2
    images = [line.split(";")[0] for line in info[1:]]
    assert images[0] == "00001/000001" and images[-1] == "00048/000576"
    stored = sorted(str(path.relative_to(folder / "images"))[:-4] for path in folder.rglob("*.jpg"))
    assert stored == images
    train, gallery, query = (lines(folder, name) for name in ("train_list", "test_10000", "test_10000_query"))
    assert (len(train), len(gallery), len(query)) == (288, 144, 144)
    assert sorted(train + gallery + query) == images
    identities = [{line.split("/")[0] for line in part} for part in (train, gallery, query)]
    assert len(identities[0]) == 24 and identities[1] == identities[2] and not identities[0] & identities[1]
    for line in info[1:]:
        _, camera, time, make, kind, color = line.split(";")
        assert 1 <= int(camera) <= 6 and make in MAKES and kind in TYPES and color in COLORS
        assert (pd.Timestamp(time).hour >= 19) == (camera == "4")  # the one that looks at a street by night


def test_the_reader_reads_it(drawn):
    assert (len(drawn.train), len(drawn.test)) == (288, 288)
    assert list(drawn.train.columns) == ["path", "identity", "camera", "type", "make", "color"]
    for table in (drawn.train, drawn.test):
        assert Counter(table["camera"]) == dict.fromkeys(range(1, 7), 48)
        assert table.groupby("identity")[["type", "make", "color"]].nunique().max(axis=None) == 1
        for name, classes in (("type", TYPES), ("make", MAKES)):
            identities = table.groupby(name)["identity"].nunique()
            assert set(identities.index) == set(classes) and identities.min() >= 2
    for path in drawn.test["path"]:
        height, width, _ = cv2.imread(path).shape
        assert 24 <= height <= 96 and 24 <= width <= 128


@pytest.mark.parametrize(("vehicles", "seed"), [(48, 0), (49, 1), (61, 2), (100, 3), (240, 0), (240, 5), (1000, 1)])
def test_shares_are_met_on_each_side(vehicles, seed):
    plans = plan(vehicles, seed)
    assert len(plans) == vehicles and abs(sum(one.train for one in plans) - vehicles / 2) <= 1
    for train in (True, False):
        side = [one for one in plans if one.train == train]
        types, makes = Counter(one.type for one in side), Counter(one.make for one in side)
        assert set(types) == set(TYPES) and min(types.values()) >= 2
        assert set(makes) == set(MAKES) and max(makes.values()) - min(makes.values()) <= 1
        if vehicles >= 240:
            shares = [types[kind] / len(side) for kind in TYPES]
            np.testing.assert_allclose(shares, [form.share for form in TYPES.values()], atol=0.013)


def test_counts_of_the_default_set():
    counts = Counter(one.type for one in plan(240, 0))
    # Shares of 25, 14, 16, 13, 11, 9, 8 and 4 %.
    expected = [60, 33.6, 38.4, 31.2, 26.4, 21.6, 19.2, 9.6]
    np.testing.assert_allclose([counts[kind] for kind in TYPES], expected, atol=0.99)
    assert set(Counter(one.make for one in plan(240, 0)).values()) == {20}
    # Of 48, where the shares of these are 1.92, 3.84 and 4.32, the fewest are five.
    fewest = Counter(one.type for one in plan(48, 0))
    assert fewest["motorcycle"] == fewest["bus"] == fewest["truck"] == 5


@pytest.mark.parametrize("seed", range(5))
def test_colors_tell_neither_type_nor_make(seed):
    """Whoever names the most frequent class of each colour is right hardly more often than without the colour."""
    table = pd.DataFrame([vars(one) for one in plan(240, seed)])
    shares = table["color"].value_counts(normalize=True)
    np.testing.assert_allclose([shares[color] for color in COLORS], COLOR_SHARES, atol=0.009)
    for name, classes, tolerance in (("type", TYPES, 0.05), ("make", MAKES, 0.075)):
        counts = pd.crosstab(table["color"], table[name])
        assert set(counts.columns) == set(classes)
        gain = counts.max(axis=1).sum() / 240 - counts.sum().max() / 240
        assert gain < tolerance
        # No combination is more than three vehicles off its share.
        expected = np.outer(counts.sum(axis=1), counts.sum()) / 240
        assert np.abs(counts - expected).max(axis=None) <= 3


def test_a_set_is_a_function_of_its_arguments(tmp_path):
    def digest(folder):
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    first = digest(draw_vehicles(tmp_path / "a", **SMALL))
    assert len(first) == 48 * 2 * 2 + 4 and len(set(first.values())) == len(first)
    assert digest(draw_vehicles(tmp_path / "b", **SMALL)) == first
    other = digest(draw_vehicles(tmp_path / "a", seed=1, **SMALL))
    assert other.keys() == first.keys() and not set(other.values()) & set(first.values())
    assert len(list((tmp_path / "a").iterdir())) == 2


def test_a_set_is_whole_or_absent(tmp_path, monkeypatch):
    taken = []

    def broken(*arguments):
        if len(taken) == 20:
            raise KeyboardInterrupt
        taken.append([path.name for path in tmp_path.iterdir() if not path.name.startswith(".")])
        return photograph(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(drawn_vehicles, "photograph", broken)
        with pytest.raises(KeyboardInterrupt):
            draw_vehicles(tmp_path, **SMALL)
    assert taken == [[]] * 20 and list(tmp_path.iterdir()) == []
    folder = draw_vehicles(tmp_path, **SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(drawn_vehicles, "photograph", broken)
        assert draw_vehicles(tmp_path, **SMALL) == folder  # found, not drawn again


@pytest.mark.parametrize("wrong", [{"vehicles": 47}, {"cameras": 7}, {"cameras": 1}, {"images_per_camera": 1}])
def test_wrong_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="Expected at least 48 vehicles, 2 to 6 cameras .* got"):
        draw_vehicles(tmp_path, **wrong)
    assert list(tmp_path.iterdir()) == []


def test_projection_of_a_cube():
    """From 16 m, a corner that is 1 m nearer is 16/15 as large; heading right, the front is on the right."""
    solids = Solids()
    solids.part(0)
    solids.block(Block(((1, 0), (1, 2), (-1, 2), (-1, 0)), 1, 1), MARK)
    corner = solids.corners.index((1, 1, 2))  # front, left, top
    size = (1.0, 1.0, 1.0)
    for yaw, expected in (
        (0, (16 / 15, -32 / 15)),
        (math.pi / 2, (16 / 17, -32 / 17)),
        (math.pi, (-16 / 17, -32 / 17)),
    ):
        np.testing.assert_allclose(solids.project(yaw, 0.0, size)[corner], expected, rtol=1e-5)
    # Looking down by 0.5 from yaw 0: the corner is at 1 toward the viewer and 2 up.
    nearness = 16 / (16 - math.cos(0.5) - 2 * math.sin(0.5))
    expected = (nearness, nearness * (math.sin(0.5) - 2 * math.cos(0.5)))
    np.testing.assert_allclose(solids.project(0.0, 0.5, size)[corner], expected, rtol=1e-5)
    np.testing.assert_allclose(solids.project(0.0, 0.0, (1, 2, 1))[corner], (32 / 15, -32 / 15), rtol=1e-5)


def figure(vehicle, view, pitch=0.15):
    """A vehicle of 360 pixels on black, at noon."""
    canvas, yaw = np.zeros((400, 400, 3), "uint8"), VIEWS[view]
    points = fitted(vehicle.solids.project(yaw, pitch, (1.0, 1.0, 1.0)), 200, 380, 360, 360)
    vehicle.solids.draw(canvas, points, yaw, light=1.0, lamps=1.0, shadow=(0, 0, 0))
    return canvas.astype(int)


def plain(kind, make="Kestrel", **changes):
    vehicle = random_vehicle(np.random.default_rng(0), kind, make, "gray")
    clean = {"sticker_rear": None, "sticker_side": None, "stripe": False, "rack": False, "dirt": 0.0, "tint": 1.0}
    return replace(vehicle, **{**clean, **changes})


def seen(picture, color, tolerance=2):
    return int((np.abs(picture - color).max(axis=2) <= tolerance).sum())


def test_views_are_those_of_one_vehicle():
    """Heading left is heading right mirrored; white lamps are in front, red ones behind."""
    for kind in TYPES:
        vehicle = plain(kind, second=(90.0, 140.0, 90.0))
        left, right = figure(vehicle, "left")[:, 1:], figure(vehicle, "right")[:, 1:]
        assert np.mean(np.abs(left - right[:, ::-1]).max(axis=2) > 40) < 0.01, kind
        front, rear = figure(vehicle, "front"), figure(vehicle, "rear")
        assert seen(front, (250, 248, 226)) > 100 and seen(rear, (250, 248, 226)) == 0, kind
        assert seen(rear, (206, 26, 30)) > 100 and seen(front, (206, 26, 30)) == 0, kind


def test_stickers_are_where_they_belong():
    rear, side = plain("sedan", sticker_rear=MARK), plain("sedan", sticker_side=MARK)
    marked = [seen(figure(rear, view), np.multiply(MARK, 0.96)) > 100 for view in VIEWS]
    assert marked == [False, True, False, False]
    marked = [seen(figure(side, view), np.multiply(MARK, 0.86)) > 100 for view in VIEWS]
    assert marked == [False, False, True, True]


def test_outlines_tell_the_types():
    """Shares of the square that the shapes cover from the side, and how high they are for their length."""
    heights = {}
    for kind in TYPES:
        rows = figure(plain(kind), "right", pitch=0.01).any(axis=(1, 2)).nonzero()[0]
        heights[kind] = (rows[-1] - rows[0] + 1) / 360
    # From the outlines: 1.36 of 4.6 m, 1.58 of 3.9 and so on, less than a tenth more for what is nearer.
    expected = {"sedan": 0.29, "hatchback": 0.4, "SUV": 0.43, "van": 0.48, "pickup": 0.35, "bus": 0.4, "truck": 0.43}
    for kind, height in expected.items():
        assert heights[kind] == pytest.approx(height, abs=0.03), kind
    assert heights["motorcycle"] > 0.75


def test_makes_differ_in_small_things_that_are_seen():
    """Each two makes share at most one of six things; all pictures differ, in few pixels; the badge has its colour."""
    things = [list(vars(make).values()) for make in MAKES.values()]
    assert all(sum(a == b for a, b in zip(*pair)) <= 1 for pair in itertools.combinations(things, 2))
    assert all(set(Counter(column).values()) == {2} for column in zip(*things))
    for view in ("front", "rear", "right"):
        pictures = {make: figure(plain("SUV", make), view) for make in MAKES}
        for a, b in itertools.combinations(MAKES, 2):
            different = np.mean(np.abs(pictures[a] - pictures[b]).max(axis=2) > 40)
            assert 0.001 < different < 0.12, (view, a, b)
        for make, picture in pictures.items():
            color = np.multiply(BADGE_COLORS[MAKES[make].badge_color], 0.86 if view == "right" else 0.96)
            assert seen(picture, color) > 50, (view, make)


def test_views_are_seen_as_often_as_the_camera_says(monkeypatch):
    yaws = []
    monkeypatch.setattr(Solids, "draw", lambda solids, canvas, points, yaw, **options: yaws.append(yaw))
    vehicle, rng = plain("sedan"), np.random.default_rng(1)
    for _ in range(1000):
        photograph(vehicle, CAMERAS[0], rng, vehicle)
    nearest = [min(VIEWS, key=lambda view: abs(math.remainder(yaw - VIEWS[view], 2 * math.pi))) for yaw in yaws]
    np.testing.assert_allclose([nearest.count(view) / len(yaws) for view in VIEWS], CAMERAS[0].views, atol=0.05)


def test_cameras_are_told_apart_by_their_pictures(drawn):
    def pixels(table):
        images = [
            cv2.resize(cv2.imread(path), (16, 12), interpolation=cv2.INTER_AREA).ravel() for path in table["path"]
        ]
        images = np.array(images, "float32")
        return images / np.linalg.norm(images, axis=1, keepdims=True)

    train, test = pixels(drawn.train), pixels(drawn.test)
    centers = np.stack([train[drawn.train["camera"] == camera].mean(axis=0) for camera in range(1, 7)])
    found = 1 + np.argmax(test @ (centers / np.linalg.norm(centers, axis=1, keepdims=True)).T, axis=1)
    assert np.mean(found == drawn.test["camera"]) > 0.55  # chance is 1/6
    # And raw pixels are a poor guide to the type: the nearest training image's is right in 15 to 60 %.
    kinds = drawn.train["type"].to_numpy()[np.argmax(test @ train.T, axis=1)]
    assert 0.15 < np.mean(kinds == drawn.test["type"]) < 0.6
