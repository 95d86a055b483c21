"""The time that an image takes, next to the networks of a learned codec; `make bench` on an otherwise idle machine."""

import pytest

from common.report import tables
from neural_compression.codec import MODEL
from tests.benchmarks import contender, summary
from tests.benchmarks.contenders.codec import CONTENDERS, SHAPE


@pytest.mark.bench
@pytest.mark.skipif(not MODEL.is_file(), reason="needs the trained codec")
def test_codec_speed():
    measured = {name: contender.measure("codec", name) for name in contender.installed(CONTENDERS)}
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
        for name, value in measured.items()
    ]
    columns = ["codec", "encode (core-s)", "Mpixel/core-s", "decode (core-s)", "Mpixel/core-s", "peak (GiB)"]
    table = tables.table(columns, rows)
    contender.show("neural_compression/RESULTS.md", "speed", table)
    ours = measured["ours, file to file"]
    for key in ("encode", "decode"):
        others = {name: value[key] for name, value in measured.items() if "PyTorch" in name}
        peers = {name.split(",")[0] + "'s networks": seconds for name, seconds in others.items()}
        summary.record(key, ours[key], "core-s", peer=peers, memory=ours["peak"])
