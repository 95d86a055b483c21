import json

import numpy as np
import pytest

from common import figures, report


def test_table_is_padded_and_shows_what_is_missing():
    assert report.table(["a", "long"], [[1, None], ["xyz", 2.5]]) == (
        "| a   | long |\n|-----|------|\n| 1   | –    |\n| xyz | 2.5  |"
    )
    with pytest.raises(ValueError, match="Expected 2 cells for columns \\['a', 'b'\\], got \\[1\\]"):
        report.table(["a", "b"], [[1]])


def test_mean_and_sample_deviation():
    assert report.mean_std([1.0, 2.0, 3.0]) == "2.00 ± 1.00"  # variance (1 + 0 + 1) / (3 − 1)
    assert report.mean_std([0.5], 3) == "0.500"
    assert report.mean_std([]) is None


def test_report_holds_text_figures_and_numbers(tmp_path, capsys):
    report.write_report(tmp_path, "Title", {"Part": "text"}, {"figures/a.png": "What it shows."}, {"x": 0.1})
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# Title\n\n## Part\n\ntext\n")
    assert "![What it shows.](figures/a.png)" in text
    assert json.loads((tmp_path / "report.json").read_text()) == {"x": 0.1}
    assert "## Part\n\ntext" in capsys.readouterr().out


def test_published_runs_are_kept_by_name_without_what_is_left_out(tmp_path):
    path = tmp_path / "results.json"
    assert report.published(path) == {}
    for name, score in (("b", 1), ("a", 2), ("b", 3)):
        report.publish(path, name, {"epochs": 5, "data_dir": "x"}, [{"score": score, "roc": []}], ("data_dir", "roc"))
    expected = {name: {"config": {"epochs": 5}, "trials": [{"score": score}]} for name, score in (("a", 2), ("b", 3))}
    assert report.published(path) == expected and list(report.published(path)) == ["a", "b"]


def test_records_are_made_again_when_a_source_changes(tmp_path):
    source, calls = tmp_path / "weights", []

    def make():
        calls.append(source.read_text())
        return {"score": len(calls)}

    for text, expected in (("a", 1), ("a", 1), ("b", 2), ("a", 3)):
        source.write_text(text)
        assert report.made_once(tmp_path / "metrics.json", [source], make)["score"] == expected
    assert calls == ["a", "b", "a"]


def test_update_between_marks(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- results:begin -->\nold\n<!-- results:end -->\nb\n")
    report.update_between(path, "results", "new")
    report.update_between(path, "results", "newer")
    assert path.read_text() == "a\n<!-- results:begin -->\nnewer\n<!-- results:end -->\nb\n"
    with pytest.raises(ValueError, match="must have the marks <!-- other:begin -->"):
        report.update_between(path, "other", "new")


def test_figures_have_ink_where_the_data_are(tmp_path):
    """Each figure is a PNG of sensible size whose panels are not empty."""
    from matplotlib.image import imread

    random = np.random.default_rng(0)
    points, labels = random.normal(size=(50, 2)), np.arange(50) % 5
    figures.embeddings(tmp_path / "embeddings.png", {"left": points, "right": -points}, labels)
    figures.confusion(tmp_path / "confusion.png", {"one": np.eye(3, dtype=int) * 7}, "cluster", "digit")
    figures.image_rows(tmp_path / "images.png", {"input": random.random((4, 8, 8, 1)), "output": np.zeros((4, 8, 8))})
    figures.curves(tmp_path / "curves.png", {"loss": [1.0, 0.1, 0.01]}, "epoch", "loss")
    rates = np.linspace(0, 1, 5)
    figures.roc(tmp_path / "roc.png", {"digit 1": {"score": (rates, rates**0.5)}, "digit 2": {"score": (rates, rates)}})
    for name in ("embeddings", "confusion", "images", "curves", "roc"):
        pixels = imread(tmp_path / f"{name}.png")[..., :3]
        height, width = pixels.shape[:2]
        assert min(height, width) > 250
        assert np.mean(np.any(pixels < 0.99, axis=-1)) > 0.01
