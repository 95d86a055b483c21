"""Training speed of the convolutional autoencoder next to plain Keras and PyTorch; `make bench` on an idle machine."""

import pytest

from common.report import tables
from tests.benchmarks import contender, summary
from tests.benchmarks.contenders.l2_autoencoder import CONTENDERS


@pytest.mark.bench
def test_training_speed():
    """Each contender trains in a process of its own; the table goes into the project's RESULTS."""
    measured = {name: contender.measure("l2_autoencoder", name) for name in contender.installed(CONTENDERS)}
    fastest = min(value["seconds"] for name, value in measured.items() if not name.startswith("ours"))
    rows = [
        [name, f"{value['seconds']:.1f}", f"{value['seconds'] / fastest:.2f}", f"{value['peak']:.2f}"]
        for name, value in measured.items()
    ]
    table = tables.table(["training", "s per MNIST epoch", "ratio to the fastest other", "peak memory (GiB)"], rows)
    contender.show("l2_autoencoder/RESULTS.md", "speed", table)
    seconds = {name: value["seconds"] for name, value in measured.items()}
    summary.record(
        "l2_autoencoder",
        seconds["ours"],
        "s",
        straightforward={name: value for name, value in seconds.items() if name.startswith("Keras")},
        peer={name: value for name, value in seconds.items() if name.startswith("PyTorch")},
        memory=measured["ours"]["peak"],
    )
