"""How time and memory grow; `make bench ARGS="-k scaling"` on an otherwise idle machine, in under four minutes."""

import pytest

from common.report import tables
from tests.benchmarks import contender

# Contender -> what it measures, how a size is written, and the sizes.
COSTS = {
    "ranking": ("ranking of 1,000 queries, 512 features", "{:,} images in the gallery", (5_000, 20_000, 80_000)),
    "embedding": ("embedding of 1,000 images, ResNet-50", "{} pixels high, half as wide", (128, 256, 384)),
    "triplet": ("batch-hard loss with its gradient, 2,048 features", "batch of {:,}", (64, 256, 1_024, 4_096)),
    "classifier": ("classifier's step, batch of 64, 2,048 features", "{:,} identities", (1_000, 10_000, 50_000)),
    "replicas": ("training step, small network, batch of 64", "{} replica(s) on the same cores", (1, 2)),
}


def scaling_table(measured):
    """measured: (contender, size) -> what it printed."""
    rows = []
    for name, (title, at, sizes) in COSTS.items():
        before = None
        for size in sizes:
            value = measured[name, size]
            seconds = value["seconds"]
            growth = None if before is None else f"{seconds / before:.1f}"
            rows.append([title, at.format(size), f"{seconds:.4g}", growth, f"{value['peak']:.2f}"])
            before = seconds
    return tables.table(["cost", "at", "seconds", "/ row above", "peak memory (GiB)"], rows)


@pytest.mark.bench
def test_scaling():
    measured = {
        (name, size): contender.measure("scaling", name, size) for name, (*_, sizes) in COSTS.items() for size in sizes
    }
    contender.show("docs/benchmarks.md", "scaling", scaling_table(measured))
