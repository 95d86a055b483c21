import numpy as np

from common.report.diagram import canvas
from shufflebits.architecture import ARROWS, BOXES, draw_bits
from tests.diagrams import assert_diagram


def test_picture_names_files():
    assert_diagram("shufflebits", BOXES, ARROWS, set())


def test_bits_are_where_the_key_moves_them():
    """The sign is at the left and goes to the right end; the lowest bit of the exponent, 23, to its left."""
    positions = np.array([31, *range(2, 24), 1, *range(24, 31), 0])
    assert sorted(positions) == list(range(32))
    _, axis = canvas(8, 4)
    draw_bits(axis, positions, top=1, bottom=2, width=0.2)
    lines = {
        round((7.65 - line.get_xdata()[0]) / 0.2): round((7.65 - line.get_xdata()[1]) / 0.2) for line in axis.lines
    }
    assert lines == dict(enumerate(positions))
    colors = {(patch.get_x(), patch.get_y()): patch.get_facecolor() for patch in axis.patches}
    left, right = min(x for x, _ in colors), max(x for x, _ in colors)
    assert colors[left, 1] == colors[right, 2] != colors[right, 1] and len(colors) == 64
