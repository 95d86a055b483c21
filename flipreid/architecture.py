"""The graphs as a picture (Figs. 1 and 2 (pub)), from what `model.py` builds.

python -m PROJECT.architecture
"""

from pathlib import Path

from common.report.diagram import Box, write

BOXES = {
    "image": Box(0.6, 0.75, "image\n256×128", "image", "data", width=0.9),
    "mirror": Box(0.6, 2.45, "its mirror", "", "data", width=0.9),
    "of_image": Box(2.1, 0.75, "inference model", "extractor", "trained"),
    "of_mirror": Box(2.1, 2.45, "inference model", "extractor", "trained"),
    "shared": Box(2.1, 1.6, "the same weights", "", "group", width=1.45, height=2.7),
    "single": Box(3.85, 0.75, "embedding\nof the image", "single", width=1.2, height=0.65),
    "mirrored": Box(3.85, 2.45, "embedding\nof the mirror", width=1.2),
    "mean": Box(5.5, 1.6, "their mean", "global_mean …", "new", width=1.2),
    "flipping": Box(5.5, 2.95, "flipping loss:\nmean squared\ndifference", "", "new", width=1.2, height=0.65),
    "logits": Box(7.15, 1.0, "batch norm, dense,\ncross-entropy", "global_bn\nglobal_logits …", "loss", 1.4, 0.75),
    "triplet": Box(7.15, 1.75, "triplet loss", "", "loss", width=1.4, height=0.4),
    "double": Box(7.15, 2.4, "test: double images", "double", width=1.4),
    "single_test": Box(5.5, 0.3, "test: single image", "single", width=1.4, height=0.45),
    "inside": Box(4.0, 4.05, "inside the inference model", "", "group", width=7.8, height=1.5),
    "trunk": Box(0.85, 4.15, "scaling, blocks\n1 to 4 of a ResNet", "", "trained", width=1.35),
    "global": Box(2.6, 3.85, "block 5, stride 1", "", "trained", width=1.3, height=0.36),
    "regional": Box(2.6, 4.4, "copy of block 5", "regional_block", "trained", width=1.3, height=0.45),
    "reduced": Box(
        4.3, 4.4, "halves: 3×3, C/2, ReLU", "upper_reduced lower_reduced", "trained", width=1.65, height=0.45
    ),
    "pooled": Box(
        6.3,
        4.15,
        "generalized mean over\nplaces, power learned",
        "global_pooled upper_pooled\nlower_pooled",
        "trained",
        width=1.65,
        height=0.78,
    ),
    "clip": Box(7.5, 4.15, "clip to\n[0, 1]", width=0.55),
}
ARROWS = [
    ("image", "mirror", ""), ("image", "of_image"), ("mirror", "of_mirror"), ("of_image", "single"),
    ("of_mirror", "mirrored"), ("single", "mean"), ("mirrored", "mean"), ("single", "flipping"),
    ("mirrored", "flipping"), ("mean", "logits"), ("mean", "triplet"), ("mean", "double"), ("single", "single_test"),
    ("trunk", "global"), ("trunk", "regional"), ("regional", "reduced"), ("global", "pooled"), ("reduced", "pooled"),
    ("pooled", "clip"),
]  # fmt: skip

if __name__ == "__main__":
    write(Path(__file__).parent / "figures/architecture.png", (8, 5.15), BOXES, ARROWS)
