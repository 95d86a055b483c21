"""Solids that drawn vehicles are made of, and their projection into a picture.

Lengths are metres: x forward from the vehicle's middle, y to its left, z up from the road. Polygons are convex, and
counterclockwise for who sees their front; who sees them clockwise is behind them. So the solids, which are convex,
hide their own far sides, and parts need drawing only from far to near. Colours are RGB.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from common.datasets.drawn import Color

DISTANCE = 16.0  # metres from the camera to the vehicle
DARK, GLASS, CHROME, TIRE = (30, 30, 34), (58, 70, 82), (200, 202, 206), (34, 34, 36)
_SHIFT = 4  # bits behind the point of OpenCV's fixed-point coordinates
_HULL, _SHADOW = "hull", "shadow"
# How bright a face is in daylight; lamps shine by themselves.
_LIGHTS = {"top": 1.06, "end": 0.96, "side": 0.86, "lamp": 1.0, _HULL: 0.9, _SHADOW: 1.0}

Point = tuple[float, float]
Polygon = list[Point]


def rectangle(left: float, bottom: float, right: float, top: float) -> Polygon:
    return [(left, bottom), (right, bottom), (right, top), (left, top)]


def disc(x: float, y: float, radius: float, corners: int = 12) -> Polygon:
    angles = [2 * math.pi * i / corners for i in range(corners)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def placed(shape: Polygon, x: float, y: float, width: float, height: float) -> Polygon:
    """A shape within -1..1 at a place and of a half width and half height; a negative width mirrors it."""
    points = [(x + width * a, y + height * b) for a, b in shape]
    return points[::-1] if width < 0 else points


@dataclass(frozen=True)
class Block:
    """A convex outline in x and z, counterclockwise from the front's foot, extruded to both sides."""

    outline: tuple[Point, ...]
    low: float  # half the width at its foot
    high: float  # and at its top

    @functools.cached_property
    def _heights(self) -> tuple[float, float]:
        return min(z for _, z in self.outline), max(z for _, z in self.outline)

    def half_width(self, z: float) -> float:
        bottom, top = self._heights
        return self.low + (self.high - self.low) * (z - bottom) / (top - bottom)

    def end(self, z: float, front: bool) -> float:
        """x of the outermost point at a height."""
        found = []
        for (x0, z0), (x1, z1) in zip(self.outline, self.outline[1:] + self.outline[:1]):
            if min(z0, z1) <= z <= max(z0, z1):
                found.append(x0 if z0 == z1 else x0 + (x1 - x0) * (z - z0) / (z1 - z0))
        found = found or [x for x, _ in self.outline]
        return max(found) if front else min(found)


@dataclass
class _Part:
    """Faces that are drawn one after the other: first, last corner, colour, and what they face."""

    layer: float
    along: float  # x of its middle: of parts in a layer the farther one is drawn first
    faces: list[tuple[int, int, Color, str]] = field(default_factory=list)


