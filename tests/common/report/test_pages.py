from pathlib import Path

import pytest

from common.report.pages import Finding, command, renew, verdict
from common.statistics import Interval
from tests.helpers import empty_pages


@pytest.mark.parametrize(
    ("low", "high", "expected", "said"),
    [
        (0.01, 0.02, "higher", "holds"),
        (-0.02, -0.01, "higher", "does not hold"),
        (-0.01, 0.02, "higher", "undecided"),
        (-0.02, -0.01, "lower", "holds"),
        (0.01, 0.02, "lower", "does not hold"),
        (0.01, 0.02, "not lower", "holds"),
        (-0.01, 0.02, "not lower", "undecided"),
        (-0.02, -0.01, "not lower", "does not hold"),
    ],
)
def test_a_verdict_is_what_the_interval_says(low, high, expected, said):
    interval = Interval((low + high) / 2, low, high)
    assert verdict(interval, 3, expected) == said
    assert verdict(interval, 1, expected) == "undecided: one training"


def test_pages_have_the_claims_and_the_tables(tmp_path: Path):
    results = empty_pages(tmp_path)
    claims = [Finding("a beats b", "holds", "+1", "x", "`make y`"), Finding.not_run("c beats d", "x", "`make z`")]
    renew(tmp_path, claims, ["**One**", "", "**Two**"])
    lines = (tmp_path / "README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[3:-1]]
    assert rows == [["a beats b", "holds", "+1", "x", "`make y`"], ["c beats d", "not run", "–", "x", "`make z`"]]
    assert results.read_text() == "<!-- results:begin -->\n**One**\n\n**Two**\n<!-- results:end -->\n"


def test_a_command_has_what_differs_from_the_preset():
    config = {"seeds": [0, 1], "batch_size": 64}
    run = {"preset": "market1501_adaptive", "changed": ["seeds", "batch_size"], "config": config}
    assert command("a", "x", run) == '`make train-a PRESET=market1501_adaptive ARGS="--seeds 0 1 --batch-size 64"`'
    assert command("a", "demo", {"preset": "demo", "changed": [], "config": config}) == "`make train-a`"
    assert command("a", "big") == "`make train-a PRESET=big`"
