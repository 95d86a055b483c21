"""What share of a training step waits for data; `make bench ARGS="-k waiting"` on an otherwise idle machine."""

import json

import pytest

from common import report
from tests.benchmarks.waiting_contenders import PRESET
from tests.helpers import ROOT, run_python
from tests.test_repository import PROJECTS

COLUMNS = ("project", "preset", "ms per step", "ms per step from memory", "waiting (%)", "what bounds it")


def waiting_table(found):
    """found: project -> what the contender printed."""
    rows = []
    for project, value in found.items():
        share = max(0, 1 - value["kept"] / value["own"])
        cells = [f"{1e3 * value[name]:.1f}" for name in ("own", "kept")]
        rows.append([project, PRESET, *cells, f"{100 * share:.0f}", bound(share, value)])
    return report.table(COLUMNS, rows)


def bound(share, value):
    """All cores busy while data are late: computing and reading share them; else reading is slow by itself."""
    busy = value["own_cores"] / (value["own"] * value["cores"])
    late = "cores, shared with the input" if busy > 0.9 else "input"
    return f"{'computation' if share < 0.05 else late}; cores {100 * busy:.0f} % busy"


@pytest.mark.bench
def test_waiting():
    found = {}
    for project in PROJECTS:
        out, _ = run_python("-m", "tests.benchmarks.waiting_contenders", project)
        found[project] = json.loads(out.splitlines()[-1])
    table = waiting_table(found)
    print(f"\n{table}")
    report.update_between(ROOT / "README.md", "waiting", table)
