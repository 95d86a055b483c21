"""What the re-identification projects evaluate with: features in order, numbers, tables, the figure of ranked lists."""

from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from common.experiments import reid
from common.retrieval import Embeddings, score


@pytest.fixture
def people(tmp_path):
    """Six images, each of one color: the red value is the identity, ten times the camera the green one."""
    rows = []
    for identity, camera in ((7, 1), (7, 2), (8, 1), (8, 2), (9, 1), (9, 2)):
        path = tmp_path / f"{identity}_{camera}.png"
        cv2.imwrite(str(path), np.full((8, 4, 3), (0, 10 * camera, identity), "uint8"))  # blue first
        rows.append((str(path), identity, camera))
    return pd.DataFrame(rows, columns=["path", "identity", "camera"])


def test_features_of_each_output_in_the_order_of_the_table(people):
    pytest.importorskip("tensorflow")
    image = keras.Input((8, 4, 3), dtype="uint8")
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1.0)(image))
    model = keras.Model(image, {"rgb": mean, "red": mean[:, :1]})
    table = people.iloc[[4, 0, 3]]
    outputs = reid.embed(model, table, (8, 4))
    np.testing.assert_allclose(outputs["rgb"].features, [[9, 10, 0], [7, 10, 0], [8, 20, 0]])
    np.testing.assert_allclose(outputs["red"].features, [[9], [7], [8]])
    assert outputs["red"].identities.tolist() == [9, 7, 8] and outputs["red"].cameras.tolist() == [1, 1, 2]


def on_circle(degrees, identities, cameras):
    radians = np.radians(degrees)
    features = np.stack([np.cos(radians), np.sin(radians)], 1).astype("float32")
    return Embeddings(features, np.array(identities), np.array(cameras))


# The match of the first query comes first (AP 1), that of the second one second (AP 1/2).
QUERY, GALLERY = on_circle([0, 90], [7, 8], [1, 1]), on_circle([10, 60, 80], [7, 8, 9], [2, 2, 2])


def test_numbers_of_a_ranking_by_hand():
    record = reid.score_record(score(QUERY, GALLERY), QUERY, "double_")
    assert record["double_mAP"] == pytest.approx(0.75) and record["double_rank1"] == pytest.approx(0.5)
    assert record["double_rank5"] == 1
    low, high = record["double_mAP_interval"]
    assert 0.5 <= low <= 0.75 <= high <= 1
    assert reid.score_cells([record, {**record, "double_mAP": 0.85}], "double_")[:2] == ["80.0 ± 7.1", "50.0 ± 0.0"]
    assert reid.interval_cell({"mAP_interval": [0.5, 0.996]}) == "50.0 to 99.6"


def test_table_of_cameras_by_hand():
    gallery = on_circle([10, 60, 80, 90], [7, 8, 9, 8], [2, 2, 2, 3])
    (row,) = reid.camera_table(QUERY, gallery).splitlines()[2:]
    # Against camera 3 the second query alone has a match.
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["1", "75.0", "100.0"]


def test_ranked_lists_leave_out_what_the_rules_leave_out(people, tmp_path, monkeypatch):
    """The image of the same identity and camera, the nearest one, is no match; then right, then wrong."""
    figure = {}
    monkeypatch.setattr(
        reid.plots, "ranked_lists", lambda path, rows, matches: figure.update(rows=rows, matches=matches)
    )
    query = on_circle([0], [7], [1])
    gallery = on_circle([0, 10, 20], [7, 7, 8], [1, 2, 1])
    data = SimpleNamespace(query=people.iloc[:1], gallery=people.iloc[:3])
    reid.draw_ranked_lists(query, gallery, data, tmp_path / "lists.png", count=1, depth=2)
    assert [image[0, 0, :2].tolist() for image in figure["rows"][0]] == [[7, 10], [7, 20], [8, 10]]
    assert figure["matches"][0].tolist() == [True, False]
