"""What share of a training step is input stall; `make bench ARGS="-k input_stall"` on an otherwise idle machine."""

import pytest

from common.report import tables
from tests.benchmarks import contender
from tests.benchmarks.contenders.input_stall import PRESET
from tests.children import PROJECTS

COLUMNS = ("project", "preset", "ms per step", "ms per step from memory", "input stall (%)", "what bounds it")


def input_stall_table(measured):
    """measured: project -> what the contender printed."""
    rows = []
    for project, value in measured.items():
        share = max(0, 1 - value["cached"] / value["own"])
        cells = [f"{1e3 * value[name]:.1f}" for name in ("own", "cached")]
        rows.append([project, PRESET, *cells, f"{100 * share:.0f}", bound(share, value)])
    return tables.table(COLUMNS, rows)


def bound(share, value):
    """All cores busy while data are late: computing and reading share them; else reading is slow by itself."""
    busy = value["own_cores"] / (value["own"] * value["cores"])
    late = "cores, shared with the input" if busy > 0.9 else "input"
    return f"{'computation' if share < 0.05 else late}; cores {100 * busy:.0f} % busy"


@pytest.mark.bench
def test_input_stall():
    measured = {project: contender.measure("input_stall", project) for project in PROJECTS}
    contender.show("docs/benchmarks.md", "input-stall", input_stall_table(measured))
