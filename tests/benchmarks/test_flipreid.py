"""Training and embedding with ResNet50 next to PyTorch; `make bench` on an idle machine."""

import pytest

from common.report import tables
from tests.benchmarks import contender, summary
from tests.benchmarks.contenders.flipreid import EMBEDDING, FLIPREID, TRAINING


@pytest.mark.bench
def test_training_and_embedding_speed():
    """Each contender runs in a process of its own; the table goes into the project's RESULTS.

    Ratios are to the faster one of PyTorch's float32 runs, of two passes to one pass.
    """
    rows = []
    for kind, ways in (("train", TRAINING), ("train", FLIPREID), ("embed", EMBEDDING)):
        measured = {name: contender.measure("flipreid", f"{kind}: {name}") for name in contender.installed(ways)}
        # Other ones compute in bfloat16.
        peers = {n: v["per_second"] for n, v in measured.items() if n in ("PyTorch", "PyTorch, channels last")}
        unit = max(peers.values()) if peers else next(iter(measured.values()))["per_second"]
        rows += [
            [kind, name, f"{v['per_second']:.1f}", f"{v['per_second'] / unit:.2f}", f"{v['peak']:.2f}"]
            for name, v in measured.items()
        ]
        if "ours" in measured:
            ours = measured["ours"]
            key, memory = "flipreid" if kind == "train" else "embedding", ours["peak"]
            summary.record(key, ours["per_second"], "images/s", peer=peers, memory=memory, rate=True)
    table = tables.table(["work", "by", "images per second", "ratio", "peak memory (GiB)"], rows)
    contender.show("flipreid/RESULTS.md", "speed", table)
