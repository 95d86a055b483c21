"""Synthetic pedestrians, painted with OpenCV: a person's looks, and the body in a view.

Lengths of a body are in units of its height: x to the right of its middle, y down from the top of the head.
Colors are RGB.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

WIDTH, HEIGHT = 64, 128  # of Market-1501's boxes
ZOOM = 2  # painted larger and reduced, for soft edges
_SHIFT = 4  # bits behind the point of OpenCV's fixed-point coordinates
_UNIT = 1 << _SHIFT
_CIRCLE = [(math.cos(i * math.pi / 8), math.sin(i * math.pi / 8)) for i in range(16)]
_HALF = _CIRCLE[:9:2]

UPPER_COLORS = {
    "black": (28, 28, 32), "white": (222, 222, 218), "red": (168, 38, 42), "purple": (104, 58, 124),
    "yellow": (200, 170, 66), "gray": (124, 124, 128), "blue": (48, 74, 140), "green": (54, 108, 64),
}  # fmt: skip
LOWER_COLORS = {
    "black": (30, 30, 34), "white": (214, 212, 206), "pink": (206, 132, 152), "purple": (98, 60, 112),
    "yellow": (190, 164, 84), "gray": (112, 112, 116), "blue": (46, 62, 108), "green": (66, 92, 58),
    "brown": (112, 80, 56),
}  # fmt: skip
# How often the colors are worn: few of them by most people, as in the street.
_UPPER_SHARES = (0.20, 0.24, 0.12, 0.04, 0.08, 0.12, 0.12, 0.08)
_LOWER_SHARES = (0.36, 0.08, 0.03, 0.02, 0.02, 0.16, 0.22, 0.03, 0.08)
_HAIR = ((24, 20, 20), (46, 32, 24), (92, 62, 38), (150, 118, 70))
_GRAY_HAIR = (168, 166, 164)
_SKIN = ((236, 200, 176), (216, 172, 140), (180, 130, 98), (112, 76, 56))
_SMALL = ((30, 30, 34), (120, 70, 50), (160, 40, 44), (46, 66, 120), (196, 190, 176), (70, 96, 66), (210, 150, 60))

Color = tuple[float, float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Person:
    """What stays the same from picture to picture; attributes as Market-1501 names them."""

    female: bool
    age: int  # 1 young, 2 teenager, 3 adult, 4 old
    upper: str
    lower: str
    upper_color: Color
    lower_color: Color
    second_color: Color  # of stripes, logo or the shirt below a jacket
    pattern: str  # plain, stripes, logo, jacket
    short_sleeves: bool
    garment: str  # trousers, shorts, skirt, long skirt
    long_hair: bool
    hair_color: Color
    hat_color: Color | None
    backpack_color: Color | None
    bag_color: Color | None
    handbag_color: Color | None
    bag_side: int  # 1 on the person's left, -1 on the right
    shoes_color: Color
    skin_color: Color
    breadth: float
    hips: float  # y of the hips
    stature: float

    def attributes(self) -> dict[str, int]:
        """Market-1501's 27 attributes with its values, which start at 1."""
        yes_or_no = {
            "backpack": self.backpack_color, "bag": self.bag_color, "handbag": self.handbag_color,
            "hat": self.hat_color, "hair": self.long_hair or None, "gender": self.female or None,
            "up": self.short_sleeves or None,
            "down": True if self.garment in ("shorts", "skirt") else None,
            "clothes": None if "skirt" in self.garment else True,
        }  # fmt: skip
        values = {name: 1 if value is None else 2 for name, value in yes_or_no.items()}
        values |= {f"up{name}": 1 + (name == self.upper) for name in UPPER_COLORS}
        values |= {f"down{name}": 1 + (name == self.lower) for name in LOWER_COLORS}
        return {"age": self.age, **values}


