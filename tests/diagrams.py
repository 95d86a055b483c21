"""What holds for the picture of every project's architecture."""

from common.report import diagram
from tests.children import ROOT


def layer_names(*models):
    """Names of all layers, those of models in models too."""
    return {layer.name for model in models for layer in model._flatten_layers()}


def assert_diagram(project, boxes, arrows, names):
    """Boxes name layers or files that exist, hold their text and do not overlap; the committed picture is small."""
    assert {end for arrow in arrows for end in arrow[:2]} <= boxes.keys()
    assert len({arrow[:2] for arrow in arrows}) == len(arrows)
    for box in boxes.values():
        for name in box.code.replace("/\n", "/").replace("…", " ").split():
            assert name in names or (ROOT / project / name).is_file(), name
    figure, axis = diagram.canvas(8, 6)
    diagram.draw(axis, boxes, arrows)
    figure.draw_without_rendering()
    for box in boxes.values():
        for text in axis.texts:
            if text.get_text() in (box.text, box.code) and abs(text.get_position()[0] - box.x) < 1e-9:
                extent = text.get_window_extent().transformed(axis.transData.inverted())
                if abs(extent.y0 + extent.y1 - 2 * box.y) / 2 < box.height / 2:
                    assert extent.width <= box.width, box
                    assert abs(extent.height) <= box.height, box
    solid = sorted((box for box in boxes.values() if box.kind != "group"), key=lambda box: (box.x, box.y))
    for i, first in enumerate(solid):
        for second in solid[i + 1 :]:
            apart_x = abs(first.x - second.x) >= (first.width + second.width) / 2 - 1e-9
            assert apart_x or abs(first.y - second.y) >= (first.height + second.height) / 2 - 1e-9, (first, second)
    assert (ROOT / project / "figures/architecture.png").stat().st_size <= 200_000
