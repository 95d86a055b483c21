"""Service, encryption and attacks as a picture (sections 2.4.2 and 2.4.3), from what service and attacks do.

python -m PROJECT.architecture
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from common.report.diagram import Box, canvas, draw
from common.report.plots import save

from .cipher.keys import Key

_PARTS = {"sign": (31, 32, "#fbdcc4"), "exponent": (23, 31, "#cfe5f3"), "mantissa": (0, 23, "#e8e8e8")}  # bits
BOXES = {
    "client": Box(0.95, 0.65, "client: sends an image", "service/client.py", "data", width=1.65),
    "victim": Box(3.15, 0.65, "server: re-identification\nnetwork", "service/server.py", "trained", 1.75, 0.7),
    "cipher": Box(
        5.45,
        0.65,
        "encryption, in the network:\nShuffleBits or ChaCha20",
        "service/encrypted_model.py",
        "new",
        1.95,
        0.7,
    ),
    "open": Box(5.45, 1.6, "client with the key: features", "service/client.py", "computed", width=1.95),
    "gallery": Box(7.25, 0.65, "features at rest,\nstolen", "", "data", width=1.1),
    "own": Box(0.95, 4.35, "adversary: images of its own", "attacks/collect.py", "data", 1.75),
    "pairs": Box(3.0, 4.35, "their features,\nby asking the API", "", "data", width=1.35),
    "attributes": Box(5.15, 4.0, "classifier: attributes", "attacks/attributes.py", "trained", width=1.85, height=0.45),
    "images": Box(
        5.15,
        4.7,
        "generator: images (pixels,\nfeatures, adversarial loss)",
        "attacks/adversarial.py",
        "trained",
        1.85,
        0.68,
    ),
    "stolen": Box(
        7.2, 4.35, "on stolen features:\nwhat people have on\nand look like", "", "new", width=1.35, height=0.7
    ),
}
ARROWS = [
    ("client", "victim"), ("victim", "cipher"), ("cipher", "gallery"), ("cipher", "open"), ("own", "pairs"),
    ("pairs", "attributes"), ("pairs", "images"), ("attributes", "stolen"), ("images", "stolen"),
]  # fmt: skip


def draw_bits(axis: Axes, positions: np.ndarray, top: float = 2.35, bottom: float = 3.15, width: float = 0.2) -> None:
    """Draws where ShuffleBits moves the bits of a binary32 number, the sign at the left (Eqs. 2.8 and 2.9)."""
    left = 1.35

    def cell(bit: int, height: float, color: str) -> None:
        axis.add_patch(Rectangle((left + (31 - bit) * width, height), width, 0.2, facecolor=color, edgecolor="white"))

    for name, (first, end, color) in _PARTS.items():
        axis.text(left + (32 - (first + end) / 2) * width, top - 0.05, name, ha="center", va="bottom", fontsize=8)
        for bit in range(first, end):
            cell(bit, top, color)
            cell(positions[bit], bottom, color)
            ends = [left + (31.5 - place) * width for place in (bit, positions[bit])]
            axis.plot(ends, [top + 0.2, bottom], color="#555555", linewidth=0.6)
    axis.text(
        0.1,
        (top + bottom) / 2 + 0.1,
        "ShuffleBits: the key\nmoves the 32 bits\nof each number",
        va="center",
        fontsize=8,
    )


if __name__ == "__main__":
    figure, axis = canvas(8, 5.35)
    draw(axis, BOXES, ARROWS)
    draw_bits(axis, np.asarray(Key.derive(bytes(32), 1)).ravel())
    save(figure, Path(__file__).parent / "figures/architecture.png", dots_per_inch=150)
