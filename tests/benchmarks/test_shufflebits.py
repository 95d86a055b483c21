"""Encrypting features beside copying them and beside standard ciphers; `make bench` on an idle machine."""

import json

import pytest

from common import report
from tests.benchmarks import summary
from tests.benchmarks.shufflebits_contenders import CONTENDERS
from tests.helpers import ROOT, run_python

ROWS = {"16 MiB": 2048, "256 MiB": 32_768}


@pytest.mark.bench
def test_encryption_speed():
    """Each contender in a process of its own; the fastest of its runs, in GB/s of features."""
    found, peaks = {}, {}
    for name in CONTENDERS:
        for size, rows in ROWS.items():
            out, _ = run_python("-m", "tests.benchmarks.shufflebits_contenders", name, str(rows))
            value = json.loads(out.splitlines()[-1])
            found[name, size], peaks[name, size] = value["gigabytes_per_second"], value["peak"]
    cells = [
        [name, *(f"{speed:.3g}" for size in ROWS for speed in (found[name, size], _ratio(found, name, size)))]
        for name in CONTENDERS
    ]
    columns = [column for size in ROWS for column in (f"{size} (GB/s)", "/ AES-128-CTR")]
    table = report.table(["by", *columns], cells)
    print(f"\n{table}")
    report.update_between(ROOT / "shufflebits/README.md", "speed", table)
    for key, threads in (("encryption, 1 thread", "1 thread"), ("encryption", "all threads")):
        ours = f"array path, {threads}", "256 MiB"
        summary.record(
            key,
            found[ours],
            "GB/s",
            straightforward={"number by number": found["number by number", "256 MiB"]},
            peer={name: found[name, "256 MiB"] for name in ("AES-128-CTR", "ChaCha20")},
            memory=peaks[ours],
            rate=True,
        )
    for size in ROWS:
        assert found["array path, all threads", size] >= found["AES-128-CTR", size]
        assert found["array path, 1 thread", size] >= 1000 * found["number by number", size]
    # For larger batches TensorFlow's fresh memory costs more than any cipher: see the row of the addition.
    assert found["layer, XLA, all threads", "16 MiB"] >= 0.4 * found["array path, all threads", "16 MiB"]
    assert found["layer, XLA, 1 thread", "16 MiB"] >= 1000 * found["number by number", "16 MiB"]


def _ratio(found, name, size):
    return found[name, size] / found["AES-128-CTR", size]
