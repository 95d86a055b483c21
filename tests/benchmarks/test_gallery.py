"""A gallery of a million exemplars beside the common ways; `make bench` on an otherwise idle machine."""

import importlib.util
import json

import pytest

from common import report
from tests.benchmarks import summary
from tests.benchmarks.gallery_contenders import ADDED, BATCH, CONTENDERS
from tests.helpers import ROOT, start_python

SIZES = {256: 1_000_000, 2048: 200_000}  # numbers of a feature -> exemplars
README = ROOT / "vehicle_attributes/README.md"


def measure(name, number, width, folder):
    """The file is written by one process and used by another."""
    for mode in ("--prepare", "--measure"):
        arguments = (name, str(number), str(width), str(folder), mode)
        process = start_python("-m", "tests.benchmarks.gallery_contenders", *arguments)
        out, err = process.communicate(timeout=1800)
        assert process.returncode == 0, err
    for file in folder.iterdir():
        file.unlink()
    return json.loads(out.splitlines()[-1])


def speed_table(found):
    """found: (contender, width) -> what it printed."""
    rows = []
    for (name, width), value in found.items():
        ours = found["`gallery`", width]
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
    return report.table([*columns, "open (s)", "memory (GiB)", "peak (GiB)"], rows)


@pytest.mark.bench
def test_gallery_speed(tmp_path):
    names = [name for name in CONTENDERS if "faiss" not in name or importlib.util.find_spec("faiss")]
    found = {(name, width): measure(name, number, width, tmp_path) for width, number in SIZES.items() for name in names}
    table = speed_table(found)
    print(f"\n{table}")
    report.update_between(README, "gallery", table)
    for width in SIZES:
        queries = {name: 1e3 * found[name, width]["query"] for name in names}
        summary.record(
            f"gallery {width}",
            queries["`gallery`"],
            "ms",
            straightforward={name: queries[f"{name}; npz"] for name in ("NumPy, sorted", "scikit-learn")},
            peer={name: value for name, value in queries.items() if name == "faiss, float32"},
            memory=found["`gallery`", width]["peak"],
        )
    for (name, width), value in found.items():
        assert "not exact" in name or value["answers"] == found["`gallery`", width]["answers"], name
