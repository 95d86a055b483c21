import numpy as np
import pytest
from matplotlib import colormaps

from l2_autoencoder import plots


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, of which no file is made."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    return figures


def test_points_are_where_and_of_the_color_that_their_labels_say(figures):
    points, labels = np.random.default_rng(0).normal(size=(50, 2)), np.array([2, 3, 7, 8, 9])[np.arange(50) % 5]
    plots.embeddings(None, {"left": points, "right": -points}, labels)
    (figure,) = figures
    assert [axis.get_title() for axis in figure.axes] == ["left", "right"]
    for axis, expected in zip(figure.axes, (points, -points)):
        for number, (dots, label) in enumerate(zip(axis.collections, (2, 3, 7, 8, 9), strict=True)):
            np.testing.assert_array_equal(dots.get_offsets(), expected[labels == label])
            np.testing.assert_allclose(dots.get_facecolor(), [colormaps["tab10"](number)])
            assert dots.get_label() == str(label)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["2", "3", "7", "8", "9"]
    left, right = (axis.get_position() for axis in figure.axes)
    assert left.x1 < right.x0 and left.y0 == right.y0


def test_curves_are_the_rates_over_the_diagonal_of_chance(figures):
    """False positives to the right, true positives up; six panels are five and one below."""
    rates = np.linspace(0, 1, 5)
    curves = {"steep": (rates, rates**0.5), "flat": (rates, rates**2)}
    plots.roc(None, {f"digit {i}": curves for i in range(6)})
    (figure,) = figures
    assert [axis.get_title() for axis in figure.axes] == [f"digit {i}" for i in range(6)]
    for axis in figure.axes:
        lines = {line.get_label(): line.get_xydata().T for line in axis.lines}
        for name, expected in curves.items():
            np.testing.assert_array_equal(lines.pop(name), expected)
        ((_, chance),) = lines.items()
        np.testing.assert_array_equal(chance, [[0, 1], [0, 1]])
        assert axis.get_xlabel().startswith("False Positive") and axis.get_ylabel().startswith("True Positive")
        assert [text.get_text() for text in axis.get_legend().get_texts()][:2] == ["steep", "flat"]
    corners = [axis.get_subplotspec().get_topmost_subplotspec().rowspan.start for axis in figure.axes]
    assert corners == [0, 0, 0, 0, 0, 1]
