"""The autoencoder as a picture (sections 5.2.1 and 5.2.2), from what `model.py` builds.

python -m PROJECT.architecture
"""

from pathlib import Path

from common.report.diagram import Box, write

BOXES = {
    "image": Box(0.5, 0.75, "image $I$\n28×28", "image", "data", width=0.85, height=0.7),
    "encoder": Box(
        2.0,
        0.75,
        "encoder: three strided\nconvolutions, or dense\n500, 500, 2000",
        "encoder_1 … encoder_3",
        "trained",
        width=1.6,
        height=0.85,
    ),
    "embedding": Box(3.65, 0.75, "dense,\n10 numbers $E$", "embedding", "trained", width=1.1, height=0.7),
    "code": Box(5.05, 0.75, "unit length\n$E_c = E\\,/\\,\\|E\\|_2$", "code", "new", width=1.15, height=0.7),
    "decoder": Box(6.35, 0.75, "decoder,\nmirrored", "decoder_4\n… decoder_1", "trained", width=1.05, height=0.7),
    "image_again": Box(7.45, 0.75, "recon-\nstruction", "", "data", width=0.8, height=0.7),
    "loss": Box(7.2, 1.65, "mean squared error", "", "loss", width=1.4, height=0.36),
    "kmeans": Box(4.2, 2.4, "after training: k-means\non the embeddings", "", "new", width=1.65),
    "clusters": Box(
        2.1, 2.4, "clusters, matched to digits:\nclustering accuracy", "clustering.py", width=1.85, height=0.65
    ),
    "normality": Box(
        6.45, 2.4, "cosine to the nearest\ncentroid: normality (Eq. 5.6)", "clustering.py", "new", 2.0, 0.65
    ),
}
ARROWS = [
    ("image", "encoder"), ("encoder", "embedding"), ("embedding", "code"), ("code", "decoder"),
    ("decoder", "image_again"), ("image_again", "loss"), ("code", "kmeans"), ("kmeans", "clusters"),
    ("kmeans", "normality"),
]  # fmt: skip

if __name__ == "__main__":
    write(Path(__file__).parent / "figures/architecture.png", (8, 3.25), BOXES, ARROWS)