@dataclass
class Solids:
    """A vehicle as polygons; built once, projected for each picture."""

    corners: list[tuple[float, float, float]] = field(default_factory=list)
    parts: list[_Part] = field(default_factory=list)

    def part(self, layer: float, along: float = 0.0) -> None:
        """Begins a part, which the following faces belong to."""
        self.parts.append(_Part(layer, along))

    def face(self, points: Sequence[tuple[float, float, float]], color: Color, facing: str) -> None:
        start = len(self.corners)
        self.corners += points
        self.parts[-1].faces.append((start, len(self.corners), color, facing))

    def block(self, block: Block, color: Color) -> None:
        """The outside of a block; what lies below cannot be seen."""
        outline = block.outline
        for (x0, z0), (x1, z1) in zip(outline, outline[1:]):
            w0, w1 = block.half_width(z0), block.half_width(z1)
            points = [(x0, w0, z0), (x1, w1, z1), (x1, -w1, z1), (x0, -w0, z0)]
            self.face(points, color, "top" if abs(x1 - x0) > 1.5 * abs(z1 - z0) else "end")
        self.on_sides(block, list(outline), color)

    def on_sides(self, block: Block, shape: Polygon, color: Color, facing: str = "side") -> None:
        """A shape in x and z on both sides."""
        points = [(x, -block.half_width(z), z) for x, z in shape]
        self.face(points, color, facing)
        self.face([(x, -y, z) for x, y, z in points[::-1]], color, facing)

    def on_end(self, block: Block, shape: Polygon, color: Color, facing: str = "end", *, front: bool = True) -> None:
        """A shape in y and z on the front or the rear, as who looks at it sees it."""
        side = 1 if front else -1
        self.face([(block.end(z, front), side * y, z) for y, z in shape], color, facing)

    def on_edge(self, block: Block, edge: int, shape: Polygon, color: Color, facing: str = "end") -> None:
        """A shape on the strip between two corners of the outline: -1..1 across, 0..1 from the one to the other."""
        (x0, z0), (x1, z1) = block.outline[edge : edge + 2]
        points = [(x0 + (x1 - x0) * t, a, z0 + (z1 - z0) * t) for a, t in shape]
        self.face([(x, a * block.half_width(z), z) for x, a, z in points], color, facing)

    def roll(self, x: float, z: float, radius: float, sides: tuple[float, float], color: Color) -> None:
        """A cylinder across the vehicle, as a tire; seen from wherever."""
        circle = disc(x, z, radius)
        self.face([(a, y, b) for y in sides for a, b in circle], color, _HULL)

    def shadow(self, length: float, width: float) -> None:
        self.face([(length * x, width * y, 0.0) for x, y in disc(0, 0, 1.0)], DARK, _SHADOW)

    @functools.cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Corners of (3, N); of each corner the next one of its face; and the first corners of all faces."""
        starts = [start for part in self.parts for start, *_ in part.faces]
        following = np.arange(1, len(self.corners) + 1)
        following[np.array([*starts[1:], len(self.corners)]) - 1] = starts
        return np.array(self.corners, "float32").T, following, np.array(starts)

    def project(self, yaw: float, pitch: float, size: tuple[float, float, float]) -> np.ndarray:
        """Corners in the picture in metres, (N, 2): to the right and down.

        Args:
            yaw: where the vehicle heads, radians: 0 to the viewer, π / 2 to the right.
            pitch: how much the camera looks down, radians.
            size: factors of length, width and height.
        """
        x, y, z = self._arrays[0] * np.array(size, "float32")[:, np.newaxis]
        across, toward = x * math.sin(yaw) + y * math.cos(yaw), x * math.cos(yaw) - y * math.sin(yaw)
        down = toward * math.sin(pitch) - z * math.cos(pitch)
        nearness = 1 / (1 - (toward * math.cos(pitch) + z * math.sin(pitch)) / DISTANCE)
        return np.stack([across * nearness, down * nearness], axis=1)

    def draw(
        self, canvas: np.ndarray, points: np.ndarray, yaw: float, *, light: float, lamps: float, shadow: Color
    ) -> None:
        """Draws projected corners, which are in pixels now: (N, 2).

        Args:
            canvas: (H, W, 3) uint8, drawn on in place.
            points: the corners.
            yaw: as they were projected.
            light: factor of all but lamps.
            lamps: factor of those.
            shadow: colour of the road where the vehicle keeps the light away.
        """
        _, following, starts = self._arrays
        x, y = points.T
        areas = np.add.reduceat(x * y[following] - x[following] * y, starts)
        visible = iter((areas < 0).tolist())
        shown = [(part, [face for face in part.faces if next(visible) or face[3] == _HULL]) for part in self.parts]
        pixels = np.round(points * (1 << _SHIFT)).astype("int32")
        lights = {facing: light * factor for facing, factor in _LIGHTS.items()} | {"lamp": lamps}
        for _, faces in sorted(shown, key=lambda item: (item[0].layer, item[0].along * math.cos(yaw))):
            for start, stop, color, facing in faces:
                corners, factor = pixels[start:stop], lights[facing]
                if facing == _HULL:
                    corners = cv2.convexHull(corners)
                if facing == _SHADOW:
                    color, factor = shadow, 1.0
                red, green, blue = color
                shade = (min(255.0, red * factor), min(255.0, green * factor), min(255.0, blue * factor))
                cv2.fillConvexPoly(canvas, corners, shade, cv2.LINE_AA, _SHIFT)
