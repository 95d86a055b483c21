import importlib

import matplotlib.image
import numpy as np

from common.report import tables
from common.report.pages import Finding
from common.tools import pages


def test_the_first_page_has_a_row_for_each_project(monkeypatch):
    """The first finding alone; a claim that nothing was measured of has no data in its row."""
    for project in pages.PICTURES:
        module = importlib.import_module(f"{project}.tables")
        first = Finding("it is better", "holds", "+1.0", "a set", "`make it`")
        if project == "flipreid":
            first = Finding.not_run("it is better", "a set", "`make it`")
        monkeypatch.setattr(module, "findings", lambda results, first=first: [first, None])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in pages.verdict_table().splitlines()[2:]]
    assert [row[0] for row in rows] == [f"[{project}]({project}/README.md)" for project in pages.PICTURES]
    assert rows[0][1] == "Adaptive L2 Regularization in Person Re-Identification" and rows[1][1] == "FlipReID"
    assert rows[0][2:] == ["it is better", "holds", "+1.0 (a set)", "`make it`"]
    assert rows[1][2:] == ["it is better", "not run", "–", "`make it`"]


def test_all_pages_are_renewed(monkeypatch, tmp_path):
    renewed = []
    for project in pages.PICTURES:
        module = importlib.import_module(f"{project}.tables")
        monkeypatch.setattr(module, "renew_pages", lambda project=project: renewed.append(project))
    monkeypatch.setattr(pages, "verdict_table", lambda: "| 1 |")
    (tmp_path / "README.md").write_text("<!-- verdicts:begin -->\n<!-- verdicts:end -->\n")
    pages.renew_pages(tmp_path)
    assert renewed == list(pages.PICTURES)
    assert (tmp_path / "README.md").read_text() == "<!-- verdicts:begin -->\n| 1 |\n<!-- verdicts:end -->\n"


def test_pictures_of_all_projects_are_in_one(tmp_path):
    """Six panels, each with its own color."""
    colors = [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (1.0, 1.0, 0), (1.0, 0, 1.0), (0, 1.0, 1.0)]
    pictures = {}
    for number, color in enumerate(colors):
        matplotlib.image.imsave(tmp_path / f"{number}.png", np.full((20, 30, 3), color))
        pictures[f"project {number}"] = tmp_path / f"{number}.png", "what it shows"
    pages.overview(tmp_path / "all.png", pictures)
    image = matplotlib.image.imread(tmp_path / "all.png")[..., :3]
    assert image.shape[1] <= 1600
    shares = [float((np.abs(image - color).max(-1) < 0.01).mean()) for color in colors]
    assert min(shares) > 0.05
    places = [np.argwhere(np.abs(image - color).max(-1) < 0.01).mean(0) for color in colors]
    assert (
        places[0][1] < places[1][1] < places[2][1]
        and abs(places[0][0] - places[2][0]) < 2
        and places[3][0] > places[0][0]
    )


def test_published_numbers_are_read_from_each_project():
    for project in pages.PICTURES:
        module = importlib.import_module(f"{project}.tables")
        assert module.findings(tables.published(module.HERE))
