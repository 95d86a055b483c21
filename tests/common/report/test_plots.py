"""What each figure shows: its data, labels and axes."""

from itertools import combinations
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from common.report import plots
from tests.children import ROOT


@pytest.fixture
def figures(monkeypatch):
    """The figures that would be written, by the names of their files."""
    figures = {}
    monkeypatch.setattr(plots, "save", lambda figure, path, *_: figures.update({path.name: figure}))
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


def test_no_figure_is_wider_than_a_page(tmp_path):
    """20 inches, which would be 4,000 pixels; and names that reach out of the figure are in it."""
    wide, named = Figure(figsize=(20, 1)), Figure(figsize=(6, 2))
    wide.subplots().plot([1, 2])
    axis = named.subplots()
    plots.label_lines(named, axis, {"a long name " * 4: axis.plot([1, 2])[0]})
    for name, figure in (("wide", wide), ("named", named)):
        plots.save(figure, tmp_path / f"{name}.png")
        assert 1500 < imread(tmp_path / f"{name}.png").shape[1] <= plots.MAX_WIDTH == 1600


FIGURES = sorted(ROOT.glob("*/figures/*.png"))


@pytest.mark.parametrize("path", FIGURES, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_figures_of_the_pages_are_as_wide_as_a_page(path):
    assert imread(path).shape[1] <= plots.MAX_WIDTH


# Machado et al., "A Physiologically-based Model for Simulation of Color Vision Deficiency" (2009), severity 1.0.
DEFICIENCIES = {
    "none": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}


def seen(color, deficiency):
    """CIE Lab of a color as it is seen: the matrices are of linear RGB."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(DEFICIENCIES[deficiency] @ linear, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(rgb.astype("float32").reshape(1, 1, 3), cv2.COLOR_RGB2LAB).ravel()


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_color_blind_readers_tell_the_colors_apart(deficiency):
    """A distance of 2.3 is just noticeable; matplotlib's green and red, of deuteranopes, are 24 apart, right, wrong 71.

    Lines in the first five colors are far apart; all seven still are, and have markers and dashes of their own.
    """

    def least(colors):
        lab = [seen(color, deficiency) for color in colors]
        return min(np.linalg.norm(a - b) for a, b in combinations(lab, 2))

    assert least([plots.RIGHT, plots.WRONG]) > 60
    assert least([plots.RIGHT, plots.WRONG, plots.NEUTRAL]) > 25
    assert least(plots.PALETTE[:4]) > 35 and least(plots.PALETTE) > 15
    assert least(["white", *plots.PALETTE]) > 15 and len(set(plots.PALETTE)) == 7


def test_lines_after_the_palette_are_dashed():
    styles = [tuple(plots.style(number).values()) for number in range(21)]
    assert len(set(styles)) == 21 and styles[7] == (plots.PALETTE[0], "--") and styles[0][1] == "-"


def test_names_of_lines_do_not_overlap(figures, tmp_path):
    """Four ends within 0.02 of an axis of 1: the names are spread by their own height around them, in their order."""
    ends = [0.5, 0.51, 0.52, 0.505, 0.9]
    figure, (axis,) = plots.panels([""], size=5)
    axis.set_ylim(0, 1)
    lines = {f"line {end}": axis.plot([1, 2], [0, end], color=plots.PALETTE[i])[0] for i, end in enumerate(ends)}
    plots.label_lines(figure, axis, lines)
    figure.draw_without_rendering()
    assert texts(axis.texts) == [f"line {end}" for end in sorted(ends)]
    assert [text.xy[1] for text in axis.texts] == sorted(ends)  # from where a thin line leads to the name
    assert [to_hex(text.get_color()) for text in axis.texts] == [plots.PALETTE[i] for i in (0, 3, 1, 2, 4)]
    heights = [text.xyann[1] for text in axis.texts]
    assert np.mean(heights[:4]) == pytest.approx(np.mean(ends[:4]), abs=1e-3) and heights[4] == pytest.approx(0.9)
    boxes = [Text.get_window_extent(text) for text in axis.texts]  # without the thin line
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in zip(boxes, boxes[1:]))
    assert not figure.legends
    many = {str(i): axis.plot([1, 2])[0] for i in range(9)}
    plots.label_lines(figure, axis, many)
    assert len(axis.texts) == 5 and texts(figure.legends[0].get_texts()) == list("012345678")


def test_confusion_is_shaded_by_shares_and_marked_with_counts(figures, tmp_path):
    counts = np.array([[3, 1, 0], [0, 0, 0], [5, 0, 5]])  # no sample of the second class
    plots.confusion(tmp_path / "a.png", {"one": counts, "two": counts.T}, "cluster", "digit", ["a", "b", "c"])
    plots.confusion(tmp_path / "b.png", {str(i): counts for i in range(5)}, "x", "y")
    first, second = figures["a.png"].axes
    np.testing.assert_allclose(first.images[0].get_array(), [[0.75, 0.25, 0], [0, 0, 0], [0.5, 0, 0.5]])
    np.testing.assert_allclose(second.images[0].get_array(), [[3 / 8, 0, 5 / 8], [1, 0, 0], [0, 0, 1]])
    assert texts(first.texts) == ["3", "1", "", "", "", "", "5", "", "5"]
    assert first.images[0].get_clim() == (0, 1) and (first.get_title(), second.get_title()) == ("one", "two")
    assert (first.get_xlabel(), first.get_ylabel()) == ("cluster", "digit")
    assert [to_hex(text.get_color()) for text in first.texts[:3]] == ["#ffffff", "#000000", "#000000"]
    assert texts(first.get_xticklabels()) == texts(first.get_yticklabels()) == ["a", "b", "c"]
    axes = figures["b.png"].axes
    assert [axis.get_title() for axis in axes] == list("01234") and texts(axes[4].get_xticklabels()) == list("012")
    assert [axis.get_ylabel() for axis in axes] == ["y", "", "", "y", ""]  # at the left, and below the last
    assert [axis.get_xlabel() for axis in axes] == ["", "", "x", "x", "x"]
    spec = axes[4].get_subplotspec()  # three in a row
    assert (spec.rowspan.start, spec.colspan.start) == (1, 1)
    np.testing.assert_allclose(figures["b.png"].get_size_inches(), [8, 16 / 3])


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
    assert texts(axis.texts) == ["loss", "other"]  # in the order of their heights
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_yscale()) == ("epoch", "loss", "log")
    assert (linear.get_ylabel(), linear.get_yscale()) == ("mAP", "linear")


def test_seeds_are_thin_and_their_mean_is_named(figures, tmp_path):
    plots.curves(tmp_path / "a.png", {"a": np.array([[1, 3], [2, 6]]), "b": [5, 5]}, "epoch", "mAP", "linear")
    (axis,) = figures["a.png"].axes
    values = [list(line.get_ydata()) for line in axis.lines]
    assert values == [[1, 2], [3, 6], [2, 4], [5, 5]] and texts(axis.texts) == ["a", "b"]
    assert [line.get_linewidth() for line in axis.lines] == [0.5, 0.5, 1.5, 1.5]
    assert [line.get_color() for line in axis.lines] == [*3 * plots.PALETTE[:1], plots.PALETTE[1]]


def test_training_curves_are_those_of_the_logs(figures, tmp_path):
    """Two seeds of one training and one of another, whose log has no metric; a look at the test images at epoch 2."""
    logs = {
        ("a-seed3", 3): {"epoch": [1, 2], "loss": [0.5, 0.25], "test_mAP": [np.nan, 0.5]},
        ("a-seed4", 4): {"epoch": [1, 2], "loss": [1.5, 0.75], "test_mAP": [np.nan, 0.75]},
        ("b-seed3", 3): {"epoch": [1, 2], "loss": [2.0, 1.0]},
    }
    for (name, _), log in logs.items():
        (tmp_path / name).mkdir()
        pd.DataFrame(log).to_csv(tmp_path / name / "log.csv", index=False)
    trials = [SimpleNamespace(name=name, seed=seed) for name, seed in logs]
    columns = {"loss": "error", "test_mAP": "mAP", "penalty": "of no log"}
    plots.training_curves(tmp_path, trials, columns)
    losses, metric = figures["loss.png"].axes
    means = {line.get_label(): [*map(list, line.get_data())] for line in losses.lines if line.get_linewidth() > 1}
    assert means == {"a": [[1, 2], [1, 0.5]], "b": [[1, 2], [2, 1]]} and len(losses.lines) == 4
    assert [[*map(list, line.get_data())] for line in metric.lines] == [[[2], [0.5]], [[2], [0.75]], [[2], [0.625]]]
    assert (losses.get_xlabel(), losses.get_ylabel(), losses.get_yscale()) == ("epoch", "error", "log")
    assert (metric.get_ylabel(), metric.get_yscale(), texts(metric.texts)) == ("mAP", "linear", ["a"])
    plots.training_curves(tmp_path, trials[2:])
    (axis,) = figures["loss.png"].axes
    assert axis.get_ylabel() == "loss" and texts(axis.texts) == ["b"]


def test_bars_lie_under_each_other(figures, tmp_path):
    plots.bars(tmp_path / "a.png", {"one": [3, 0, 1], "two": [2, 5, 4]}, ["x", "y", "z"], "bin", "count")
    (axis,) = figures["a.png"].axes
    assert [[bar.get_width() for bar in group] for group in axis.containers] == [[3, 0, 1], [2, 5, 4]]
    centers = [[bar.get_y() + bar.get_height() / 2 for bar in group] for group in axis.containers]
    np.testing.assert_allclose(centers, [[-0.2125, 0.7875, 1.7875], [0.2125, 1.2125, 2.2125]])  # 0.85 wide together
    assert texts(axis.texts) == ["3", "0", "1", "2", "5", "4"] and texts(axis.get_yticklabels()) == ["x", "y", "z"]
    assert (axis.get_ylabel(), axis.get_xlabel()) == ("bin", "count") and axis.yaxis_inverted()  # the first on top
    assert texts(figures["a.png"].legends[0].get_texts()) == ["one", "two"]


def test_ranked_lists_say_what_is_right_and_how_far_it_is(figures, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 4, 3), dtype="uint8")
    good = plots.RankedList(images[:3], [True, False], [0.125, 0.501], "AP 80 %")
    short, other = plots.RankedList(images[3:5], [False], [0.75]), plots.RankedList(images[5:], [True], [0])
    plots.ranked_lists(tmp_path / "a.png", {"typical": [good, short], "worst": [other]})
    left, right = figures["a.png"].subfigs
    assert [part.get_suptitle() for part in (left, right)] == ["typical", "worst"]
    axes = [*left.axes[:5], *right.axes[:2]]
    for axis, image in zip(axes, images, strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), image)
    frames = [{to_hex(side.get_edgecolor()) for side in axis.spines.values()} for axis in axes]
    neutral, blue, vermilion = ({color} for color in ("#777777", "#0072b2", "#d55e00"))
    assert frames == [neutral, blue, vermilion, neutral, vermilion, neutral, blue]
    labels = ["AP 80 %", "✓ 0.125", "✗ 0.501", "", "✗ 0.750", "", "✓ 0.000"]
    assert [axis.get_xlabel() for axis in axes] == labels
    assert [axis.axison for axis in left.axes] == [True] * 5 + [False]  # the second list is shorter
    assert [axis.get_title() for axis in left.axes] == ["query", "", "", "", "", ""]


def test_points_are_where_and_of_the_color_and_marker_that_their_labels_say(figures, tmp_path):
    points, labels = np.random.default_rng(0).normal(size=(90, 2)), np.arange(90) % 15 + 3
    plots.embeddings(tmp_path / "a.png", {"left": points, "right": -points}, labels)
    figure = figures["a.png"]
    assert [axis.get_title() for axis in figure.axes] == ["left", "right"]
    for axis, expected in zip(figure.axes, (points, -points)):
        for number, dots in enumerate(axis.collections):
            np.testing.assert_array_equal(dots.get_offsets(), expected[labels == number + 3])
            assert to_hex(dots.get_facecolor()[0]) == plots.PALETTE[number % 7]
            assert dots.get_label() == str(number + 3)
        looks = {(to_hex(d.get_facecolor()[0]), d.get_paths()[0].vertices.tobytes()) for d in axis.collections}
        assert len(looks) == len(axis.collections) == 15
    (legend,) = figure.legends
    assert texts(legend.get_texts()) == [str(label) for label in range(3, 18)]


def test_a_map_has_vectors_of_one_direction_together():
    """Two directions, ten lengths each: lengths do not count, and no point is nearer to one of the other direction."""
    random = np.random.default_rng(0)
    directions = np.repeat(np.eye(8)[:2], 10, axis=0) + random.normal(scale=0.01, size=(20, 8))
    points = plots.in_plane(directions * np.geomspace(1, 1000, 20)[:, np.newaxis])
    assert points.shape == (20, 2)
    distances = np.linalg.norm(points[:, np.newaxis] - points, axis=-1) + 1e9 * np.eye(20)
    assert ((distances.argmin(1) < 10) == (np.arange(20) < 10)).all()
    np.testing.assert_array_equal(plots.in_plane(directions), plots.in_plane(7 * directions))
