"""Features from a server, and from a file."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from shufflebits.attacks import collect as module
from shufflebits.attacks.collect import collect, load, read_features
from shufflebits.data import Parts

IMAGES = ["/data/query/a.jpg", "/data/gallery/a.jpg"]
FEATURES = np.float32([[1, 2], [3, 4], [5, 6]])
PATHS = np.array(["gallery/a.jpg", "elsewhere/query/a.jpg", "C:\\set\\query\\b.jpg"])


def test_features_are_matched_by_folder_and_name(tmp_path):
    np.savez(tmp_path / "f.npz", paths=PATHS, features=FEATURES)
    np.testing.assert_array_equal(read_features(tmp_path / "f.npz", IMAGES), [[3, 4], [1, 2]])


def test_files_of_the_authors_recipe(tmp_path):
    np.savez(tmp_path / "f.npz", accumulated_image_file_paths=PATHS, accumulated_feature_array=FEATURES)
    np.testing.assert_array_equal(read_features(tmp_path / "f.npz", IMAGES, 2), [[3, 4], [1, 2]])


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"features": FEATURES}, "lacks paths; it has features"),
        ({}, "lacks paths and features; it has no arrays"),
        (
            {"accumulated_image_file_paths": PATHS, "features": FEATURES},
            "lacks paths; it has accumulated_image_file_paths, features",
        ),
        (
            {"accumulated_feature_array": FEATURES},
            "lacks accumulated_image_file_paths; it has accumulated_feature_array",
        ),
        (
            {"accumulated_image_file_paths": PATHS, "accumulated_feature_array": FEATURES[:2]},
            r"must have accumulated_image_file_paths \(N,\) and accumulated_feature_array \(N, D\) float32, got \(3,\)",
        ),
        ({"paths": np.arange(3), "features": FEATURES}, "must have paths as text, got int64; write the paths"),
        ({"paths": PATHS, "features": FEATURES[:, :1]}, "features of 1 numbers, and those of the run have 2; embed"),
        ({"paths": PATHS, "features": FEATURES.astype("float64")}, "float32, got .* float64; cast to float32 yourself"),
        ({"paths": PATHS, "features": FEATURES.astype("float16")}, "float32, got .* float16; cast to float32 yourself"),
        (
            {"paths": PATHS[:2], "features": FEATURES},
            r"must have paths \(N,\) and features \(N, D\) float32, got \(2,\)",
        ),
        ({"paths": PATHS, "features": FEATURES * np.nan}, "has features that are NaN or infinite"),
        ({"paths": PATHS[[0, 0, 1]], "features": FEATURES}, "has features of 1 images twice"),
        (
            {"paths": PATHS[1:], "features": FEATURES[1:]},
            "no features of 1 of 2 images, the first is /data/gallery/a.jpg",
        ),
    ],
)
def test_incomplete_feature_files(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_features(tmp_path / "f.npz", IMAGES, 2)


def test_damaged_feature_files(tmp_path):
    """Bytes that were changed in a file that is compressed, and one that ends too early."""
    file = tmp_path / "f.npz"
    np.savez_compressed(file, paths=PATHS, features=np.random.default_rng(0).random((3, 500), "float32"))
    content = bytearray(file.read_bytes())
    for damaged in (content[: len(content) // 2], content[:-900] + bytes(300) + content[-600:]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"f.npz is no npz file of plain arrays; write one with np.savez"):
            read_features(file, IMAGES)


def test_no_feature_file(tmp_path):
    with pytest.raises(ValueError, match="There is no file of features .*none.npz; write"):
        read_features(tmp_path / "none.npz", IMAGES)
    (tmp_path / "f.npz").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(ValueError, match="f.npz is no npz file of plain arrays"):
        read_features(tmp_path / "f.npz", IMAGES)


@pytest.mark.parametrize("kind", ["server", "file"])
def test_features_of_both_sides_are_collected(kind, tmp_path, monkeypatch):
    """Of the local images and of the users', each in the order of their table, from the model's server or a file."""
    numbers = {f"set/{name}.jpg": [ord(name), 1.5] for name in "abcde"}
    local, users = (pd.DataFrame({"path": [f"set/{name}.jpg" for name in names]}) for names in ("dbe", "ca"))
    np.savez(tmp_path / "f.npz", paths=list(numbers), features=np.float32(list(numbers.values())))
    server = SimpleNamespace(embed=lambda paths: np.float32([numbers[path] for path in paths]) + 100)
    config = SimpleNamespace(victim="trained" if kind == "server" else "bot", features=tmp_path / "f.npz")
    if kind == "server":
        monkeypatch.setattr(module, "victim_client", lambda *_: contextlib.nullcontext(server))
    collect(config, Parts(None, local, users), tmp_path)
    added = 100 if kind == "server" else 0
    for collected, names in zip(load(tmp_path), ("dbe", "ca")):
        np.testing.assert_array_equal(collected, np.float32([[ord(name) + added, 1.5 + added] for name in names]))
        assert collected.dtype == np.float32
