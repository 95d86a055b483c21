import numpy as np
import pytest

from l2_autoencoder import plots


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, of which no file is made."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    return figures


def test_curves_are_the_rates_over_the_diagonal_of_chance(figures):
    """False positives to the right, true positives up; two panels in a row."""
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
    assert corners == [0, 0, 1, 1, 2, 2]
