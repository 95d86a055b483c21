"""Features from a file."""

import numpy as np
import pytest

from shufflebits.attacks.collect import read_features

IMAGES = ["/data/query/a.jpg", "/data/gallery/a.jpg"]
FEATURES = np.float32([[1, 2], [3, 4], [5, 6]])
PATHS = np.array(["gallery/a.jpg", "elsewhere/query/a.jpg", "C:\\set\\query\\b.jpg"])


def test_features_are_matched_by_folder_and_name(tmp_path):
    np.savez(tmp_path / "f.npz", paths=PATHS, features=FEATURES)
    np.testing.assert_array_equal(read_features(tmp_path / "f.npz", IMAGES), [[3, 4], [1, 2]])


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"features": FEATURES}, "lacks paths; it has features"),
        ({}, "lacks paths and features; it has no arrays"),
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
        read_features(tmp_path / "f.npz", IMAGES)


def test_no_feature_file(tmp_path):
    with pytest.raises(ValueError, match="There is no file of features .*none.npz; write"):
        read_features(tmp_path / "none.npz", IMAGES)
    (tmp_path / "f.npz").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(ValueError, match="f.npz is no npz file of plain arrays"):
        read_features(tmp_path / "f.npz", IMAGES)
