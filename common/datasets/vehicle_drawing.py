"""Vehicles drawn with OpenCV: a vehicle's looks, and its solids with the parts that tell its type and its make.

Lengths are metres and places as in `vehicle_solids`; colours are RGB.
"""

import functools
from dataclasses import dataclass

import numpy as np

from common.datasets.drawn import Color
from common.datasets.vehicle_bodies import TYPES, Form
from common.datasets.vehicle_makes import (
    BADGE_COLORS,
    BADGES,
    GRILLES,
    HEADLIGHTS,
    MAKES,
    RIMS,
    TAILLIGHTS,
    Make,
)
from common.datasets.vehicle_solids import CHROME, DARK, GLASS, TIRE, Block, Polygon, Solids, disc, placed, rectangle

WIDTH, HEIGHT = 128, 96
ZOOM = 2  # drawn larger and reduced, for soft edges

COLORS: dict[str, Color] = {
    "white": (226, 226, 222), "black": (40, 40, 46), "silver": (184, 188, 192), "gray": (116, 118, 122),
    "blue": (44, 76, 150), "red": (168, 36, 40), "brown": (112, 80, 58), "green": (52, 106, 70),
    "yellow": (214, 178, 52), "orange": (212, 112, 40),
}  # fmt: skip
COLOR_SHARES = (0.24, 0.18, 0.15, 0.13, 0.09, 0.08, 0.04, 0.04, 0.03, 0.02)  # few of them for most, as in the street
_SECOND = ((226, 226, 222), (60, 60, 66), (180, 50, 46), (50, 90, 160), (220, 180, 60), (70, 120, 80), (150, 150, 154))
_WHITE_LIGHT, _RED_LIGHT, _SIGN = (250, 248, 226), (206, 26, 30), (236, 150, 30)
_HOUSING, _DIRT = (52, 54, 60), (124, 106, 84)


@dataclass(frozen=True)
class Vehicle:
    """What stays the same from picture to picture."""

    type: str
    make: str
    color: str
    paint: Color
    second: Color  # of cargo, stripes and clothes
    size: tuple[float, float, float]  # factors of length, width and height
    tint: float  # how bright the windows are
    sticker_rear: Color | None
    sticker_side: Color | None
    stripe: bool
    rack: bool
    dirt: float  # 0 clean to 1

    @functools.cached_property
    def solids(self) -> Solids:
        """The vehicle in space."""
        return _Builder(self, TYPES[self.type], MAKES[self.make]).build()


def random_vehicle(rng: np.random.Generator, kind: str, make: str, color: str) -> Vehicle:
    """A vehicle of a type, a make and a colour; its other looks are combinations of few things."""

    def shade(base: Color) -> Color:
        return tuple(np.clip(np.add(base, rng.normal(0, 4, 3)), 8, 240).tolist())

    def maybe(share: float) -> Color | None:
        found = shade(_SECOND[rng.integers(len(_SECOND))])
        return found if rng.random() < share else None

    return Vehicle(
        type=kind,
        make=make,
        color=color,
        paint=shade(COLORS[color]),
        second=shade(_SECOND[rng.integers(len(_SECOND))]),
        size=tuple(rng.normal(1, (0.035, 0.02, 0.03)).tolist()),
        tint=rng.uniform(0.5, 1.3),
        sticker_rear=maybe(0.3),
        sticker_side=maybe(0.25),
        stripe=rng.random() < 0.15,
        rack=rng.random() < 0.25,
        dirt=max(0.0, rng.normal(0.1, 0.35)),
    )


def _mixed(a: Color, b: Color, share: float) -> Color:
    return tuple(x + (y - x) * share for x, y in zip(a, b))


