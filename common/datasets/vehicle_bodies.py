"""The types of drawn vehicles: outlines, windows, wheels, and where the parts of a make are.

Lengths are metres and places as in `vehicle_solids`.
"""

from dataclasses import dataclass

from common.datasets.vehicle_solids import Block, Point, Polygon, rectangle

Lamp = tuple[float, float, float, float]  # y and z of the left one's middle, half its width and height


@dataclass(frozen=True)
class Piece:
    """A block of a vehicle."""

    block: Block
    layer: int  # 1 on the wheels, 2 above that
    kind: str = "body"  # body, cargo, dark or clothes, which its colour depends on

    @property
    def along(self) -> float:
        """x of its middle."""
        return sum(x for x, _ in self.block.outline) / len(self.block.outline)


@dataclass(frozen=True)
class Form:
    """What the vehicles of a type have in common."""

    share: float  # of all vehicles
    pieces: tuple[Piece, ...]
    face: int  # the piece with the front's lamps
    tail: int  # the piece with the rear's
    wheels: tuple[float, ...]  # x of the axles
    radius: float  # of the wheels
    tread: tuple[float, float]  # y of the wheels' outer and inner side
    grille: tuple[float, float, float]  # z of its middle, half its width and height
    headlight: Lamp
    taillight: Lamp
    badges: tuple[float, float, float]  # z at the front and the rear, and half their size
    windows: tuple[tuple[int, Polygon], ...] = ()  # on the sides of a piece: glass, or a dark line
    panes: tuple[tuple[int, int, Polygon], ...] = ()  # the same on an edge of a piece's outline
    door: Point = (0.0, 0.6)  # where a sticker is
    cladding: float = 0.1  # height of dark plastic at the foot of front and rear
    rack: tuple[float, float, float] | None = None  # x of its ends, and z


def _pane(bottom: float = 0.12, top: float = 0.9, inset: float = 0.88) -> Polygon:
    return rectangle(-inset, bottom, inset, top)


def _row(xs: tuple[float, ...], width: float, bottom: float, top: float) -> list[Polygon]:
    return [rectangle(x, bottom, x + width, top) for x in xs]


