"""Where boxes, arrows and text of a diagram are."""

import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from common.report import diagram
from common.report.diagram import KINDS, Box
from tests.common.report.test_plots import seen

BOXES = {
    "a": Box(1, 1, "left", "layer", "trained", width=1, height=0.5),
    "b": Box(4, 2, "right", width=2, height=1),
    "c": Box(1.25, 3, "below", kind="data", width=1, height=0.5),
    "g": Box(2.5, 2, "all", kind="group", width=4.8, height=3),
}


@pytest.mark.parametrize(
    ("source", "target", "ends"),
    [
        ("a", "b", ((1.5, 1), (3, 2))),  # facing sides
        ("b", "a", ((3, 2), (1.5, 1))),
        ("a", "c", ((1.125, 1.25), (1.125, 2.75))),  # in the middle of what they share
        ("c", "a", ((1.125, 2.75), (1.125, 1.25))),
    ],
)
def test_arrows_begin_and_end_at_facing_sides(source, target, ends):
    assert diagram._ends(BOXES[source], BOXES[target]) == ends


def test_boxes_are_where_and_of_the_color_that_they_say():
    _, axis = diagram.canvas(5, 4)
    diagram.draw(axis, BOXES, [("a", "b", "to"), ("a", "c")])
    assert axis.get_xlim() == (0, 5) and axis.get_ylim() == (4, 0)  # from the top
    patches = [patch for patch in axis.patches if isinstance(patch, FancyBboxPatch)]
    for patch, box in zip(patches, BOXES.values()):
        assert patch.get_x() == box.x - box.width / 2 and patch.get_y() == box.y - box.height / 2
        assert (patch.get_width(), patch.get_height()) == (box.width, box.height)
    assert [to_hex(patch.get_facecolor()) for patch in patches[:3]] == ["#cfe5f3", "#e8e8e8", "#ffffff"]
    assert patches[3].get_linestyle() == "--" and patches[3].get_zorder() < patches[0].get_zorder()
    assert len([patch for patch in axis.patches if isinstance(patch, FancyArrowPatch)]) == 2
    # A legend of the kinds that there are, in the order of `KINDS`.
    texts = ["left", "layer", "right", "below", "all", "to", "data", "trained", "computed"]
    assert [text.get_text() for text in axis.texts] == texts
    assert axis.texts[1].get_fontfamily() == ["monospace"]


def test_text_is_legible_on_all_kinds_of_boxes():
    """CIE lightness of 85 or more under black text, also as a deuteranope sees it."""
    for name, color in KINDS.values():
        if name:
            assert min(seen(color, deficiency)[0] for deficiency in ("none", "deuteranopia", "protanopia")) > 85


def test_picture_is_1200_pixels_wide(tmp_path):
    diagram.write(tmp_path / "a.png", (8, 4), BOXES, [("a", "b")])
    height, width = imread(tmp_path / "a.png").shape[:2]
    assert abs(width - 1230) < 3 and abs(height - 630) < 3  # 8 and 4 inches of 150 dots, and margins of a tenth
