"""Speed and memory of ranking and re-ranking next to the common ways; `make bench` on an otherwise idle machine."""

import pytest

from common.report import tables
from tests.benchmarks import contender, summary
from tests.benchmarks.contenders.retrieval import CONTENDERS, PART, SIZES

RESULTS = "adaptive_l2/RESULTS.md"


def ranking_table(measured):
    """measured: (contender, size) -> what it printed."""
    rows = []
    for size, (num_queries, num_gallery, *_) in SIZES.items():
        ours, plain = measured["ranking_ours", size], measured["ranking_plain", size]
        shape, scaled = f"{size}, {num_queries:,} × {num_gallery:,}", "" if size == "Market-1501" else " *"
        rows += [
            [
                shape,
                "matrix product alone",
                f"{ours['product_cpu']:.2f}",
                f"{ours['product_wall']:.2f}",
                None,
                None,
                None,
            ],
            [shape, "`score`", *_cells(ours), _share(ours["ranking_cpu"] / ours["product_cpu"]), f"{ours['peak']:.2f}"]
            + [f"{ours['map']:.7f}"],
            [shape, f"whole matrix, `argsort`{scaled}", *_cells(plain)]
            + [_share(plain["ranking_cpu"] / ours["product_cpu"])]
            + ([f"{plain['peak']:.2f}", f"{plain['map']:.7f}"] if not scaled else [None, None]),
        ]
    columns = ["size", "computation", "CPU s", "wall s", "ranking / matrix product", "peak memory (GiB)", "mAP"]
    note = f"\n\n\\* {PART} queries measured, seconds scaled to all; the whole matrix alone would be 3.6 GiB."
    return tables.table(columns, rows) + note


def reranking_table(measured):
    """measured: as above."""
    rows = []
    for (name, size), value in measured.items():
        plain = measured.get(("reranking_plain", size))
        ratio = None if plain is None else f"{value['cpu'] / plain['cpu']:.2f}"
        title = "`rerank`" if name == "reranking_ours" else "common NumPy version"
        images = f"{size}, {sum(SIZES[size][:2]):,} images"
        rows.append([images, title, *_cells(value), ratio, f"{value['peak']:.2f}", f"{value['map']:.7f}"])
    return tables.table(["size", "computation", "CPU s", "wall s", "CPU ratio", "peak memory (GiB)", "mAP"], rows)


def _cells(value):
    return [f"{value['cpu']:.2f}", f"{value['wall']:.2f}"]


def _share(value):
    return f"{100 * value:.1f} %"


@pytest.mark.bench
def test_ranking_speed():
    names = [name for name in CONTENDERS if name.startswith("ranking")]
    measured = {(name, size): contender.measure("retrieval", name, size) for size in SIZES for name in names}
    table = ranking_table(measured)
    contender.show(RESULTS, "ranking-speed", table)
    for size in SIZES:
        ours, plain = measured["ranking_ours", size], measured["ranking_plain", size]
        name = "`argsort`" if size == "Market-1501" else f"`argsort`, scaled from {PART} queries"
        others = {name: plain["wall"]}
        summary.record(f"ranking {size}", ours["wall"], "s", straightforward=others, memory=ours["peak"])


@pytest.mark.bench
def test_reranking_speed():
    runs = [("reranking_plain", "Market-1501"), ("reranking_ours", "Market-1501"), ("reranking_ours", "MSMT17")]
    measured = {(name, size): contender.measure("retrieval", name, size) for name, size in runs}
    table = reranking_table(measured)
    contender.show(RESULTS, "reranking-speed", table)
    plain, ours = (measured[key] for key in runs[:2])
    others = {"whole matrices": plain["wall"]}
    summary.record("re-ranking", ours["wall"], "s", straightforward=others, memory=ours["peak"])