def random_person(rng: np.random.Generator) -> Person:
    """A person whose looks are combinations of few colors, garments and belongings."""

    def shade(color: Color, spread: float = 7) -> Color:
        return tuple(np.clip(np.add(color, rng.normal(0, spread, 3)), 8, 240).tolist())

    def belonging(share: float) -> Color | None:
        color = shade(_SMALL[rng.integers(len(_SMALL))])
        return color if rng.random() < share else None

    female = rng.random() < 0.45
    age = int(rng.choice([1, 2, 3, 4], p=[0.04, 0.5, 0.36, 0.1]))
    upper = str(rng.choice(list(UPPER_COLORS), p=_UPPER_SHARES))
    lower = str(rng.choice(list(LOWER_COLORS), p=_LOWER_SHARES))
    others = [color for name, color in UPPER_COLORS.items() if name != upper]
    garments = ["trousers", "shorts", "skirt", "long skirt"]
    return Person(
        female=female,
        age=age,
        upper=upper,
        lower=lower,
        upper_color=shade(UPPER_COLORS[upper]),
        lower_color=shade(LOWER_COLORS[lower]),
        second_color=shade(others[rng.integers(len(others))]),
        pattern=str(rng.choice(["plain", "stripes", "logo", "jacket"], p=[0.45, 0.15, 0.2, 0.2])),
        short_sleeves=rng.random() < 0.6,
        garment=str(rng.choice(garments, p=[0.45, 0.2, 0.25, 0.1] if female else [0.65, 0.35, 0, 0])),
        long_hair=rng.random() < (0.75 if female else 0.08),
        hair_color=shade(_GRAY_HAIR if age == 4 else _HAIR[rng.choice(4, p=[0.5, 0.25, 0.15, 0.1])], 5),
        hat_color=belonging(0.12),
        backpack_color=belonging(0.28),
        bag_color=belonging(0.22),
        handbag_color=belonging(0.25 if female else 0.08),
        bag_side=int(rng.choice([-1, 1])),
        shoes_color=shade(_SMALL[rng.integers(5)]),
        skin_color=shade(_SKIN[rng.choice(4, p=[0.4, 0.35, 0.15, 0.1])], 5),
        breadth=rng.normal(0.94 if female else 1.04, 0.09),
        hips=rng.normal(0.5, 0.012),
        stature=(0.84, 0.97, 1.0, 0.97)[age - 1] * rng.normal(0.97 if female else 1.0, 0.025),
    )


def _times(factor: float, color: Color) -> Color:
    return factor * color[0], factor * color[1], factor * color[2]


