"""Training and embedding with ResNet50 beside PyTorch; `make bench` on an idle machine."""

import importlib.util
import json

import pytest

from common import report
from tests.benchmarks import summary
from tests.benchmarks.flipreid_contenders import EMBEDDING, FLIPREID, TRAINING
from tests.helpers import ROOT, run_python


@pytest.mark.bench
def test_training_and_embedding_speed():
    """Each contender runs in a process of its own; the table goes into the project's README.

    Ratios are to the faster one of PyTorch's float32 runs, of two passes to one pass.
    """
    has_torch = importlib.util.find_spec("torch") is not None
    rows = []
    for kind, contenders in (("train", TRAINING), ("train", FLIPREID), ("embed", EMBEDDING)):
        found = {}
        for name in contenders:
            if has_torch or "PyTorch" not in name:
                out, _ = run_python("-m", "tests.benchmarks.flipreid_contenders", f"{kind}: {name}")
                found[name] = json.loads(out.splitlines()[-1])
                print(kind, name, found[name])
        # Other ones compute in bfloat16.
        peers = {n: v["per_second"] for n, v in found.items() if n in ("PyTorch", "PyTorch, channels last")}
        unit = max(peers.values()) if peers else next(iter(found.values()))["per_second"]
        rows += [
            [kind, name, f"{v['per_second']:.1f}", f"{v['per_second'] / unit:.2f}", f"{v['peak_gib']:.2f}"]
            for name, v in found.items()
        ]
        if "ours" in found:
            ours = found["ours"]
            key, memory = "flipreid" if kind == "train" else "embedding", ours["peak_gib"]
            summary.record(key, ours["per_second"], "images/s", peer=peers, memory=memory, rate=True)
    table = report.table(["work", "by", "images per second", "ratio", "peak memory (GiB)"], rows)
    print(f"\n{table}")
    report.update_between(ROOT / "flipreid/README.md", "speed", table)
