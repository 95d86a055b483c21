import numpy as np
from matplotlib.image import imread

from common.report import plots


def test_figures_have_ink_where_the_data_are(tmp_path):
    """Each figure is a PNG of sensible size whose panels are not empty."""
    random = np.random.default_rng(0)
    plots.confusion(tmp_path / "confusion.png", {"one": np.eye(3, dtype=int) * 7}, "cluster", "digit")
    plots.image_rows(tmp_path / "images.png", {"input": random.random((4, 8, 8, 1)), "output": np.zeros((4, 8, 8))})
    plots.curves(tmp_path / "curves.png", {"loss": [1.0, 0.1, 0.01]}, "epoch", "loss")
    for name in ("confusion", "images", "curves"):
        pixels = imread(tmp_path / f"{name}.png")[..., :3]
        height, width = pixels.shape[:2]
        assert min(height, width) > 250
        assert np.mean(np.any(pixels < 0.99, axis=-1)) > 0.01
