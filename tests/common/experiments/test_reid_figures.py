"""What the figures of a run of re-identification show, from embeddings on a circle."""

from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from common.experiments.reid import figures
from common.retrieval import Embeddings, save_embeddings, score


def on_circle(degrees, identities, cameras):
    radians = np.radians(degrees)
    features = np.stack([np.cos(radians), np.sin(radians)], 1).astype("float32")
    return Embeddings(features, np.array(identities), np.array(cameras))


QUERY, GALLERY = on_circle([0, 90], [7, 8], [1, 1]), on_circle([10, 20, 82], [7, 8, 9], [2, 2, 2])
# The other seed: both queries have their match first, before all pairs of two people.
BETTER = on_circle([10, 80, 45], [7, 8, 9], [2, 2, 2])


@pytest.fixture
def results(tmp_path):
    trials = [SimpleNamespace(name=f"a-seed{seed}", seed=seed) for seed in (0, 1)]
    for trial, gallery in zip(trials, (GALLERY, BETTER)):
        (tmp_path / trial.name).mkdir()
        save_embeddings(tmp_path / trial.name / "features.npz", QUERY, gallery)
    return SimpleNamespace(run=tmp_path, trials=trials)


def test_curves_of_retrieval_by_hand(results, monkeypatch):
    """Matches at ranks 1 and 2, and at rank 1.

    Of the first seed pairs of two people are 8, 20, 80 and 82 degrees apart and those of one 10 and 70: with one of the
    four accepted, which is the least that they can tell, one of the two is missed, and with two of them none is. Of the
    second seed those of one are the nearest.
    """
    saved = []
    monkeypatch.setattr(figures.plots, "save", lambda figure, path: saved.append(figure))
    figures.draw_retrieval(results, "features.npz", None)
    cmc, det = saved[0].axes
    assert [list(line.get_xdata()) for line in cmc.lines] == [list(range(1, 21))] * 3
    assert [list(line.get_ydata()) for line in cmc.lines] == [[50] + [100] * 19, [100] * 20, [75] + [100] * 19]
    rates, (first, second, mean) = det.lines[0].get_xdata(), (line.get_ydata() for line in det.lines)
    assert rates[0] == 25 and rates[-1] == pytest.approx(50) and det.get_xscale() == "log"
    np.testing.assert_array_equal(first, np.where(rates < 50, 50, 0))
    np.testing.assert_array_equal(second, np.zeros(60))
    np.testing.assert_array_equal(mean, first / 2)
    assert [text.get_text() for text in cmc.texts] == ["a"]


def test_map_is_of_the_first_training_of_each_method(results, monkeypatch):
    """Two identities are queries; with one of them chosen, its query and its image of the gallery are in the map."""
    shown = []
    monkeypatch.setattr(figures.plots, "in_plane", lambda vectors: vectors)
    monkeypatch.setattr(figures.plots, "embeddings", lambda path, maps, labels, columns: shown.append((maps, labels)))
    longer = Embeddings(3 * QUERY.features, QUERY.identities, QUERY.cameras)
    save_embeddings(results.run / "a-seed0/features.npz", longer, GALLERY)
    assert figures.draw_embeddings(results, "features.npz", None) == 2
    assert figures.draw_embeddings(results, "features.npz", None, count=1) == 1
    (both, labels), (one, label) = shown
    assert list(both) == ["a"] and labels.tolist() == [7, 8, 7, 8] and label.tolist() == [7, 7]
    np.testing.assert_allclose(both["a"], np.concatenate([3 * QUERY.features, GALLERY.features[:2]]), atol=1e-6)
    np.testing.assert_allclose(one["a"], np.stack([3 * QUERY.features[0], GALLERY.features[0]]), atol=1e-6)


def test_similarity_is_bright_where_images_are_alike(tmp_path, monkeypatch):
    """Images are red at the left or at the right; the query of the lowest AP comes first, its nearest is another's."""
    paths = {}
    for name, columns in {"left": slice(0, 32), "right": slice(32, 64), "all": slice(0, 64)}.items():
        image = np.zeros((64, 64, 3), "uint8")
        image[:, columns, 2] = 255  # blue first
        cv2.imwrite(str(paths.setdefault(name, tmp_path / f"{name}.png")), image)
    data = SimpleNamespace(
        query=pd.DataFrame({"path": [str(paths[name]) for name in ("left", "right")]}),
        gallery=pd.DataFrame({"path": [str(paths[name]) for name in ("left", "all", "right")]}),
    )
    image = keras.Input((64, 64, 3), dtype="uint8")
    maps = keras.layers.AveragePooling2D(32)(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="global_pooled")(maps))
    shown = {}
    monkeypatch.setattr(figures.plots, "image_rows", lambda path, rows, titles: shown.update(rows, titles=titles))
    scores = score(QUERY, GALLERY, protocol=figures.protocol_of(QUERY))
    figures.draw_similarity(model, QUERY, GALLERY, scores, data, (64, 64), None)
    titles = [f"✗ {np.cos(np.radians(8)):.3f}", f"✓ {np.cos(np.radians(10)):.3f}"]
    assert shown.pop("titles") == titles
    for name, expected in {"query": ("right", "left"), "nearest": ("right", "left")}.items():
        for picture, tinted, side in zip(shown[name], shown[f"{name}: parts"], expected):
            np.testing.assert_array_equal(picture, cv2.imread(str(paths[side]))[..., ::-1] / 255)
            light = tinted.sum(axis=2).mean(axis=0)  # of each column of pixels
            assert (light[48] > 1.5 > light[16] + 0.7) if side == "right" else (light[16] > 1.5 > light[48] + 0.7)
