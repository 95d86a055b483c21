import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from common.experiments.config import RunConfig
from common.report import tables
from common.report.page_parts import Slider


def test_table_is_padded_and_shows_what_is_missing():
    assert tables.table(["a", "long"], [[1, None], ["xyz", 2.5]]) == (
        "| a   | long   |\n|-----|--------|\n| 1   | –      |\n| xyz | 2.5    |"
    )
    with pytest.raises(ValueError, match="Expected 2 cells for columns \\['a', 'b'\\], got \\[1\\]"):
        tables.table(["a", "b"], [[1]])


def test_mean_and_sample_deviation():
    assert tables.mean_std([1.0, 2.0, 3.0]) == "2.00 ± 1.00"  # variance (1 + 0 + 1) / (3 − 1)
    assert tables.mean_std([0.5], 3) == "0.500"
    assert tables.mean_std([]) is None


def test_report_holds_text_figures_and_numbers(tmp_path, capsys):
    figures = {"figures/a.png": "What it shows."}
    report = tables.Report("Title", {"Part": "text"}, figures, {"x": 0.1})
    tables.write_report(tmp_path, report, {"trials": [1]})
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# Title\n\n## Part\n\ntext\n")
    assert "![What it shows.](figures/a.png)" in text
    assert json.loads((tmp_path / "report.json").read_text()) == {"trials": [1], "x": 0.1}
    out = capsys.readouterr().out
    assert "## Part\n\ntext" in out and f"To browse: {tmp_path / 'report.html'}\n" in out


def test_the_page_has_all_parts_and_no_figure_that_a_part_replaces(tmp_path):
    (tmp_path / "seed0").mkdir()
    (tmp_path / "seed0/log.csv").write_text("epoch,loss\n1,2.0\n2,1.0\n")
    (tmp_path / "figures").mkdir()
    names = ("loss", "pictures", "other")
    for name in names:
        (tmp_path / f"figures/{name}.png").write_text(name)
    figures = {f"figures/{name}.png": f"About {name}." for name in names}
    slider = Slider("Slider", "", dict.fromkeys("ab", np.zeros((4, 4, 3), "uint8")), ["figures/pictures.png"])
    report = tables.Report("<Title>", {"Part": "| a |\n|---|\n| 1.5 |"}, figures, parts=[slider])
    tables.write_report(tmp_path, report, {"config": {"epochs": 3}}, ["seed0"])
    text = (tmp_path / "report.html").read_text()
    assert "<title>&lt;Title&gt;</title>" in text and "<td>1.5</td>" in text
    assert re.findall("<h2>(.*?)</h2>", text) == ["Part", "Slider", "Training curves", "Figures", "Settings"]
    assert re.findall("<figcaption>(.*?)</figcaption>", text) == ["About other."]
    assert 'data-name="seed0" data-values="1: 2;2: 1"' in text and "<dt>epochs</dt><dd>3</dd>" in text
    tables.write_report(tmp_path, tables.Report("Title", {"Part": "text"}, {}), {})
    assert re.findall("<h2>(.*?)</h2>", (tmp_path / "report.html").read_text()) == ["Part"]


@dataclass(frozen=True)
class Config(RunConfig):
    epochs: int = 5


def test_published_runs_have_names_and_lack_what_is_left_out(tmp_path):
    presets = {"a": ("", Config(epochs=6)), "demo": ("", Config())}
    assert tables.published(tmp_path) == {}
    for name, score in (("b", 1), ("a", 2), ("b", 3)):
        config = Config(name=name, data_dir=Path("x"), runs_dir=Path("y"))
        tables.publish(tmp_path, presets, config, [{"score": score, "roc": [], "made_from": "z"}], omit=("roc",))
    results = tables.published(tmp_path)
    assert list(results) == ["a", "b"]
    for name, score in (("a", 2), ("b", 3)):
        settings = {"name": name, "seeds": [0], "strategy": "auto", "precision": "float32", "epochs": 5}
        of = {"preset": "a", "changed": ["epochs"]} if name == "a" else {"preset": "demo", "changed": []}
        assert results[name] == of | {"config": settings, "trials": [{"score": score}]}
    assert tables.changed_fields({"epochs": 6}, Config(epochs=6)) == []  # published when there were fewer fields
    assert tables.changed_fields({}, Config(epochs=6)) == ["epochs"]
    tables.publish(tmp_path, presets, config, [], name="c")
    assert list(tables.published(tmp_path)) == ["a", "b", "c"]


def test_update_between_marks(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- results:begin -->\nold\n<!-- results:end -->\nb\n")
    tables.update_between(path, "results", "new")
    tables.update_between(path, "results", "newer")
    assert path.read_text() == "a\n<!-- results:begin -->\nnewer\n<!-- results:end -->\nb\n"
    with pytest.raises(ValueError, match="must have the marks <!-- other:begin -->"):
        tables.update_between(path, "other", "new")


def test_a_mark_must_stand_there_once_and_in_order(tmp_path):
    path = tmp_path / "README.md"
    begin, end = "<!-- results:begin -->", "<!-- results:end -->"
    for content in (f"{begin}\n", f"{end}\n{begin}\n", f"{begin}{begin}{end}", f"{begin}{end}{end}"):
        path.write_text(content)
        with pytest.raises(ValueError, match="once each, in that order"):
            tables.update_between(path, "results", "new")
        assert path.read_text() == content


def test_figures_of_a_run_are_copied_and_shown(tmp_path):
    (tmp_path / "run/figures").mkdir(parents=True)
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "run/figures" / name).write_text(name)
    (tmp_path / "project").mkdir()
    tables.copy_figures(tmp_path / "run", tmp_path / "project", ["a.png", "c.png"])
    copied = {path.name: path.read_text() for path in (tmp_path / "project/figures").iterdir()}
    assert copied == {"a.png": "a.png", "c.png": "c.png"}
    assert tables.pictures({"a.png": "What."}) == ["![What.](figures/a.png)\n\n*What.*"]
