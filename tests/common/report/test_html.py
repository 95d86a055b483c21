"""A page of a run: what its text says, that it asks nobody for anything, and what a browser makes of it."""

import json
import re

import cv2
import numpy as np
import pytest

from common.report import html
from common.report.charts import Chart, Charts, Line
from common.report.page_parts import Picture, RankedList, RankedLists, Slider
from tests.helpers import run_python

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 128, 0)
EVIL = "<script>alert(1)</script> ![i](http://x.example/i.png) \"'"


def flat(color):
    return np.full((40, 80, 3), color, "uint8")


def everything(number=12):
    """A page of all parts; the lists of `number` queries are numbered, and the failures are those in reverse."""
    lists = {i: RankedList(f"query {i} {EVIL}", Picture(None, EVIL), [Picture(None, "near")]) for i in range(number)}
    chart = Chart(EVIL, "epoch", [Line(EVIL, [1, 2], [1, 3]), Line("other", [1, 2], [2, 1])])
    versions = {"red": flat(RED), EVIL: flat(BLUE), "green": flat(GREEN)}
    return [
        html.Text(EVIL, f"{EVIL}\n\n| a | b |\n|---|---|\n| {EVIL} | 1.5 ± 0.2 |"),
        RankedLists("lists", EVIL, lists, list(lists)[::-1], list(lists)[:3]),
        Slider("slider", EVIL, versions),
        Charts("charts", EVIL, [chart]),
        html.Settings("settings", {EVIL: EVIL}),
    ]


def test_names_are_text_and_nothing_is_requested():
    text = html.page(EVIL, everything())
    program = text.rpartition("<script>")[2]
    assert text.count("<script") == 1 and "alert(1)" not in program
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 12 * 2
    assert text.count(' src="') == 3 == text.count(' src="data:image/webp;base64,')
    assert set(re.findall(r'href="([^"]*)"', text)) == {
        "data:,",
        *(f"#part{i}" for i in range(5)),
        "http://x.example/i.png",
    }
    assert not re.search(r"url\(|@import|fetch|XMLHttp|<(link rel=.style|iframe|object)", text)
    # Markdown's image is a link to follow or not, and the policy refuses all that is not in the file.
    assert "<img" not in everything()[0].html()
    assert "default-src 'none'; img-src data:;" in text and '<html lang="en">' in text


def test_tables_have_the_cells_of_the_markdown():
    text = html.Text("", "Some *words*.\n\n| a | b |\n|---|---|\n| x | 1 |\n| conv_kernel | 1 ± 2 |").html()
    assert re.findall("<th>(.*?)</th>", text) == ["a", "b"]
    assert re.findall("<td>(.*?)</td>", text) == ["x", "1", "conv_kernel", "1\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}2"]
    assert text.startswith("<p>Some <em>words</em>.</p>") and text.count('<div class="wide" tabindex="0"><table>') == 1


def test_settings_are_plain():
    values = {
        "epochs": 1,
        "none": None,
        "on": True,
        "rate": 2e-4,
        "pairs": [[1, 2], ["x"]],
        "of": {"keras": "3", "n": 0},
    }
    text = html.Settings("", values).html()
    assert re.findall("<dd>(.*?)</dd>", text) == ["1", "–", "yes", "0.0002", "1, 2, x", "keras 3, n 0"]
    assert re.findall("<dt>(.*?)</dt>", text) == list(values)


def test_a_page_needs_no_framework():
    frameworks = {"keras", "tensorflow", "jax", "torch", "matplotlib"}
    program = f"import sys, common.report.tables; print({frameworks} & set(sys.modules))"
    assert run_python("-c", program, fresh=True)[0].strip() == "set()"


def test_environment_is_that_of_the_last_start(tmp_path):
    assert html.environment(tmp_path) == {}
    starts = [{"commit": "a"}, {"commit": "c"}, {"host": "h", "commit": "b", "devices": ["CPU:0"], "code": {"x": "y"}}]
    starts = [start | {"epochs": {}} for start in starts]
    (tmp_path / "environment.json").write_text(json.dumps(starts))
    assert html.environment(tmp_path) == {"commit": "b", "devices": ["CPU:0"]}
    for damaged in (json.dumps(starts)[:20], "[]", "{}", "[1]"):
        (tmp_path / "environment.json").write_text(damaged)
        assert html.environment(tmp_path) == {}


