"""The sets that are a folder of images per class: the embedded photographs, and the user's own."""

import hashlib
import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from common.datasets.image_folder import LabeledImages
from common.datasets.images import read_image
from tests.common.datasets.test_image_folder import picture
from tests.vehicle_attributes.layouts import write_files
from vehicle_attributes.config import Config
from vehicle_attributes.data import PHOTOGRAPHS, check, describe, read

TYPES = ["bike", "car", "juggernaut", "minibus", "pickup", "truck"]


def digests(paths):
    return {hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}


def test_embedded_photographs():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of duplicates
        data = read(Config(dataset="embedded"))
    for table, count in ((data.train, 80), (data.test, 20)):
        assert table["type"].value_counts(sort=False).to_dict() == dict.fromkeys(TYPES, count)
    assert {read_image(path).shape for path in [*data.train["path"], *data.test["path"]]} == {(100, 100, 3)}
    assert "CC BY 4.0" in (PHOTOGRAPHS / "ATTRIBUTION.md").read_text()
    with pytest.raises(ValueError, match=r"'embedded' has the attributes \['type'\], not all of \['make'\]"):
        read(Config(dataset="embedded", attributes=("make",)))


def test_classes_of_folders_are_those_of_the_learned_attribute(tmp_path):
    write_files(tmp_path, {f"{name}/{i}.jpg": picture(f"{name} {i}") for name in ("bus", "car") for i in range(10)})
    config = Config(dataset="folders", data_dir=tmp_path, attributes=("make",))
    assert list(read(config).test.columns) == ["path", "make"]
    with pytest.raises(ValueError, match=r"'folders' has the attributes \['type'\], not all of \['type', 'make'\]"):
        read(Config(dataset="folders", data_dir=tmp_path, attributes=("type", "make")))


def test_what_is_trained_on_and_on_how_many_devices():
    train = pd.DataFrame({"type": list("aab") * 500, "make": list("cde") * 500})
    data = LabeledImages(train, train[:7])
    config = Config(attributes=("type", "make"), classes_per_batch=6)
    assert describe(config, data) == (
        "veri_wild, 1,500 training and 7 test images, classes: 2 of type, 3 of make, 120 epochs"
    )
    check(config, SimpleNamespace(num_replicas_in_sync=3))
    with pytest.raises(ValueError, match="6 identities per batch cannot be split over 4 replicas"):
        check(config, SimpleNamespace(num_replicas_in_sync=4))


@pytest.mark.real_data
@pytest.mark.skipif("IMAGE_EMBEDDINGS_DATA" not in os.environ, reason="IMAGE_EMBEDDINGS_DATA is not set")
def test_real_folders_and_the_photographs_from_them():
    root = Path(os.environ["IMAGE_EMBEDDINGS_DATA"]) / "vehicle_type_zenodo6634554"
    with pytest.warns(UserWarning, match=r"^5 image\(s\) equal another one of their class") as caught:
        data = read(Config(dataset="folders", data_dir=root))
    assert len(caught) == 1
    counts = [table["type"].value_counts(sort=False).to_dict() for table in (data.train, data.test)]
    assert sum(counts[0].values()) + sum(counts[1].values()) == 4795 and set(counts[1].values()) <= {159, 160}
    assert list(counts[0]) == TYPES
    sides = [digests(table["path"]) for table in (data.train, data.test)]
    assert len(sides[0]) == len(data.train) and len(sides[1]) == len(data.test) and not sides[0] & sides[1]
    for name in TYPES:
        lowest = sorted(digests((root / name).glob("*.jpg")))[:100]
        assert sorted(digests((PHOTOGRAPHS / name).glob("*.jpg"))) == lowest
