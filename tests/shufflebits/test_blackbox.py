"""The three parts of a data set, and features from a file."""

from dataclasses import replace

import numpy as np
import pytest

from shufflebits.blackbox import is_validation, read, read_features
from shufflebits.config import PRESETS

IMAGES = ["/data/query/a.jpg", "/data/gallery/a.jpg"]
FEATURES = np.float32([[1, 2], [3, 4], [5, 6]])
PATHS = np.array(["gallery/a.jpg", "elsewhere/query/a.jpg", "C:\\set\\query\\b.jpg"])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return replace(PRESETS["smoke"][1], name="run", data_dir=tmp_path_factory.mktemp("people"))


def test_parts_share_no_person(config):
    parts = read(config)
    sets = [set(table.identity) - {0} for table in (parts.proprietary, parts.local, parts.users)]
    assert [len(s) for s in sets] == [6, 6, 12] and len(set.union(*sets)) == 24
    assert (parts.users.identity >= 0).all() and len(parts.users) == 12 * 18 + 12 * 6  # with distractors, without junk
    assert "upred" in parts.local
    for a, b in zip(vars(parts).values(), vars(read(config)).values()):
        assert a.equals(b)


def test_users_are_spread_evenly(config):
    every, some = (read(replace(config, users=count)).users for count in (0, 4))
    assert some.path.tolist() == every.path.iloc[[0, 95, 191, 287]].tolist()


def test_features_of_another_model_leave_all_training_people_to_the_adversary(config):
    parts = read(replace(config, proprietary="bot", features="features.npz"))
    assert len(parts.proprietary) == 0 and parts.local.identity.nunique() == 12


def test_validation_is_apart_by_person(config):
    local = read(config).local
    chosen = is_validation(local, 0.34)
    assert local.identity[chosen].nunique() == 2
    assert not set(local.identity[chosen]) & set(local.identity[~chosen])


def test_features_are_found_by_folder_and_name(tmp_path):
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
def test_what_a_feature_file_lacks_is_told(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_features(tmp_path / "f.npz", IMAGES)


def test_what_is_no_feature_file_is_told(tmp_path):
    with pytest.raises(ValueError, match="There is no file of features .*none.npz; write"):
        read_features(tmp_path / "none.npz", IMAGES)
    (tmp_path / "f.npz").write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(ValueError, match="f.npz is no npz file of plain arrays"):
        read_features(tmp_path / "f.npz", IMAGES)


def test_bad_settings_are_told():
    smoke = PRESETS["smoke"][1]
    with pytest.raises(ValueError, match="proprietary 'bot' and features None do not go together: pass --features"):
        replace(smoke, proprietary="bot")
    with pytest.raises(ValueError, match="reconstruction_size must be multiples of 32 pixels, .* got \\(48, 32\\)"):
        replace(smoke, reconstruction_size=(48, 32))
    with pytest.raises(ValueError, match="validation_share must be between 0 and 1, got 1.0"):
        replace(smoke, validation_share=1.0)
    with pytest.raises(ValueError, match="attacks must be one or more different ones"):
        replace(smoke, attacks=("pixel", "pixel"))
    with pytest.raises(ValueError, match="reconstruction_batch must be two or more, got 1"):
        replace(smoke, reconstruction_batch=1)
    with pytest.raises(ValueError, match="image_size must be at least 32"):
        replace(smoke, image_size=(16, 32))
