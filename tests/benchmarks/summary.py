"""The first table of docs/benchmarks.md: what matters of each benchmark, as it was measured last."""

import json
from collections.abc import Mapping
from pathlib import Path

from common.files import write_json
from common.report import tables
from tests.children import ROOT

PAGE, MEASURED = ROOT / "docs/benchmarks.md", Path(__file__).with_name("summary.json")
COLUMNS = ("what", "ours", "straightforward", "peer", "ours / best other", "peak memory of ours (GiB)")
# Key -> what is measured, in the order of the table.
ROWS = {
    "l2_autoencoder": "training of l2_autoencoder, an epoch of MNIST",
    "flipreid": "training of a ResNet50, 256×128 pixels",
    "embedding": "embedding by a ResNet50, 256×128 pixels",
    "input": "training images decoded, resized and augmented",
    "ranking Market-1501": "ranking at the size of Market-1501",
    "ranking MSMT17": "ranking at the size of MSMT17",
    "re-ranking": "re-ranking at the size of Market-1501",
    "gallery 256": "query of 1,000,000 exemplars of 256 numbers",
    "gallery 2048": "query of 200,000 exemplars of 2,048 numbers",
    "encryption, 1 thread": "encryption of 256 MiB of features, one thread",
    "encode": "photograph of 768×512 pixels to bytes",
    "decode": "bytes to a photograph of 768×512 pixels",
    "optimization": "code optimization, per megapixel",
}


def record(
    key: str,
    ours: float,
    unit: str,
    *,
    straightforward: Mapping[str, float] | None = None,
    peer: Mapping[str, float] | None = None,
    memory: float,
    rate: bool = False,
) -> None:
    """Renews a row of the table; the other rows stay as they were measured.

    Args:
        key: of `ROWS`.
        ours: what was measured.
        unit: of all that was measured.
        straightforward: name in a word or two -> the same of straightforward ways, of which the fastest is shown.
        peer: likewise of other tools; none where they are not installed.
        memory: the peak of ours, GiB.
        rate: whether more is faster, as of images per second.
    """
    best = max if rate else min
    cells, others = [_cell(ours, unit)], []
    for group in (straightforward or {}, peer or {}):
        name = best(group, key=group.get, default=None)
        cells.append(None if name is None else f"{_cell(group[name], unit)} ({name})")
        others += group.values()
    shown = None
    if others:
        ratio = best(others) / ours if rate else ours / best(others)
        shown = f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.1g}"
    rows = measured() | {key: [*cells, shown, f"{memory:.2f}"]}
    write_json(MEASURED, {key: rows[key] for key in ROWS if key in rows})
    tables.update_between(PAGE, "bench", table())


def measured() -> dict[str, list[str | None]]:
    """Key -> cells of the rows that were measured."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def table() -> str:
    """The rows that were measured, in the order of `ROWS`."""
    rows = measured()
    return tables.table(COLUMNS, [[what, *rows[key]] for key, what in ROWS.items() if key in rows])


def _cell(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
