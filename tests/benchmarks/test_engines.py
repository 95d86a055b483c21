"""Engines for the nearest exemplars of large galleries; `make bench` on an otherwise idle machine.

SIZES="1000000x256 10000000x256" chooses sizes, FEATURES=file.npy embeddings of a network.
"""

import os

import pytest

from common.report import tables
from tests.benchmarks import contender
from tests.benchmarks.contenders.engines import ENGINES, RECALLS

SIZES = os.environ.get("SIZES", "1000000x256").split()


def engines_table(measured):
    """measured: (engine, size) -> what it printed."""
    rows = []
    for (name, size), value in measured.items():
        cells = []
        for recall in RECALLS:
            one = value.get(f"{recall}")
            cells += [f"{1e3 * one[clock]:.1f}" for clock in ("wall", "cpu")] if one else [None, None]
        number, width = size.split("x")
        rows.append([f"{int(number):,} × {width}", name, *cells, f"{value['memory']:.2f}", f"{value['build']:.0f}"])
    times = [f"ms at recall {recall}{clock}" for recall in RECALLS for clock in ("", ", CPU")]
    return tables.table(["exemplars", "by", *times, "memory (GiB)", "build (s)"], rows)


@pytest.mark.bench
def test_engines(tmp_path):
    pytest.importorskip("faiss")  # or there is nothing to compare with
    measured = {}
    given = ["--features", os.environ["FEATURES"]] if "FEATURES" in os.environ else []
    names = contender.installed(ENGINES)
    if "MILVUS" not in os.environ:  # the embedded file is written for small galleries
        names = [name for name in names if "Milvus" not in name]
    for size in SIZES:
        number, width = size.split("x")
        folder = tmp_path / size
        folder.mkdir()
        for name in names:
            built = contender.measure("engines", name, number, width, folder, "--prepare", *given)
            value = contender.measure("engines", name, number, width, folder, *given)
            measured[name, size] = {**value, "build": built["build"]}
    contender.show("docs/gallery.md", "engines", engines_table(measured))
    for size in SIZES:
        ours, flat = (measured[name, size]["1.0"]["cpu"] for name in list(ENGINES)[:2])
        assert ours <= flat
