"""What each figure shows: its data, labels and axes."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from common.report import plots


@pytest.fixture
def figures(monkeypatch):
    """The figures that would be written, by the names of their files."""
    figures = {}
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.update({path.name: figure}))
    return figures


def texts(items):
    return [item.get_text() for item in items]


def test_a_figure_is_written_whole_into_a_new_folder(tmp_path):
    figure = Figure(figsize=(2, 1))
    figure.subplots().imshow(np.full((2, 2, 3), 0.5))
    plots.save(figure, tmp_path / "new/a.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    pixels = imread(tmp_path / "new/a.png")
    assert abs(pixels.shape[0] - 240) < 5  # an inch and a margin of a fifth, with 200 dots each
    np.testing.assert_allclose(pixels[100, pixels.shape[1] // 2, :3], 0.5, atol=0.01)


def test_confusion_is_shaded_by_shares_and_marked_with_counts(figures, tmp_path):
    counts = np.array([[3, 1, 0], [0, 0, 0], [5, 0, 5]])  # no sample of the second class
    plots.confusion(tmp_path / "a.png", {"one": counts, "two": counts.T}, "cluster", "digit", ["a", "b", "c"])
    plots.confusion(tmp_path / "b.png", {str(i): counts for i in range(6)}, "x", "y")
    first, second = figures["a.png"].axes
    np.testing.assert_allclose(first.images[0].get_array(), [[0.75, 0.25, 0], [0, 0, 0], [0.5, 0, 0.5]])
    np.testing.assert_allclose(second.images[0].get_array(), [[3 / 8, 0, 5 / 8], [1, 0, 0], [0, 0, 1]])
    assert texts(first.texts) == ["3", "1", "", "", "", "", "5", "", "5"]
    assert first.images[0].get_clim() == (0, 1) and (first.get_title(), second.get_title()) == ("one", "two")
    assert (first.get_xlabel(), first.get_ylabel()) == ("cluster", "digit")
    assert texts(first.get_xticklabels()) == texts(first.get_yticklabels()) == ["a", "b", "c"]
    axes = figures["b.png"].axes
    assert [axis.get_title() for axis in axes] == list("012345") and texts(axes[0].get_xticklabels()) == list("012")
    spec = axes[5].get_subplotspec()  # five in a row
    assert (spec.rowspan.start, spec.colspan.start) == (1, 0) and list(figures["b.png"].get_size_inches()) == [20, 8]


def test_rows_of_images(figures, tmp_path):
    random = np.random.default_rng(0)
    gray, color = random.random((3, 8, 6, 1)), random.random((3, 8, 6, 3))
    plots.image_rows(tmp_path / "a.png", {"input": 2 * gray - 0.5, "output": color})
    axes = figures["a.png"].axes
    for axis, expected in zip(axes, [*np.clip(2 * gray[..., 0] - 0.5, 0, 1), *color], strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), expected)
    assert axes[0].images[0].get_clim() == (0, 1) and axes[0].images[0].get_cmap().name == "gray"
    assert [axis.get_ylabel() for axis in axes] == ["input", "", "", "output", "", ""]


def test_curves_begin_at_one_step(figures, tmp_path):
    plots.curves(tmp_path / "a.png", {"loss": [1.0, 0.1, 0.01], "other": [2.0]}, "epoch", "loss")
    plots.curves(tmp_path / "b.png", {"mAP": [1, 2]}, "epoch", "mAP", "linear", 5)
    (axis,), (linear,) = figures["a.png"].axes, figures["b.png"].axes
    lines = [(line.get_label(), *map(list, line.get_data())) for line in (*axis.lines, *linear.lines)]
    assert lines == [("loss", [1, 2, 3], [1.0, 0.1, 0.01]), ("other", [1], [2.0]), ("mAP", [5, 10], [1, 2])]
    assert texts(axis.get_legend().get_texts()) == ["loss", "other"]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == ("epoch", "loss", "log")
    assert (linear.get_ylabel(), linear.get_yscale()) == ("mAP", "linear")


def test_losses_are_those_of_the_logs(figures, tmp_path):
    (tmp_path / "seed3").mkdir()
    pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}).to_csv(tmp_path / "seed3/log.csv", index=False)
    plots.loss_curves(tmp_path, [SimpleNamespace(name="seed3")], "error")
    (axis,) = figures["loss.png"].axes
    assert [(line.get_label(), *line.get_ydata()) for line in axis.lines] == [("seed3", 0.5, 0.25)]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("epoch", "error")


def test_bars_stand_side_by_side(figures, tmp_path):
    plots.bars(tmp_path / "a.png", {"one": [3, 0, 1], "two": [2, 5, 4]}, ["x", "y", "z"], "bin", "count")
    (axis,) = figures["a.png"].axes
    assert [[bar.get_height() for bar in group] for group in axis.containers] == [[3, 0, 1], [2, 5, 4]]
    centers = [[bar.get_x() + bar.get_width() / 2 for bar in group] for group in axis.containers]
    np.testing.assert_allclose(centers, [[-0.2125, 0.7875, 1.7875], [0.2125, 1.2125, 2.2125]])  # 0.85 wide together
    assert texts(axis.texts) == ["3", "0", "1", "2", "5", "4"] and texts(axis.get_xticklabels()) == ["x", "y", "z"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("bin", "count")
    assert texts(axis.get_legend().get_texts()) == ["one", "two"]


def test_ranked_lists_are_framed_by_what_is_right(figures, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 4, 3), dtype="uint8")
    plots.ranked_lists(tmp_path / "a.png", [images[:3], images[3:]], [[True, False], [False]])
    axes = figures["a.png"].axes
    for axis, image in zip(axes[:5], images, strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), image)
    colors = [{to_hex(side.get_edgecolor()) for side in axis.spines.values()} for axis in axes[:5]]
    orange, green, red = ({color} for color in ("#ff7f0e", "#2ca02c", "#d62728"))
    assert colors == [orange, green, red, orange, red]
    assert [axis.axison for axis in axes] == [True] * 5 + [False]  # the second list is shorter
    assert [axis.get_title() for axis in axes] == ["query", "1", "2", "", "", ""]
