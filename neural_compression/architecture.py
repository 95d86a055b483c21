"""Encoder and decoder of files as a picture (section 4.2), from what `model.py`, encoder and bitstream do.

python -m PROJECT.architecture
"""

from pathlib import Path

from common.report.diagram import Box, write

_NETWORKS = {64: 0.6, 216: 1.55, 368: 2.5}  # code length in bits -> height
BOXES = {
    "image": Box(0.55, 1.55, "image", "", "data", width=0.8),
    "blocks": Box(1.6, 1.55, "blocks of\n32×32 pixels", "data.py", "computed", width=0.95, height=0.65),
    "mode": Box(
        5.1,
        1.55,
        "mode decision:\nfor each block the\nnetwork of least\nerror and bits",
        "encoder/\nmode_decision.py",
        "new",
        width=1.35,
        height=1.2,
    ),
    "entropy": Box(
        6.65, 1.55, "entropy coder,\ncontext of bits\nand neighbors", "bitstream/\nentropy.py", "computed", 1.2, 1.0
    ),
    "file": Box(7.65, 1.55, "file", "", "data", width=0.45, height=0.5),
    "escape": Box(
        5.2, 2.75, "escape blocks: palette\nor cosine transform", "bitstream/escape.py", "computed", 1.5, 0.65
    ),
    "networks": Box(3.3, 1.6, "a network for each code length", "", "group", width=2.2, height=3.05),
    "decode": Box(6.75, 3.9, "codes, network of\neach block", "bitstream/container.py", "computed", 1.6, 0.65),
    "decoder": Box(
        4.6, 3.9, "unit length, five\ndeconvolutions", "normalized up5 … up1\npixels", "trained", width=1.5, height=0.75
    ),
    "deblocking": Box(2.65, 3.9, "deblocking U-Net\nover the whole image", "deblocking", "trained", 1.5, 0.65),
    "decoded": Box(0.7, 3.9, "decoded image", "", "data", width=1.05),
}
ARROWS = [
    ("image", "blocks"), ("mode", "entropy"), ("entropy", "file"), ("escape", "mode"), ("file", "decode"),
    ("decode", "decoder"), ("decoder", "deblocking"), ("deblocking", "decoded"),
]  # fmt: skip
for length, y in _NETWORKS.items():
    BOXES[f"network{length}"] = Box(
        3.3,
        y + 0.12,
        f"five strided convolutions,\n{length} bits, rounded",
        "down1 … down5 code\nbinarization",
        "trained",
        width=1.8,
        height=0.8,
    )
    ARROWS += [("blocks", f"network{length}"), (f"network{length}", "mode")]

if __name__ == "__main__":
    write(Path(__file__).parent / "figures/architecture.png", (8, 4.75), BOXES, ARROWS)
