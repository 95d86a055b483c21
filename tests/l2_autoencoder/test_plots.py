import numpy as np
from matplotlib.image import imread

from l2_autoencoder import plots


def test_figures_have_ink_where_the_data_are(tmp_path):
    """Each figure is a PNG of sensible size whose panels are not empty; six panels are five and one below."""
    random = np.random.default_rng(0)
    points, labels = random.normal(size=(50, 2)), np.arange(50) % 5
    plots.embeddings(tmp_path / "embeddings.png", {"left": points, "right": -points}, labels)
    rates = np.linspace(0, 1, 5)
    plots.roc(tmp_path / "roc.png", {f"digit {i}": {"score": (rates, rates**0.5)} for i in range(6)})
    sizes = {}
    for name in ("embeddings", "roc"):
        pixels = imread(tmp_path / f"{name}.png")[..., :3]
        sizes[name] = pixels.shape[:2]
        assert min(sizes[name]) > 250
        assert np.mean(np.any(pixels < 0.99, axis=-1)) > 0.01
    assert sizes["embeddings"][1] > 1.5 * sizes["embeddings"][0]  # two in a row
    assert 1.5 < sizes["roc"][1] / sizes["roc"][0] < 4  # two rows
