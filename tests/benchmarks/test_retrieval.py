"""Speed and memory of ranking and re-ranking beside the common ways; `make bench` on an otherwise idle machine."""

import json

import pytest

from common import report
from tests.benchmarks import summary
from tests.benchmarks.retrieval_contenders import CONTENDERS, PART, SIZES
from tests.helpers import ROOT, start_python

README = ROOT / "adaptive_l2/README.md"


def measure(name, size):
    """A contender in a process of its own; re-ranking at MSMT17 size takes minutes."""
    process = start_python("-m", "tests.benchmarks.retrieval_contenders", name, size)
    out, err = process.communicate(timeout=3600)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def ranking_table(found):
    """found: (contender, size) -> what it printed."""
    rows = []
    for size, (num_queries, num_gallery, *_) in SIZES.items():
        ours, plain = found["ranking_ours", size], found["ranking_plain", size]
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
    return report.table(columns, rows) + note


def reranking_table(found):
    """found: as above."""
    rows = []
    for (name, size), value in found.items():
        plain = found.get(("reranking_plain", size))
        ratio = None if plain is None else f"{value['cpu'] / plain['cpu']:.2f}"
        title = "`rerank`" if name == "reranking_ours" else "common NumPy version"
        images = f"{size}, {sum(SIZES[size][:2]):,} images"
        rows.append([images, title, *_cells(value), ratio, f"{value['peak']:.2f}", f"{value['map']:.7f}"])
    return report.table(["size", "computation", "CPU s", "wall s", "CPU ratio", "peak memory (GiB)", "mAP"], rows)


def _cells(value):
    return [f"{value['cpu']:.2f}", f"{value['wall']:.2f}"]


def _share(value):
    return f"{100 * value:.1f} %"


@pytest.mark.bench
def test_ranking_speed():
    found = {(name, size): measure(name, size) for size in SIZES for name in CONTENDERS if name.startswith("ranking")}
    table = ranking_table(found)
    print(f"\n{table}")
    report.update_between(README, "ranking-speed", table)
    for size in SIZES:
        ours, plain = found["ranking_ours", size], found["ranking_plain", size]
        name = "`argsort`" if size == "Market-1501" else f"`argsort`, scaled from {PART} queries"
        others = {name: plain["wall"]}
        summary.record(f"ranking {size}", ours["wall"], "s", straightforward=others, memory=ours["peak"])


@pytest.mark.bench
def test_reranking_speed():
    wanted = [("reranking_plain", "Market-1501"), ("reranking_ours", "Market-1501"), ("reranking_ours", "MSMT17")]
    found = {(name, size): measure(name, size) for name, size in wanted}
    table = reranking_table(found)
    print(f"\n{table}")
    report.update_between(README, "reranking-speed", table)
    plain, ours = (found[key] for key in wanted[:2])
    others = {"whole matrices": plain["wall"]}
    summary.record("re-ranking", ours["wall"], "s", straightforward=others, memory=ours["peak"])