SEDAN = Form(
    share=0.25,
    pieces=(
        Piece(Block(((2.25, 0.24), (2.32, 0.55), (2.22, 0.74), (0.95, 0.92), (-1.7, 0.99), (-2.22, 0.94),
                     (-2.3, 0.55), (-2.25, 0.26)), 0.9, 0.84), 1),
        Piece(Block(((0.95, 0.9), (0.2, 1.34), (-0.6, 1.36), (-1.25, 0.97)), 0.83, 0.62), 2),
    ),
    face=0, tail=0, wheels=(1.42, -1.36), radius=0.33, tread=(0.9, 0.68),
    grille=(0.5, 0.4, 0.15), headlight=(0.64, 0.65, 0.17, 0.1), taillight=(0.64, 0.76, 0.17, 0.1),
    badges=(0.52, 0.74, 0.13),
    windows=((1, [(0.7, 0.97), (0.14, 1.29), (-0.18, 1.3), (-0.18, 0.98)]),
             (1, [(-0.26, 0.98), (-0.26, 1.3), (-0.56, 1.3), (-1.0, 1.0)])),
    panes=((1, 0, _pane()), (1, 2, _pane(0.1, 0.85))),
    door=(-0.2, 0.66), rack=(0.1, -0.5, 1.36),
)  # fmt: skip
HATCHBACK = Form(
    share=0.14,
    pieces=(
        Piece(Block(((1.86, 0.24), (1.94, 0.55), (1.84, 0.78), (1.4, 0.9), (-1.78, 1.02), (-1.9, 0.7),
                     (-1.86, 0.26)), 0.86, 0.82), 1),
        Piece(Block(((1.55, 0.86), (0.66, 1.54), (-1.3, 1.58), (-1.76, 1.0)), 0.81, 0.6), 2),
    ),
    face=0, tail=0, wheels=(1.2, -1.2), radius=0.32, tread=(0.86, 0.66),
    grille=(0.5, 0.38, 0.15), headlight=(0.61, 0.67, 0.17, 0.11), taillight=(0.62, 0.84, 0.16, 0.1),
    badges=(0.52, 0.78, 0.13),
    windows=((1, [(1.24, 0.98), (0.6, 1.46), (-0.3, 1.48), (-0.3, 1.02)]),
             (1, [(-0.38, 1.02), (-0.38, 1.48), (-1.06, 1.5), (-1.44, 1.06)])),
    panes=((1, 0, _pane()), (1, 2, _pane(0.12, 0.95))),
    door=(-0.2, 0.66), rack=(0.4, -1.1, 1.57),
)  # fmt: skip
SUV = Form(
    share=0.16,
    pieces=(
        Piece(Block(((2.1, 0.42), (2.2, 0.74), (2.14, 1.04), (1.0, 1.2), (-2.12, 1.22), (-2.25, 0.84),
                     (-2.15, 0.44)), 0.95, 0.92), 1),
        Piece(Block(((1.1, 1.18), (0.66, 1.86), (-1.98, 1.9), (-2.12, 1.2)), 0.91, 0.8), 2),
        Piece(Block(((0.5, 1.88), (0.5, 1.95), (-1.9, 1.96), (-1.9, 1.89)), 0.78, 0.78), 3, "dark"),
    ),
    face=0, tail=0, wheels=(1.4, -1.38), radius=0.4, tread=(0.96, 0.72),
    grille=(0.84, 0.42, 0.17), headlight=(0.7, 0.98, 0.18, 0.11), taillight=(0.74, 1.06, 0.16, 0.11),
    badges=(0.86, 1.0, 0.14),
    windows=((1, [(0.9, 1.26), (0.56, 1.76), (-0.2, 1.77), (-0.2, 1.28)]),
             (1, [(-0.28, 1.28), (-0.28, 1.77), (-1.02, 1.77), (-1.02, 1.28)]),
             (1, [(-1.1, 1.28), (-1.1, 1.77), (-1.84, 1.78), (-1.94, 1.28)])),
    panes=((1, 0, _pane()), (1, 2, _pane(0.1, 0.85))),
    door=(-0.2, 0.9), cladding=0.3,
)  # fmt: skip
VAN = Form(
    share=0.13,
    pieces=(
        Piece(Block(((2.35, 0.3), (2.45, 0.65), (2.38, 0.95), (1.75, 1.2), (-2.42, 1.22), (-2.45, 0.32)),
                    0.97, 0.95), 1),
        Piece(Block(((1.85, 1.18), (1.2, 2.3), (-2.36, 2.4), (-2.42, 1.2)), 0.95, 0.84), 2),
    ),
    face=0, tail=0, wheels=(1.6, -1.5), radius=0.35, tread=(0.98, 0.74),
    grille=(0.62, 0.44, 0.18), headlight=(0.7, 0.88, 0.17, 0.13), taillight=(0.8, 0.95, 0.13, 0.14),
    badges=(0.64, 0.8, 0.15),
    windows=((1, [(1.6, 1.26), (1.12, 2.0), (0.5, 2.0), (0.5, 1.28)]),
             (1, rectangle(-2.3, 1.34, 0.3, 1.42)), (1, rectangle(0.32, 1.22, 0.38, 2.3)),
             (1, rectangle(-0.84, 1.22, -0.78, 2.3))),
    panes=((1, 0, _pane(0.1, 0.72)), (1, 2, rectangle(-0.8, 0.3, -0.1, 0.8)), (1, 2, rectangle(0.1, 0.3, 0.8, 0.8)),
           (1, 2, rectangle(-0.03, 0, 0.03, 1))),
    door=(-0.9, 0.9),
)  # fmt: skip
PICKUP = Form(
    share=0.11,
    pieces=(
        Piece(Block(((2.6, 0.42), (2.68, 0.75), (2.6, 1.02), (1.5, 1.14), (-2.64, 1.16), (-2.66, 0.46)),
                    0.95, 0.93), 1),
        Piece(Block(((1.5, 1.12), (0.95, 1.76), (-0.3, 1.78), (-0.5, 1.14)), 0.88, 0.68), 2),
        Piece(Block(((0.5, 1.78), (0.5, 1.93), (0.38, 1.93), (0.38, 1.78)), 0.56, 0.56), 3, "dark"),
        Piece(Block(((-0.62, 1.14), (-0.66, 1.86), (-0.78, 1.86), (-1.1, 1.14)), 0.84, 0.76), 1, "dark"),
    ),
    face=0, tail=0, wheels=(1.72, -1.62), radius=0.41, tread=(0.96, 0.72),
    grille=(0.74, 0.44, 0.19), headlight=(0.7, 0.9, 0.17, 0.12), taillight=(0.78, 0.94, 0.13, 0.13),
    badges=(0.76, 0.84, 0.14),
    windows=((1, [(1.28, 1.2), (0.86, 1.68), (0.4, 1.68), (0.4, 1.22)]),
             (1, [(0.32, 1.22), (0.32, 1.68), (-0.24, 1.69), (-0.36, 1.22)])),
    panes=((1, 0, _pane()), (1, 2, _pane(0.15, 0.8)), (0, 3, [(-0.86, 0.5), (0.86, 0.5), (0.86, 0.98), (-0.86, 0.98)])),
    door=(0.3, 0.86),
)  # fmt: skip
BUS = Form(
    share=0.08,
    pieces=(
        Piece(Block(((3.7, 0.36), (3.82, 1.1), (3.66, 2.85), (-3.7, 2.9), (-3.75, 0.4)), 1.12, 1.06), 1),
        Piece(Block(((2.2, 2.84), (2.1, 3.1), (0.2, 3.1), (0.1, 2.84)), 0.7, 0.65), 2),
    ),
    face=0, tail=0, wheels=(2.3, -2.2), radius=0.46, tread=(1.13, 0.8),
    grille=(0.72, 0.5, 0.2), headlight=(0.8, 0.84, 0.24, 0.17), taillight=(0.84, 1.0, 0.2, 0.2),
    badges=(1.08, 1.1, 0.22),
    windows=tuple((0, shape) for shape in (*_row((-3.5, -2.5, -1.5, -0.5, 0.5, 1.5), 0.88, 1.5, 2.4),
                                           rectangle(2.66, 0.55, 3.36, 2.4))),
    panes=((0, 1, _pane(0.14, 0.8, 0.92)), (0, 3, rectangle(-0.8, 0.18, 0.8, 0.5))),
    door=(0.0, 1.05),
)  # fmt: skip
TRUCK = Form(
    share=0.09,
    pieces=(
        Piece(Block(((3.1, 0.5), (3.1, 0.95), (-3.4, 0.95), (-3.4, 0.5)), 0.85, 0.85), 1, "dark"),
        Piece(Block(((3.2, 0.45), (3.28, 1.1), (3.05, 2.25), (1.75, 2.3), (1.7, 0.5)), 1.05, 0.95), 2),
        Piece(Block(((1.5, 0.95), (1.5, 2.95), (-3.45, 2.95), (-3.45, 0.95)), 1.12, 1.12), 2, "cargo"),
    ),
    face=1, tail=0, wheels=(2.4, -1.5, -2.5), radius=0.46, tread=(1.08, 0.72),
    grille=(0.92, 0.5, 0.24), headlight=(0.76, 0.74, 0.22, 0.16), taillight=(0.6, 0.72, 0.22, 0.16),
    badges=(0.94, 1.2, 0.22),
    windows=((1, [(2.9, 1.4), (2.86, 2.08), (2.1, 2.1), (2.1, 1.42)]),
             *((2, rectangle(x, 0.98, x + 0.07, 2.92)) for x in (-2.8, -2.1, -1.4, -0.7, 0.0, 0.7))),
    panes=((1, 1, _pane(0.3, 0.9)), *((2, 2, rectangle(a - 0.03, 0, a + 0.03, 1)) for a in (-0.45, 0.0, 0.45))),
    door=(-1.0, 1.9),
)  # fmt: skip
MOTORCYCLE = Form(
    share=0.04,
    pieces=(
        Piece(Block(((0.42, 0.3), (0.42, 0.74), (-0.36, 0.74), (-0.36, 0.3)), 0.13, 0.13), 1, "dark"),
        Piece(Block(((0.78, 0.3), (0.5, 1.06), (0.38, 1.06), (0.66, 0.3)), 0.08, 0.08), 1, "dark"),
        Piece(Block(((-0.2, 0.7), (-0.25, 0.86), (-1.0, 1.0), (-1.02, 0.84)), 0.16, 0.14), 2),
        Piece(Block(((0.42, 0.74), (0.36, 1.04), (-0.1, 1.02), (-0.24, 0.76)), 0.18, 0.15), 2),
        Piece(Block(((0.7, 0.72), (0.66, 1.04), (0.44, 1.26), (0.4, 0.76)), 0.24, 0.2), 2),
        Piece(Block(((0.42, 1.08), (0.42, 1.13), (0.36, 1.13), (0.36, 1.08)), 0.4, 0.4), 3, "dark"),
        Piece(Block(((0.0, 0.9), (0.12, 1.46), (-0.22, 1.5), (-0.46, 0.92)), 0.22, 0.2), 3, "clothes"),
    ),
    face=4, tail=2, wheels=(0.76, -0.76), radius=0.33, tread=(0.07, -0.07),
    grille=(0.8, 0.18, 0.08), headlight=(0.13, 0.99, 0.12, 0.1), taillight=(0.1, 0.93, 0.1, 0.08),
    badges=(0.84, 0.84, 0.09), door=(-0.6, 0.88),
)  # fmt: skip

TYPES = {
    "sedan": SEDAN, "hatchback": HATCHBACK, "SUV": SUV, "van": VAN, "pickup": PICKUP, "truck": TRUCK, "bus": BUS,
    "motorcycle": MOTORCYCLE,
}  # fmt: skip