def test_figures_are_in_the_file(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), flat(RED))
    text = html.Figures(tmp_path, {"a.png": "what < it shows", "gone.png": "never"}).html()
    assert text.count("<img") == 1 and '<img alt="what &lt; it shows" src="data:image/png;base64,' in text
    assert "<figcaption>what &lt; it shows</figcaption>" in text


@pytest.fixture
def opened(browser, tmp_path):
    path = tmp_path / "report <1>.html"
    path.write_text(html.page("title", everything()), encoding="utf-8")
    browser.open(path.as_uri())
    browser.wait_for("document.readyState === 'complete'")
    return browser


SHOWN = "[...document.querySelectorAll('article')].filter(a => !a.hidden).map(a => parseInt(a.textContent.slice(6)))"


def test_lists_are_browsed(opened):
    disabled = "[...document.querySelectorAll('.lists button')].map(b => b.disabled)"
    output = "document.querySelector('.lists output').textContent"
    assert opened.value(SHOWN) == [11, 10, 9, 8, 7] and opened.value(disabled) == [True, False]
    opened.value("document.querySelector('.next').click()")
    assert opened.value(SHOWN) == [6, 5, 4, 3, 2] and opened.value(disabled) == [False, False]
    opened.value("document.querySelector('.next').click()")
    assert opened.value(SHOWN) == [1, 0] and opened.value(disabled) == [False, True]
    assert opened.value(output) == "11 to 12 of 12"
    opened.value("document.querySelector('.previous').click()")
    assert opened.value(SHOWN) == [6, 5, 4, 3, 2]
    choose = "(() => {{ const s = document.querySelector('.{}'); s.selectedIndex = {}; s.onchange() }})()"
    opened.value(choose.format("first", 3))
    assert opened.value(SHOWN) == [8, 7, 6, 5, 4]
    opened.value("document.querySelector('.previous').click()")
    assert opened.value(SHOWN) == [11, 10, 9, 8, 7]
    opened.value(choose.format("order", 1))
    assert opened.value(SHOWN) == [0, 1, 2] and opened.value(disabled) == [True, True]
    assert opened.value(output) == "1 to 3 of 3"


def test_the_slider_parts_two_versions(opened):
    """A quarter of the way red is on the left of it and blue on the right; keys move it as well."""

    def colors():
        image = opened.picture(".views")
        height, width = image.shape[:2]
        return [tuple(image[height // 2, int(width * at)].tolist()) for at in (0.05, 0.2, 0.3, 0.95)]

    move = "(() => {{ const r = document.querySelector('.views input'); r.value = {}; r.oninput() }})()"
    opened.value(move.format(25))
    assert colors() == [RED, RED, BLUE, BLUE]
    opened.press(".views input", "End", 35)
    assert colors() == [RED] * 4
    opened.press(".views input", "Home", 36)
    assert colors() == [BLUE] * 4
    opened.value(move.format(25))
    choose = "(() => {{ const s = document.querySelector('select.{}'); s.selectedIndex = {}; s.onchange() }})()"
    opened.value(choose.format("right", 2))
    assert colors() == [RED, RED, GREEN, GREEN]
    opened.value(choose.format("left", 1))
    assert colors() == [BLUE, BLUE, GREEN, GREEN]
    opened.value(choose.format("left", 2))
    assert colors() == [GREEN] * 4


def test_the_chart_names_the_nearest_point(opened):
    opened.value(
        "(() => { const s = document.querySelector('.chart svg[role]'); s.scrollIntoView();"
        "const r = s.getBoundingClientRect();"
        "s.dispatchEvent(new PointerEvent('pointermove', { clientX: r.right - 20, clientY: r.bottom - 60 })) })()"
    )
    assert opened.value("document.querySelector('.chart output').textContent") == "other, 2: 1"
    mark = (
        "(() => { const m = document.querySelector('.mark'); return [m.getAttribute('cx'), m.getAttribute('cy')] })()"
    )
    assert opened.value(mark) == ["490", "240"]


def test_the_page_asks_for_nothing_and_fits_a_phone(opened):
    assert [url for url in opened.requests if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1
    opened.call("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=True)
    assert opened.value("document.documentElement.scrollWidth") <= 360
