"""The two ways of optimising codes at inference, at equal steps; `make bench` on an idle machine."""

import json

import pytest

from common import report
from tests.benchmarks import summary
from tests.benchmarks.optimise_contenders import CONTENDERS, SHIPPED
from tests.helpers import ROOT, run_python

STEPS = (10, 25, 50, 100)


@pytest.mark.bench
@pytest.mark.skipif(not SHIPPED.is_file(), reason="needs the trained codec")
def test_code_optimisation():
    """Each contender runs in processes of its own; the table goes into the project's README."""
    found = {}
    for steps in STEPS:
        for name in CONTENDERS:
            out, _ = run_python("-m", "tests.benchmarks.optimise_contenders", name, str(steps))
            found[name, steps] = json.loads(out.splitlines()[-1])
    rows = [
        [name, str(steps), f"{value['s_per_megapixel']:.1f}", f"{value['gain_db']:.2f}"]
        for (name, steps), value in found.items()
    ]
    table = report.table(["what is optimised", "steps", "s per megapixel", "gain in PSNR (dB)"], rows)
    print(f"\n{table}")
    readme = ROOT / "neural_compression/README.md"
    if readme.is_file() and "<!-- optimise:begin -->" in readme.read_text(encoding="utf-8"):
        report.update_between(readme, "optimise", table)
    ours, publication = (found[name, 50] for name in CONTENDERS)
    seconds, others = ours["s_per_megapixel"], {"block by block": publication["s_per_megapixel"]}
    summary.record("optimisation", seconds, "s/megapixel", straightforward=others, memory=ours["peak"])
    assert seconds < publication["s_per_megapixel"] / 2
