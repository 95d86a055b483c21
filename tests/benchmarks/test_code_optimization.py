"""The two ways of optimizing codes at inference; `make bench` on an idle machine."""

import pytest

from common.report import tables
from neural_compression.codec import MODEL
from tests.benchmarks import contender, summary
from tests.benchmarks.contenders.code_optimization import CONTENDERS

STEPS = (10, 25, 50, 100)


@pytest.mark.bench
@pytest.mark.skipif(not MODEL.is_file(), reason="needs the trained codec")
def test_code_optimization():
    """Each contender runs in processes of its own; the table goes into the project's RESULTS."""
    bits, encoder = CONTENDERS
    runs = [(bits, None), *((encoder, steps) for steps in STEPS)]  # the search of bits ends where no flip helps
    measured = {(name, steps): contender.measure("code_optimization", name, steps or 1) for name, steps in runs}
    rows = [
        [name, steps, f"{value['s_per_megapixel']:.1f}", f"{value['gain_db']:.2f}"]
        for (name, steps), value in measured.items()
    ]
    table = tables.table(["what is optimized", "steps", "s per megapixel", "gain in PSNR (dB)"], rows)
    contender.show("neural_compression/RESULTS.md", "optimization", table)
    ours, publication = measured[bits, None], measured[encoder, 50]
    seconds, others = ours["s_per_megapixel"], {"by the encoder, 50 steps": publication["s_per_megapixel"]}
    summary.record("optimization", seconds, "s/megapixel", straightforward=others, memory=ours["peak"])
    assert seconds < publication["s_per_megapixel"] / 2
