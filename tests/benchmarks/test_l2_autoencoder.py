"""Training speed of the convolutional autoencoder beside plain Keras and PyTorch; `make bench` on an idle machine."""

import importlib.util
import json

import pytest

from common import report
from tests.benchmarks import summary
from tests.benchmarks.l2_autoencoder_contenders import CONTENDERS
from tests.helpers import ROOT, run_python


@pytest.mark.bench
def test_training_speed():
    """Each contender trains in a process of its own; the table goes into the project's README."""
    found = {}
    for name in CONTENDERS:
        if "PyTorch" in name and importlib.util.find_spec("torch") is None:
            continue
        out, _ = run_python("-m", "tests.benchmarks.l2_autoencoder_contenders", name)
        found[name] = json.loads(out.splitlines()[-1])
    fastest = min(value["seconds"] for name, value in found.items() if not name.startswith("ours"))
    rows = [
        [name, f"{value['seconds']:.1f}", f"{value['seconds'] / fastest:.2f}", f"{value['peak_gib']:.2f}"]
        for name, value in found.items()
    ]
    table = report.table(["training", "s per MNIST epoch", "ratio to the fastest other", "peak memory (GiB)"], rows)
    print(f"\n{table}")
    report.update_between(ROOT / "l2_autoencoder/README.md", "speed", table)
    seconds = {name: value["seconds"] for name, value in found.items()}
    summary.record(
        "l2_autoencoder",
        seconds["ours"],
        "s",
        straightforward={name: value for name, value in seconds.items() if name.startswith("Keras")},
        peer={name: value for name, value in seconds.items() if name.startswith("PyTorch")},
        memory=found["ours"]["peak_gib"],
    )
