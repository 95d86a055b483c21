"""The network and the regularizer as a picture (Figs. 1 and 2 (pub), Eqs. 2.3 to 2.7), from what `model.py` builds.

python -m PROJECT.architecture
"""

from pathlib import Path

from common.report.diagram import Box, write

_ROWS = {"global": 0.75, "upper": 1.8, "lower": 2.85}  # branch -> height
BOXES = {
    "image": Box(0.5, 1.8, "image\n384×128", "image", "data", width=0.8),
    "trunk": Box(1.6, 1.8, "blocks 1 to 4\nof a ResNet", "", "trained", width=1.0),
    "block": Box(2.9, 0.75, "block 5,\nstride 1", "", "trained", width=1.15),
    "copy": Box(2.9, 2.32, "copy of block 5", "regional_block", "trained", width=1.15),
    "upper": Box(4.25, 1.8, "upper half,\n3×3, C/2, ReLU", "upper_reduced", "trained", width=1.15, height=0.65),
    "lower": Box(4.25, 2.85, "lower half,\n3×3, C/2, ReLU", "lower_reduced", "trained", width=1.15, height=0.65),
    "group": Box(5.65, 1.69, "embeddings", "", "group", width=1.35, height=3.18),
    "test": Box(
        5.65, 3.75, "test: joined, 2048 + 1024 + 1024,\nmean of image and mirror", "embedding", width=2.2, height=0.65
    ),
    "theta": Box(0.85, 5.05, "$θ_n$, one for each\nweight tensor, from 0", "theta", "new", width=1.5, height=0.65),
    "sigmoid": Box(2.55, 5.05, "hard sigmoid $f$", "", "new", width=1.25),
    "factor": Box(4.2, 5.05, "factor\n$λ_n = A\\,f(θ_n)$", "", "new", width=1.25),
    "weights": Box(6.0, 4.45, "all weights $w_n$", "", "trained", width=1.3, height=0.35),
    "penalty": Box(6.0, 5.05, "penalty\n$Σ\\,λ_n \\|w_n\\|^2$", "regularizer", "loss", width=1.3, height=0.65),
    "loss": Box(7.4, 5.05, "sum of\nall losses", "", "loss", width=0.95),
}
ARROWS = [
    ("image", "trunk"), ("trunk", "block"), ("trunk", "copy"), ("copy", "upper"), ("copy", "lower"),
    ("group", "test"), ("theta", "sigmoid"), ("sigmoid", "factor"), ("factor", "penalty"), ("weights", "penalty"),
    ("penalty", "loss"),
]  # fmt: skip
for branch, y in _ROWS.items():
    BOXES |= {
        f"{branch}_pooled": Box(5.65, y, "mean over places,\nclip to [0, 1]", f"{branch}_pooled", height=0.65),
        f"{branch}_triplet": Box(7.2, y - 0.28, "triplet loss", "", "loss", width=1.45, height=0.28),
        f"{branch}_logits": Box(
            7.2,
            y + 0.2,
            "batch norm, dense,\ncross-entropy",
            f"{branch}_bn {branch}_logits",
            "loss",
            width=1.45,
            height=0.58,
        ),
    }
    ARROWS += [
        ("block" if branch == "global" else branch, f"{branch}_pooled"),
        (f"{branch}_pooled", f"{branch}_triplet"),
        (f"{branch}_pooled", f"{branch}_logits"),
    ]

if __name__ == "__main__":
    write(Path(__file__).parent / "figures/architecture.png", (8, 5.85), BOXES, ARROWS)
