"""Diagrams of boxes and arrows: what a network is made of and how its parts meet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from common.report.plots import save

# What a box is -> how the legend says it, and its color: light, so that black text is legible on it.
KINDS = {
    "data": ("data", "#ffffff"),
    "trained": ("trained", "#cfe5f3"),
    "computed": ("computed", "#e8e8e8"),
    "loss": ("loss", "#fbdcc4"),
    "new": ("new in the publication", "#bfe6d9"),
    "group": ("", "none"),
}
_POINTS = 8  # of the text, a pixel and a half each at the width of a page


@dataclass(frozen=True)
class Box:
    """A box with text; lengths are in inches."""

    x: float  # of its center, from the left
    y: float  # of its center, from the top
    text: str
    code: str = ""  # names of layers, or a file, below the text
    kind: str = "computed"  # of `KINDS`; the text of a "group" is at its top
    width: float = 1.25
    height: float = 0.55


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """White axes in inches, the origin at the upper left."""
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.axis("off")
    return figure, axis


def draw(axis: Axes, boxes: Mapping[str, Box], arrows: Sequence[tuple[str, ...]]) -> None:
    """Draws boxes, arrows between them, and a legend of the kinds of boxes at the lower left.

    Args:
        axis: of `canvas`.
        boxes: by name.
        arrows: names of two boxes, and what stands next to the arrow, if anything.
    """
    for box in boxes.values():
        group = box.kind == "group"
        corner = box.x - box.width / 2, box.y - box.height / 2
        patch = FancyBboxPatch(
            corner, box.width, box.height, boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=KINDS[box.kind][1], edgecolor="#777777" if group else "black", linewidth=0.8,
            linestyle="--" if group else "-", zorder=1 if group else 2,
        )  # fmt: skip
        axis.add_patch(patch)
        style: dict[str, Any] = {"ha": "center", "zorder": 3, "linespacing": 1.15}
        if group:
            axis.text(box.x, corner[1] + 0.05, box.text, va="top", fontsize=_POINTS, color="#444444", **style)
        elif box.code:
            middle = box.y + 0.06 * (box.text.count("\n") - box.code.count("\n"))
            axis.text(box.x, middle, box.text, va="bottom", fontsize=_POINTS, **style)
            axis.text(box.x, middle + 0.03, box.code, va="top", fontsize=_POINTS - 1.5, family="monospace", **style)
        else:
            axis.text(box.x, box.y, box.text, va="center", fontsize=_POINTS, **style)
    for source, target, *label in arrows:
        ends = _ends(boxes[source], boxes[target])
        axis.add_patch(
            FancyArrowPatch(
                *ends, arrowstyle="-|>", mutation_scale=9, linewidth=1, color="#333333", shrinkA=0, shrinkB=0
            )
        )
        if label:
            (x1, y1), (x2, y2) = ends
            axis.text((x1 + x2) / 2, (y1 + y2) / 2 - 0.04, label[0], ha="center", va="bottom", fontsize=_POINTS - 1)
    x, height = 0.1, axis.get_ylim()[0]
    for kind, (name, color) in KINDS.items():
        if name and any(box.kind == kind for box in boxes.values()):
            axis.add_patch(
                FancyBboxPatch((x, height - 0.24), 0.16, 0.12, boxstyle="square,pad=0", facecolor=color, linewidth=0.8)
            )
            axis.text(x + 0.22, height - 0.18, name, va="center", fontsize=_POINTS - 0.5)
            x += 0.42 + 0.07 * len(name)


def _ends(source: Box, target: Box) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where an arrow begins and ends: at facing sides, left and right ones where the boxes are apart that way."""
    across, down = target.x - source.x, target.y - source.y
    if abs(across) >= (source.width + target.width) / 2:
        sign = 1 if across > 0 else -1
        return (source.x + sign * source.width / 2, source.y), (target.x - sign * target.width / 2, target.y)
    sign = 1 if down > 0 else -1
    x = (max(source.x - source.width / 2, target.x - target.width / 2)
         + min(source.x + source.width / 2, target.x + target.width / 2)) / 2  # fmt: skip
    return (x, source.y + sign * source.height / 2), (x, target.y - sign * target.height / 2)


def write(path: Path, size: tuple[float, float], boxes: Mapping[str, Box], arrows: Sequence[tuple[str, ...]]) -> None:
    """Draws a diagram of a size (width, height) in inches into a PNG."""
    figure, axis = canvas(*size)
    draw(axis, boxes, arrows)
    save(figure, path, dots_per_inch=150)  # flat colors and text take no more
