"""Training, gallery and recognition as a picture (section 3.2.3), from what `model.py` and the gallery do.

python -m PROJECT.architecture
"""

from pathlib import Path

from common.report.diagram import Box, write

BOXES = {
    "training": Box(0.75, 0.6, "training images\nwith attributes", "", "data", width=1.15),
    "network": Box(2.4, 0.6, "ResNet-50,\nlast stride 1", "", "trained", width=1.2),
    "embedding": Box(4.05, 0.6, "mean over places:\nembedding", "embedding", "trained", width=1.3, height=0.65),
    "losses": Box(
        6.3,
        0.6,
        "cross-entropy (batch norm, dense),\nArcFace, triplet or lifted structured",
        "ATTRIBUTE_logits",
        "loss",
        width=2.3,
        height=0.65,
    ),
    "exemplars": Box(0.75, 2.05, "exemplars,\n100 of each class", "", "data", width=1.15),
    "query": Box(0.75, 2.95, "a query", "", "data", width=1.15, height=0.4),
    "frozen": Box(2.4, 2.5, "the trained network,\nwithout classifier", "recognizer.py", "trained", 1.35, 0.65),
    "gallery": Box(4.3, 2.05, "gallery: embeddings\nand labels", "gallery/index.py", "new", width=1.4, height=0.65),
    "nearest": Box(5.95, 2.75, "nearest exemplar\nby cosine", "recognition.py", "new", width=1.25, height=0.65),
    "answer": Box(7.35, 2.75, "its class, or\n“unknown”", "", "data", width=1.0),
    "class": Box(0.75, 3.85, "exemplars of\na new class", "", "data", width=1.15),
    "add": Box(4.3, 3.85, "gallery add: embedded once,\nnothing is trained", "gallery/cli.py", "new", 1.9, 0.65),
}
ARROWS = [
    ("training", "network"), ("network", "embedding"), ("embedding", "losses"), ("network", "frozen", ""),
    ("exemplars", "frozen"), ("query", "frozen"), ("frozen", "gallery"), ("frozen", "nearest"), ("gallery", "nearest"),
    ("nearest", "answer"), ("class", "add"), ("add", "gallery"),
]  # fmt: skip

if __name__ == "__main__":
    write(Path(__file__).parents[1] / "figures/architecture.png", (8, 4.6), BOXES, ARROWS)