@dataclass
class _Builder:
    """Puts a vehicle together, part by part."""

    vehicle: Vehicle
    form: Form
    make: Make

    def build(self) -> Solids:
        self.solids = Solids()
        self.tires()
        for i, piece in enumerate(self.form.pieces):
            self.solids.part(piece.layer, piece.along)
            self.piece(i)
        self.solids.part(1.5)
        self.wheels()
        if self.vehicle.type == "motorcycle":
            self.rider()
        elif self.form.rack and self.vehicle.rack:
            self.rack()
        return self.solids

    def tires(self) -> None:
        blocks = [piece.block for piece in self.form.pieces]
        length = max(block.outline[0][0] for block in blocks)
        self.solids.part(-1)
        self.solids.shadow(length * 1.04, max(block.low for block in blocks) * 1.12)
        self.solids.part(0)
        for x in self.form.wheels:
            for side in (1, -1):
                sides = (side * self.form.tread[0], side * self.form.tread[1])
                self.solids.roll(x, self.form.radius, self.form.radius, sides, TIRE)

    def piece(self, i: int) -> None:
        piece, vehicle = self.form.pieces[i], self.vehicle
        colors = {"body": vehicle.paint, "cargo": vehicle.second, "dark": DARK, "clothes": vehicle.second}
        self.solids.block(piece.block, colors[piece.kind])
        glass = tuple(vehicle.tint * value for value in GLASS)
        for where, shape in self.form.windows:
            if where == i:
                self.solids.on_sides(piece.block, shape, glass)
        if piece.kind == "dark" and vehicle.type == "pickup" and piece.block.outline[0][0] > 0:
            for y in (-0.42, -0.14, 0.14, 0.42):
                self.solids.on_end(piece.block, disc(y, 1.86, 0.1), _WHITE_LIGHT, "lamp")
        if vehicle.type == "bus" and i == 0:
            self.solids.on_edge(piece.block, 1, rectangle(-0.7, 0.84, 0.7, 0.96), _SIGN, "lamp")
        for where, edge, shape in self.form.panes:
            if where == i:
                self.solids.on_edge(piece.block, edge, shape, glass)
        if i == 0 and vehicle.type != "motorcycle":
            self.lower(piece.block)
        if i == self.form.face:
            self.front(piece.block)
        if i == self.form.tail:
            self.rear(piece.block)
        if vehicle.sticker_side and i == (2 if vehicle.type in ("truck", "motorcycle") else 0):
            x, z = self.form.door
            size = 0.08 if vehicle.type == "motorcycle" else 0.17
            shape = rectangle(x - 1.6 * size, z - size, x + size, z + size)
            self.solids.on_sides(piece.block, shape, vehicle.sticker_side)

    def lower(self, block: Block) -> None:
        """Stripe, dirt, bumpers and wheel arches."""
        form, vehicle = self.form, self.vehicle
        front, rear = block.outline[0], block.outline[-1]
        bottom = max(front[1], rear[1])
        if vehicle.stripe or vehicle.type == "bus":
            half, z = (0.2, form.door[1]) if vehicle.type == "bus" else (0.07, form.door[1] + 0.06)
            stripe = rectangle(block.end(z, False), z - half, block.end(z, True), z + half)
            self.solids.on_sides(block, stripe, vehicle.second)
        base = _HOUSING if form.cladding > 0.2 else vehicle.paint
        dirty = _mixed(base, _DIRT, min(0.8, vehicle.dirt))
        self.solids.on_sides(block, rectangle(rear[0], bottom, front[0], bottom + 0.14), dirty)
        low = rectangle(-block.low, bottom, block.low, bottom + form.cladding)
        for is_front in (True, False):
            self.solids.on_end(block, low, _mixed(_HOUSING, _DIRT, min(0.8, vehicle.dirt)), front=is_front)
        arch = [(a, b) for a, b in disc(0, 0, 1.2 * form.radius, 16) if b > -1e-6]
        for x in form.wheels:
            self.solids.on_sides(block, [(x + a, form.radius + b) for a, b in arch], TIRE)

    def lamps(self, block: Block, shapes: list[Polygon], lamp: tuple[float, ...], color: Color, *, front: bool) -> None:
        y, z, width, height = lamp
        for shape in shapes:
            for side in (1, -1):
                housing = placed(shape, side * y, z, side * 1.25 * width, 1.3 * height)
                self.solids.on_end(block, housing, _HOUSING, front=front)
                self.solids.on_end(block, placed(shape, side * y, z, side * width, height), color, "lamp", front=front)
            # Lamps reach around the corner.
            x = block.end(z, front) + (-0.1 if front else 0.1)
            around = [(max(-1.0, min(1.0, a)), b) for a, b in shape]
            self.solids.on_sides(block, placed(around, x, z, -0.1 if front else 0.1, height), color, "lamp")

    def badge(self, block: Block, z: float, *, front: bool) -> None:
        size, color = self.form.badges[2], BADGE_COLORS[self.make.badge_color]
        self.solids.on_end(block, placed(disc(0, 0, 1), 0, z, 1.6 * size, 1.3 * size), _HOUSING, front=front)
        for shape in BADGES[self.make.badge]:
            self.solids.on_end(block, placed(shape, 0, z, size, size), color, front=front)

    def front(self, block: Block) -> None:
        z, width, height = self.form.grille
        for shape, color in GRILLES[self.make.grille]:
            self.solids.on_end(block, placed(shape, 0, z, width, height), color)
        self.lamps(block, HEADLIGHTS[self.make.headlight], self.form.headlight, _WHITE_LIGHT, front=True)
        self.badge(block, self.form.badges[0], front=True)

    def rear(self, block: Block) -> None:
        self.lamps(block, TAILLIGHTS[self.make.taillight], self.form.taillight, _RED_LIGHT, front=False)
        low = min(z for _, z in block.outline)
        if self.vehicle.type != "motorcycle":
            self.solids.on_end(block, rectangle(-0.26, low + 0.14, 0.26, low + 0.26), CHROME, front=False)
        if self.vehicle.sticker_rear:
            shape = placed(rectangle(-1, -0.6, 1, 0.6), -0.3, self.form.badges[1] - 0.02, self.form.badges[2], 0.1)
            self.solids.on_end(block, shape, self.vehicle.sticker_rear, front=False)
        if self.vehicle.type != "truck":
            self.badge(block, self.form.badges[1], front=False)

    def wheels(self) -> None:
        form = self.form
        plane = Block(((0, 0), (0, 1)), form.tread[0], form.tread[0])
        hub = BADGE_COLORS[self.make.badge_color]
        for x in form.wheels:
            self.solids.on_sides(plane, placed(disc(0, 0, 1, 16), x, form.radius, form.radius, form.radius), TIRE)
            for shape, color in RIMS[self.make.rim]:
                self.solids.on_sides(plane, placed(shape, x, form.radius, 0.7 * form.radius, 0.7 * form.radius), color)
            size = 0.24 * form.radius
            self.solids.on_sides(plane, placed(disc(0, 0, 1, 8), x, form.radius, size, size), hub)

    def rider(self) -> None:
        """Head, arms and legs; and the badge on the tank."""
        cloth, skin = _mixed(self.vehicle.second, DARK, 0.4), (60, 60, 66)
        plane = Block(((0, 0), (0, 1)), 0.23, 0.23)
        self.solids.part(4)
        for radius, width in ((0.15, 0.07), (0.11, 0.13)):
            self.solids.roll(0.04, 1.62, radius, (width, -width), self.vehicle.paint)
        self.solids.on_sides(plane, [(0.4, 1.04), (0.42, 1.14), (0.04, 1.44), (-0.06, 1.3)], cloth)
        self.solids.on_sides(plane, [(-0.3, 0.86), (0.2, 0.74), (0.22, 0.9), (-0.3, 1.02)], cloth)
        self.solids.on_sides(plane, [(0.06, 0.36), (0.22, 0.84), (0.08, 0.84), (-0.08, 0.36)], skin)
        tank = Block(((0, 0), (0, 1)), 0.19, 0.19)
        for shape in BADGES[self.make.badge]:
            self.solids.on_sides(tank, placed(shape, 0.2, 0.9, 0.1, 0.1), BADGE_COLORS[self.make.badge_color])

    def rack(self) -> None:
        front, rear, z = self.form.rack
        self.solids.part(3)
        for share in (0.15, 0.85):
            x = front + (rear - front) * share
            bar = Block(((x + 0.05, z), (x + 0.05, z + 0.09), (x - 0.05, z + 0.09), (x - 0.05, z)), 0.58, 0.58)
            self.solids.block(bar, DARK)


def fitted(points: np.ndarray, center: float, bottom: float, width: float, height: float) -> np.ndarray:
    """Projected corners in pixels: as large as a box allows, in its middle, standing on its bottom."""
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    scale = min(width / extent[0], height / extent[1])
    return (points - [(low[0] + high[0]) / 2, high[1]]) * scale + [center, bottom]
