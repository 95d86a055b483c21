"""Speed of the input pipeline beside the usual one; `make bench` on an idle machine."""

import json
import statistics

import pytest

from common import report
from common.datasets.people import draw_people
from tests.benchmarks import summary
from tests.benchmarks.input_contenders import CONTENDERS
from tests.helpers import ROOT, run_python

REPEATS = 3


@pytest.mark.bench
def test_input_speed(tmp_path):
    """Each contender runs in processes of its own; the table of medians goes into the project's README."""
    folder = draw_people(tmp_path) / "bounding_box_train"
    found = {name: [] for name in CONTENDERS}
    for _ in range(REPEATS):
        for name, values in found.items():
            out, _ = run_python("-m", "tests.benchmarks.input_contenders", name, str(folder))
            values.append(json.loads(out.splitlines()[-1]))
    assert all(value["images"] == 1000 for values in found.values() for value in values)
    medians = {
        name: [statistics.median(value[key] for value in values) for key in ("per_cpu_second", "per_second")]
        for name, values in found.items()
    }
    usual = medians["PIL, normalised float32"][0]
    rows = [[name, f"{cpu:.0f}", f"{cpu / usual:.1f}", f"{clock:.0f}"] for name, (cpu, clock) in medians.items()]
    table = report.table(["input pipeline", "images per CPU second", "ratio", "images per second"], rows)
    print(f"\n{table}")
    report.update_between(ROOT / "adaptive_l2/README.md", "input-speed", table)
    ours, peak = medians["ours, uint8 to the model"][0], max(v["peak"] for v in found["ours, uint8 to the model"])
    summary.record("input", ours, "images/core-s", straightforward={"PIL": usual}, memory=peak, rate=True)
    assert ours >= 2 * usual
