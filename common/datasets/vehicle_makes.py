"""Makes that do not exist, and the small things that tell them apart: badge, grille, lamps and rims.

Each thing is shared by two makes, and no two makes share more than one of them. Shapes lie within -1..1, y up; those
of lamps have the vehicle's outside at 1.
"""

from dataclasses import dataclass

from common.datasets.drawn import Color
from common.datasets.vehicle_solids import CHROME, DARK, TIRE, Polygon, disc, rectangle

BADGES: dict[str, list[Polygon]] = {
    "circle": [disc(0, 0, 0.9)],
    "square": [rectangle(-0.75, -0.75, 0.75, 0.75)],
    "diamond": [[(0, -1), (1, 0), (0, 1), (-1, 0)]],
    "triangle": [[(0, -1), (1, 0.8), (-1, 0.8)]],
    "bar": [rectangle(-1.5, -0.4, 1.5, 0.4)],
    "cross": [rectangle(-1, -0.3, 1, 0.3), rectangle(-0.3, -1, 0.3, 1)],
}
BADGE_COLORS: dict[str, Color] = {
    "red": (214, 30, 36), "blue": (34, 86, 214), "gold": (236, 184, 40), "green": (24, 158, 74),
    "white": (244, 244, 240), "violet": (158, 56, 190),
}  # fmt: skip
_OPENING = (rectangle(-1, -1, 1, 1), DARK)
GRILLES: dict[str, list[tuple[Polygon, Color]]] = {
    "bars": [_OPENING, *((rectangle(-1, y - 0.15, 1, y + 0.15), CHROME) for y in (-0.66, 0, 0.66))],
    "slats": [_OPENING, *((rectangle(0.32 * i - 0.87, -1, 0.32 * i - 0.73, 1), CHROME) for i in range(6))],
    "kidneys": [
        *(([(x + 0.4 * a, b) for a, b in disc(0, 0, 1)], CHROME) for x in (-0.5, 0.5)),
        *(([(x + 0.27 * a, 0.72 * b) for a, b in disc(0, 0, 1)], DARK) for x in (-0.5, 0.5)),
    ],
    "frame": [(rectangle(-1, -1.1, 1, 1.1), CHROME), (rectangle(-0.84, -0.7, 0.84, 0.7), DARK)],
    "wing": [
        _OPENING,
        ([(-1, 1), (-1, 0.4), (0, -1), (0, -0.4)], CHROME),
        ([(1, 1), (0, -0.4), (0, -1), (1, 0.4)], CHROME),
    ],
    "slot": [(rectangle(-0.8, -0.4, 0.8, 0.1), DARK)],
}  # fmt: skip
HEADLIGHTS: dict[str, list[Polygon]] = {
    "round": [disc(0, 0, 1)],
    "slim": [rectangle(-1.1, -0.1, 1.1, 0.55)],
    "square": [rectangle(-0.9, -0.95, 0.9, 0.95)],
    "slanted": [[(-1.2, -0.9), (1.1, 0.2), (1.1, 1.1), (-1.2, -0.2)]],
    "twin": [disc(-0.6, 0, 0.58), disc(0.6, 0, 0.58)],
    "stacked": [rectangle(-0.9, 0.25, 0.9, 0.95), rectangle(-0.9, -0.95, 0.9, -0.25)],
}
TAILLIGHTS: dict[str, list[Polygon]] = {
    "upright": [rectangle(0.1, -1.4, 0.9, 1.4)],
    "band": [rectangle(-2.2, -0.1, 1, 0.5)],
    "round": [disc(0, 0, 1)],
    "square": [rectangle(-1, -0.8, 1, 0.8)],
    "wedge": [[(-1.4, 0.7), (1, -0.9), (1, 1)]],
    "double": [disc(-0.8, 0, 0.55), disc(0.5, 0, 0.55)],
}


def _spokes(count: int, width: float) -> list[tuple[Polygon, Color]]:
    """Bright spokes on a dark wheel."""
    spoke = rectangle(0, -width, 1, width)
    return [([(a * x - b * y, a * y + b * x) for a, b in spoke], CHROME) for x, y in disc(0, 0, 1, count)]


RIMS: dict[str, list[tuple[Polygon, Color]]] = {
    "three spokes": _spokes(3, 0.26),
    "five spokes": _spokes(5, 0.17),
    "nine spokes": _spokes(9, 0.08),
    "plate": [(disc(0, 0, 1), CHROME)],
    "ring": [(disc(0, 0, 1), CHROME), (disc(0, 0, 0.72), TIRE)],
    "holes": [(disc(0, 0, 1), CHROME), *((disc(0.62 * x, 0.62 * y, 0.24, 8), TIRE) for x, y in disc(0, 0, 1, 5))],
}


@dataclass(frozen=True)
class Make:
    """What the vehicles of a make have in common."""

    badge: str
    badge_color: str
    grille: str
    headlight: str
    taillight: str
    rim: str


MAKES = {
    "Kestrel": Make("circle", "red", "bars", "round", "upright", "three spokes"),
    "Orvane": Make("square", "blue", "slats", "slim", "band", "five spokes"),
    "Haldor": Make("diamond", "gold", "kidneys", "square", "round", "nine spokes"),
    "Tamaro": Make("triangle", "green", "frame", "slanted", "square", "plate"),
    "Veltra": Make("bar", "white", "wing", "twin", "wedge", "ring"),
    "Sorrel": Make("cross", "violet", "slot", "stacked", "double", "holes"),
    "Quinta": Make("circle", "blue", "kidneys", "slanted", "wedge", "holes"),
    "Nordal": Make("square", "gold", "frame", "twin", "double", "three spokes"),
    "Pallas": Make("diamond", "green", "wing", "stacked", "upright", "five spokes"),
    "Zefiro": Make("triangle", "white", "slot", "round", "band", "nine spokes"),
    "Lumen": Make("bar", "violet", "bars", "slim", "round", "plate"),
    "Arcado": Make("cross", "red", "slats", "square", "square", "ring"),
}
