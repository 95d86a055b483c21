"""Which reconstructed images are written, and whose features of them are taken."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from shufflebits.attacks.encryption_settings import CHACHA20, FILE_NAMES, ONE_KEY, PLAIN
from shufflebits.attacks.reconstructions import embed, features_file, features_files, image_file

PATHS = ["/data/query/1.jpg", "/data/gallery/1.jpg"]
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 4, 3, 3), "uint8")
CLIENT = SimpleNamespace(embed=lambda images: ("of the server", np.array(images)))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def of(folder, setting, client=None):
    return embed(client, IMAGES, folder, setting, PATHS, 5)


def test_places_by_hand():
    assert image_file(Path("run/pixel-seed0"), PLAIN, PATHS[0]) == "run/pixel-seed0/reconstructions/plain/query/1.png"
    assert features_file(Path("run"), ONE_KEY) == Path("run/reconstructions/one_key.npz")
    assert list(FILE_NAMES.values()) == [
        "plain", "one_key", "key_per_request", "chacha20", "one_key_broken", "key_per_request_broken",
    ]  # fmt: skip


def test_server_embeds_images_and_those_of_plain_features_stay(tmp_path):
    for setting in (PLAIN, CHACHA20, PLAIN):  # once more into the same folders
        name, images = of(tmp_path, setting, CLIENT)
        assert name == "of the server"
        np.testing.assert_array_equal(images, IMAGES)
    assert files(tmp_path) == ["reconstructions/plain/gallery/1.png", "reconstructions/plain/query/1.png"]
    for path, image in zip(PATHS, IMAGES):
        np.testing.assert_array_equal(np.asarray(Image.open(image_file(tmp_path, PLAIN, path))), image)


def test_without_a_server_the_owner_embeds_the_files(tmp_path):
    for setting in (PLAIN, CHACHA20):
        assert of(tmp_path, setting) is None
        written = [image_file(tmp_path, setting, path) for path in PATHS]
        assert all(Path(file).is_file() for file in written)
        features = np.float32([[1] * 5, [2] * 5])
        np.savez(features_file(tmp_path, setting), paths=written[::-1], features=features)
        for file in written:
            Path(file).unlink()
        np.testing.assert_array_equal(of(tmp_path, setting), features[::-1])
        # Those of plain features are for the figure, too.
        assert [Path(file).is_file() for file in written] == [setting == PLAIN] * 2
    assert features_files(tmp_path) == [features_file(tmp_path, setting) for setting in (PLAIN, CHACHA20)]
    np.savez(features_file(tmp_path, PLAIN), paths=PATHS, features=np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match="plain.npz has features of 4 numbers, and those of the run have 5; embed the"):
        of(tmp_path, PLAIN)
