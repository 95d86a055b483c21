"""A gallery of a million exemplars next to the common ways; `make bench` on an otherwise idle machine."""

import pytest

from common.report import tables
from tests.benchmarks import contender, summary
from tests.benchmarks.contenders.gallery import ADDED, BATCH, CONTENDERS

SIZES = {256: 1_000_000, 2048: 200_000}  # numbers of a feature -> exemplars


def measure(name, number, width, folder):
    """The file is written by one process and used by another."""
    contender.measure("gallery", name, number, width, folder, "--prepare")
    values = contender.measure("gallery", name, number, width, folder)
    for file in folder.iterdir():
        file.unlink()
    return values


def speed_table(measured):
    """measured: (contender, width) -> what it printed."""
    rows = []
    for (name, width), value in measured.items():
        ours = measured["`gallery`", width]
        rows.append(
            [
                f"{SIZES[width]:,} × {width}",
                name,
                f"{1e3 * value['query']:.1f}",
                f"{value['query'] / ours['query']:.1f}",
                f"{1e3 * value['batch']:.1f}",
                f"{1e3 * value['add']:.1f}",
                f"{value['open']:.2f}",
                f"{value['memory']:.2f}",
                f"{value['peak']:.2f}",
            ]
        )
    columns = ["exemplars", "by", "query (ms)", "/ `gallery`", f"query of {BATCH} (ms each)", f"add {ADDED} (ms)"]
    return tables.table([*columns, "open (s)", "memory (GiB)", "peak (GiB)"], rows)


@pytest.mark.bench
def test_gallery_speed(tmp_path):
    names = contender.installed(CONTENDERS)
    measured = {
        (name, width): measure(name, number, width, tmp_path) for width, number in SIZES.items() for name in names
    }
    table = speed_table(measured)
    contender.show("docs/gallery.md", "gallery", table)
    for width in SIZES:
        queries = {name: 1e3 * measured[name, width]["query"] for name in names}
        summary.record(
            f"gallery {width}",
            queries["`gallery`"],
            "ms",
            straightforward={name: queries[f"{name}; npz"] for name in ("NumPy, sorted", "scikit-learn")},
            peer={name: value for name, value in queries.items() if name == "faiss, float32"},
            memory=measured["`gallery`", width]["peak"],
        )
    for (name, width), value in measured.items():
        assert "not exact" in name or value["answers"] == measured["`gallery`", width]["answers"], name
