import os
from pathlib import Path

import pytest

from tests.common.datasets.test_image_folder import picture
from tests.vehicle_attributes.layouts import write_files
from vehicle_attributes.config import Config
from vehicle_attributes.data import read
from vehicle_attributes.readers.mio_tcd import read_mio_tcd


def test_labels_are_in_the_folder_train_alone(tmp_path):
    root = tmp_path / "MIO-TCD-Classification"
    classes = ("background", "work_van")
    write_files(root, {f"train/{name}/{i}.jpg": picture(f"{name} {i}") for name in classes for i in range(10)})
    write_files(root, {"test/100010596.jpg": "no label", "train/background/again.jpg": picture("background 0")})
    with pytest.warns(UserWarning) as caught:
        data = read(Config(dataset="mio_tcd", data_dir=tmp_path))
    # Equal pictures are counted, as the published number does, and used once.
    assert "train has images 21, type 2, the published set images 519,164, type 11: scores" in str(caught[-1].message)
    assert data.train["type"].value_counts().to_dict() == {"background": 8, "work_van": 8}
    assert data.test["type"].value_counts().to_dict() == {"background": 2, "work_van": 2}
    with pytest.raises(ValueError, match="has no train, nor has a folder in it. Check --data-dir"):
        read_mio_tcd(root / "test")


@pytest.mark.real_data
@pytest.mark.skipif("IMAGE_EMBEDDINGS_DATA" not in os.environ, reason="IMAGE_EMBEDDINGS_DATA is not set")
def test_real_layout():
    with pytest.raises(ValueError, match="The class 'articulated_truck' of .* has 1 different image"):
        read_mio_tcd(Path(os.environ["IMAGE_EMBEDDINGS_DATA"]) / "mio_tcd_sample")
