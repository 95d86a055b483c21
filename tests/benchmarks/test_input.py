"""Speed of the input pipeline next to the usual one; `make bench` on an idle machine."""

import statistics

import pytest

from common.report import tables
from common.synthetic.people import draw_people
from tests.benchmarks import contender, summary
from tests.benchmarks.contenders.input import CONTENDERS

REPEATS = 3


@pytest.mark.bench
def test_input_speed(tmp_path):
    """Each contender runs in processes of its own; the table of medians goes into the project's RESULTS."""
    folder = draw_people(tmp_path) / "bounding_box_train"
    measured = {name: [] for name in CONTENDERS}
    for _ in range(REPEATS):
        for name, values in measured.items():
            values.append(contender.measure("input", name, folder))
    assert all(value["images"] == 1000 for values in measured.values() for value in values)
    medians = {
        name: [statistics.median(value[key] for value in values) for key in ("per_cpu_second", "per_second")]
        for name, values in measured.items()
    }
    usual = medians["PIL, normalized float32"][0]
    rows = [[name, f"{cpu:.0f}", f"{cpu / usual:.1f}", f"{clock:.0f}"] for name, (cpu, clock) in medians.items()]
    table = tables.table(["input pipeline", "images per CPU second", "ratio", "images per second"], rows)
    contender.show("adaptive_l2/RESULTS.md", "input-speed", table)
    ours, peak = medians["ours, uint8 to the model"][0], max(v["peak"] for v in measured["ours, uint8 to the model"])
    summary.record("input", ours, "images/core-s", straightforward={"PIL": usual}, memory=peak, rate=True)
    assert ours >= 2 * usual
