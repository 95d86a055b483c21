"""The time that an image takes, beside the networks of a learned codec; `make bench` on an otherwise idle machine."""

import importlib.util
import json

import pytest

from common import report
from tests.benchmarks import summary
from tests.benchmarks.codec_contenders import CONTENDERS, MODEL, SHAPE
from tests.helpers import ROOT, run_python


@pytest.mark.bench
@pytest.mark.skipif(not MODEL.is_file(), reason="needs the trained codec")
def test_codec_speed():
    names = [name for name in CONTENDERS if "PyTorch" not in name or importlib.util.find_spec("torch")]
    found = {
        name: json.loads(run_python("-m", "tests.benchmarks.codec_contenders", name)[0].splitlines()[-1])
        for name in names
    }
    pixels = SHAPE[0] * SHAPE[1] / 1e6
    rows = [
        [
            name,
            f"{value['encode']:.2f}",
            f"{pixels / value['encode']:.2f}",
            f"{value['decode']:.2f}",
            f"{pixels / value['decode']:.2f}",
            f"{value['peak']:.2f}",
        ]
        for name, value in found.items()
    ]
    columns = ["codec", "encode (core-s)", "Mpixel/core-s", "decode (core-s)", "Mpixel/core-s", "peak (GiB)"]
    table = report.table(columns, rows)
    print(f"\n{table}")
    report.update_between(ROOT / "neural_compression/README.md", "speed", table)
    ours = found["ours, file to file"]
    for key in ("encode", "decode"):
        peers = {name.split(",")[0] + "'s networks": value[key] for name, value in found.items() if "PyTorch" in name}
        summary.record(key, ours[key], "core-s", peer=peers, memory=ours["peak"])
