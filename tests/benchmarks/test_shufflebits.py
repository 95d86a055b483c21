"""Encrypting features next to copying them and to standard ciphers; `make bench` on an idle machine."""

import pytest

from common.report import tables
from tests.benchmarks import contender, summary
from tests.benchmarks.contenders.shufflebits import CONTENDERS

ROWS = {"16 MiB": 2048, "256 MiB": 32_768}


@pytest.mark.bench
def test_encryption_speed():
    """Each contender in a process of its own; the fastest of its runs, in GB/s of features."""
    speeds, peaks = {}, {}
    for name in CONTENDERS:
        for size, rows in ROWS.items():
            value = contender.measure("shufflebits", name, rows)
            speeds[name, size], peaks[name, size] = value["gigabytes_per_second"], value["peak"]
    cells = [
        [name, *(cell for size in ROWS for cell in (f"{speeds[name, size]:.3g}", _ratio(speeds, name, size)))]
        for name in CONTENDERS
    ]
    columns = [column for size in ROWS for column in (f"{size} (GB/s)", "/ AES-128-CTR")]
    table = tables.table(["by", *columns], cells)
    contender.show("shufflebits/RESULTS.md", "speed", table)
    ours = "array path, 1 thread", "256 MiB"
    summary.record(
        "encryption, 1 thread",
        speeds[ours],
        "GB/s",
        straightforward={"number by number": speeds["number by number", "256 MiB"]},
        peer={name: speeds[name, "256 MiB"] for name in ("AES-128-CTR", "ChaCha20")},
        memory=peaks[ours],
        rate=True,
    )
    for size in ROWS:
        assert speeds["array path, 1 thread", size] >= 0.5 * speeds["AES-128-CTR", size]
        assert speeds["array path, 1 thread", size] >= 1000 * speeds["number by number", size]
    # For larger batches TensorFlow's fresh memory costs more than any cipher: see the row of the addition.
    assert speeds["layer, XLA, all threads", "16 MiB"] >= 0.4 * speeds["array path, all threads", "16 MiB"]
    assert speeds["layer, XLA, 1 thread", "16 MiB"] >= 1000 * speeds["number by number", "16 MiB"]


def _ratio(speeds, name, size):
    """To the library's cipher on one thread, where the other one has one thread too."""
    return None if "all threads" in name else f"{speeds[name, size] / speeds['AES-128-CTR', size]:.3g}"
