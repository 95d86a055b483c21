"""The tables of the first page, without the measurements that fill them."""

import json

import pytest

from tests.benchmarks import summary
from tests.benchmarks.test_input_stall import input_stall_table
from tests.helpers import run_python


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Paths of a first page and of measured rows, both still empty."""
    page, measured = tmp_path / "benchmarks.md", tmp_path / "summary.json"
    page.write_text("a\n<!-- bench:begin -->\n<!-- bench:end -->\nb\n", encoding="utf-8")
    measured.write_text("{}\n", encoding="utf-8")
    monkeypatch.setattr(summary, "PAGE", page)
    monkeypatch.setattr(summary, "MEASURED", measured)
    return page, measured


def cells(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["a", "<!-- bench:begin -->"] and lines[-2:] == ["<!-- bench:end -->", "b"]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:-2]]


def test_times_and_rates_both_give_a_ratio_below_one_where_ours_is_faster(page):
    summary.record("encode", 0.5, "s", straightforward={"a": 4.0, "b": 2.0}, peer={"c": 1.0}, memory=0.25)
    summary.record("input", 3061.4, "images/s", straightforward={"a": 680.0, "b": 340.0}, memory=1, rate=True)
    assert cells(page[0]) == [
        [summary.ROWS["input"], "3,061 images/s", "680 images/s (a)", "–", "0.22", "1.00"],
        [summary.ROWS["encode"], "0.5 s", "2 s (b)", "1 s (c)", "0.50", "0.25"],
    ]


@pytest.mark.parametrize(("ours", "ratio"), [(0.125, "0.12"), (0.0046, "0.005"), (3.0, "3.00")])
def test_a_small_ratio_is_not_shown_as_none(page, ours, ratio):
    summary.record("decode", ours, "s", peer={"a": 1.0}, memory=1)
    assert cells(page[0])[0][4] == ratio


def test_a_row_without_contenders_has_dashes(page):
    summary.record("decode", 0.28, "core-s", peer={}, memory=0.5)
    assert cells(page[0]) == [[summary.ROWS["decode"], "0.28 core-s", "–", "–", "–", "0.50"]]


def test_rows_are_renewed_alone_and_keep_their_order(page):
    page, measured = page
    for key, seconds in (("encode", 1.0), ("l2_autoencoder", 2.0), ("ranking MSMT17", 3.0), ("encode", 4.0)):
        summary.record(key, seconds, "s", memory=1)
    assert [(row[0], row[1]) for row in cells(page)] == [
        (summary.ROWS["l2_autoencoder"], "2 s"),
        (summary.ROWS["ranking MSMT17"], "3 s"),
        (summary.ROWS["encode"], "4 s"),
    ]
    assert list(json.loads(measured.read_text(encoding="utf-8"))) == ["l2_autoencoder", "ranking MSMT17", "encode"]


def test_first_page_shows_the_rows_that_were_measured():
    text = summary.PAGE.read_text(encoding="utf-8")
    assert f"<!-- bench:begin -->\n{summary.table()}\n<!-- bench:end -->" in text


def test_contenders_begin_without_a_framework():
    """Whose memory and settings would be theirs."""
    program = "import sys, tests.benchmarks.contenders.measures; print({'keras', 'tensorflow'} & set(sys.modules))"
    assert run_python("-c", program, fresh=True)[0] == "set()\n"


def test_input_stall_is_what_a_step_takes_longer_than_from_memory():
    own = {"own": 0.1, "cached": 0.08, "own_cores": 0.1, "cores": 2}
    rows = input_stall_table({"a": own, "b": own | {"own_cores": 0.19}, "c": own | {"cached": 0.11}})
    assert [[cell.strip() for cell in row.strip("|").split("|")][2:] for row in rows.splitlines()[2:]] == [
        ["100.0", "80.0", "20", "input; cores 50 % busy"],
        ["100.0", "80.0", "20", "cores, shared with the input; cores 95 % busy"],
        ["100.0", "110.0", "0", "computation; cores 50 % busy"],
    ]