@dataclass
class Body:
    """A person in a pose on a canvas: maps body units to pixels and draws the parts from far to near."""

    canvas: np.ndarray  # (H, W, 3) uint8, painted on in place
    person: Person
    view: str  # front, back, left or right (where the person heads in the picture)
    stride: float  # -1..1, legs and arms
    x: float  # pixels: middle
    top: float  # pixels: head
    size: float  # pixels: height
    flattening: float = 0.0  # a camera high above sees legs shorter

    @property
    def side(self) -> int:
        """1 or -1: heading right or left in the picture; 0 in a front or back view."""
        return {"left": -1, "right": 1}.get(self.view, 0)

    def polygon(self, points: list[Point], color: Color) -> None:
        """Fills a polygon of points in body units."""
        # Plain numbers: for a few points at a time arrays would take most of the time of drawing.
        across, down, bent = _UNIT * self.size * self.person.breadth, _UNIT * self.size, self.flattening
        left, top = _UNIT * self.x, _UNIT * self.top
        pixels = [(int(left + across * x), int(top + down * y * (1 + bent * (1 - y)))) for x, y in points]
        cv2.fillPoly(self.canvas, [np.array(pixels, "int32")], color, cv2.LINE_AA, _SHIFT)

    def ellipse(self, center: Point, radii: Point, color: Color, *, upper_half: bool = False) -> None:
        """Fills an ellipse; center and radii in body units."""
        (x, y), (rx, ry) = center, radii
        self.polygon([(x + rx * c, y - ry * s) for c, s in _CIRCLE[: 9 if upper_half else 16]], color)

    def limb(self, a: Point, b: Point, radius_a: float, radius_b: float, color: Color) -> None:
        """A tapered stroke with round ends."""
        length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
        x, y = (b[0] - a[0]) / length, (b[1] - a[1]) / length
        # The upper half of _CIRCLE, turned to look along the stroke, is the round end at b; the other one is at a.
        corners = [(b[0] + radius_b * (s * x - c * y), b[1] + radius_b * (s * y + c * x)) for c, s in _HALF]
        corners += [(a[0] - radius_a * (s * x - c * y), a[1] - radius_a * (s * y + c * x)) for c, s in _HALF]
        self.polygon(corners, color)

    def draw(self) -> None:
        """Paints the whole person onto the canvas."""
        near = self.person.bag_side if self.side == 0 else -self.side  # facing left shows the left side
        if self.side and self.person.backpack_color:
            self.ellipse((-0.1 * self.side, 0.29), (0.055, 0.115), self.person.backpack_color)
        if self.side:
            self._arm(-1)
        for leg in (-1, 1):
            self._leg(leg)
        self._skirt()
        self._torso()
        if self.view == "back":
            self._head()
        self._bags(near)
        for arm in (1,) if self.side else (-1, 1):
            self._arm(arm)
        if self.view != "back":
            self._head()

    def _leg(self, which: int) -> None:
        """The far leg is -1 and the near one 1 in a side view; left and right in the picture otherwise."""
        person, hips, swing = self.person, self.person.hips, which * self.stride
        if self.side:
            hip, foot = (0.0, hips), (0.13 * swing, 0.965 - 0.02 * abs(swing))
            knee = (foot[0] * 0.45 + 0.02 * self.side, (hips + 0.96) / 2)
        else:
            hip, foot = (0.042 * which, hips), (0.048 * which, 0.965 - 0.035 * max(0.0, swing))
            knee = (0.046 * which, (hips + foot[1]) / 2)
        self.ellipse((foot[0] + 0.022 * self.side, foot[1] + 0.012), (0.036 if self.side else 0.025, 0.018),
                     person.shoes_color)  # fmt: skip
        shade = 0.82 if self.side and which < 0 else 1.0
        skin, cloth = (_times(shade, c) for c in (person.skin_color, person.lower_color))
        long = person.garment == "trousers"
        self.limb(knee, foot, 0.034 if long else 0.026, 0.028 if long else 0.02, cloth if long else skin)
        if person.garment in ("trousers", "shorts"):
            self.limb(hip, knee, 0.054, 0.038 if long else 0.047, cloth)
        else:
            self.limb(hip, knee, 0.045, 0.03, skin)

    def _skirt(self) -> None:
        if "skirt" not in self.person.garment:
            return
        end = 0.72 if self.person.garment == "skirt" else 0.9
        waist, hem, hips = 0.075, 0.105 + 0.03 * abs(self.stride), self.person.hips
        self.polygon([(-waist, hips - 0.04), (waist, hips - 0.04), (hem, end), (-hem, end)], self.person.lower_color)

    def _outline(self, y: float) -> float:
        """Half the torso's width at height y."""
        shoulder, hip = (0.07, 0.07) if self.side else ((0.1, 0.083) if self.person.female else (0.115, 0.08))
        t = (y - 0.165) / (self.person.hips + 0.015 - 0.165)
        return shoulder + (hip - shoulder) * t - 0.035 * t * (1 - t) * self.person.female

    def _band(self, start: float, end: float, color: Color, left: float = -1, right: float = 1) -> None:
        """The part of the torso between two heights, and between two parts of its half width."""
        a, b = self._outline(start), self._outline(end)
        self.polygon([(a * left, start), (a * right, start), (b * right, end), (b * left, end)], color)

    def _torso(self) -> None:
        person, bottom = self.person, self.person.hips + 0.015
        self.limb((0, 0.12), (0, 0.17), 0.026, 0.03, person.skin_color)
        middle = (0.165 + bottom) / 2
        self._band(0.165, middle, person.upper_color)
        self._band(middle, bottom, person.upper_color)
        if person.pattern == "stripes":
            for i in range(5):
                self._band(0.2 + 0.06 * i, 0.226 + 0.06 * i, person.second_color)
        elif person.pattern == "logo" and self.view == "front":
            self._band(0.24, 0.33, person.second_color, -0.5, 0.5)
        elif person.pattern == "jacket" and self.view != "back":
            edges = {0: (-0.3, 0.3), 1: (0.45, 1), -1: (-1, -0.45)}[self.side]
            self._band(0.165, bottom, person.second_color, *edges)

    def _arm(self, which: int) -> None:
        person, swing = self.person, -which * self.stride
        if self.side:
            shoulder, hand = (0.0, 0.195), (0.15 * swing, 0.49 - 0.03 * abs(swing))
            elbow = (hand[0] * 0.5 - 0.03 * self.side, 0.35)
        else:
            shoulder, hand = (which * self._outline(0.165) * 0.95, 0.19), (which * 0.145, 0.5 - 0.05 * max(0.0, swing))
            elbow = (which * 0.14, 0.35)
        shade = 0.8 if self.side and which < 0 else 0.92
        sleeve, skin = (_times(shade, c) for c in (person.upper_color, person.skin_color))
        self.limb(elbow, hand, 0.024, 0.018, skin if person.short_sleeves else sleeve)
        self.limb(shoulder, elbow, 0.034, 0.026, sleeve)
        self.ellipse(hand, (0.02, 0.022), skin)
        holds = which == 1 if self.side else which == person.bag_side * (1 if self.view == "front" else -1)
        if person.handbag_color and holds and (not self.side or person.bag_side == -self.side):
            x, y = hand
            self.polygon([(x - 0.045, y + 0.03), (x + 0.045, y + 0.03), (x + 0.055, y + 0.13), (x - 0.055, y + 0.13)],
                         person.handbag_color)  # fmt: skip

    def _bags(self, near: int) -> None:
        person = self.person
        if person.backpack_color and self.view == "back":
            self._band(0.19, 0.43, person.backpack_color, -0.75, 0.75)
            self._band(0.32, 0.41, _times(0.75, person.backpack_color), -0.5, 0.5)
        elif person.backpack_color and self.view == "front":
            for x in (-0.062, 0.062):
                self.limb((x, 0.17), (x * 1.1, 0.38), 0.011, 0.011, person.backpack_color)
        if person.bag_color:
            where = person.bag_side * {"front": 1, "back": -1}.get(self.view, 0)
            self.limb((-where * 0.07, 0.17), (where * 0.09, 0.47), 0.009, 0.009, person.bag_color)
            if where or near == person.bag_side:
                x = where * 0.105
                self.polygon([(x - 0.05, 0.45), (x + 0.05, 0.45), (x + 0.05, 0.57), (x - 0.05, 0.57)],
                             person.bag_color)  # fmt: skip

    def _head(self) -> None:
        person, side = self.person, self.side
        rx, ry = (0.055 if side else 0.047), 0.066
        if person.long_hair and self.view == "back":
            self.polygon([(-0.05, 0.07), (0.05, 0.07), (0.058, 0.25), (-0.058, 0.25)], person.hair_color)
        elif person.long_hair and self.view == "front":
            for x in (-0.046, 0.046):
                self.limb((x, 0.06), (1.15 * x, 0.2), 0.022, 0.018, person.hair_color)
        elif person.long_hair:
            self.limb((-0.025 * side, 0.07), (-0.05 * side, 0.21), 0.038, 0.026, person.hair_color)
        self.ellipse((0, 0.072), (rx, ry), person.hair_color if self.view == "back" else person.skin_color)
        if self.view == "front":
            self.ellipse((0, 0.058), (rx * 1.08, ry * 0.95), person.hair_color, upper_half=True)
        elif side:
            self.ellipse((-0.014 * side, 0.058), (rx * 1.02, ry), person.hair_color, upper_half=True)
            self.ellipse((-0.03 * side, 0.075), (rx * 0.6, ry * 0.75), person.hair_color)
        if person.hat_color:
            self.ellipse((0, 0.05), (rx * 1.15, 0.058), person.hat_color, upper_half=True)
            if self.view != "back":
                self.limb((0, 0.048), (0.075 * side, 0.05), 0.02, 0.012, person.hat_color)
