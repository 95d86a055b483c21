"""What the programs of the projects set before they import a framework."""

import platform

import pytest

from tests.helpers import run_python

FREED = """
import sys
from pathlib import Path
import numpy as np
from common.experiments.command import keep_freed_memory

if sys.argv[1] == "set":
    keep_freed_memory()
pages = lambda: int(Path("/proc/self/statm").read_text().split()[1])
before = pages()
batches = [np.ones(2**20, "uint8") for _ in range(16)]
del batches
print((pages() - before) * 4096 / 2**20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it sets glibc's allocation")
@pytest.mark.parametrize(("setting", "stays"), [("set", True), ("as it is", False)])
def test_memory_of_finished_batches_stays_for_the_next_ones(setting, stays):
    """Sixteen batches of 1 MiB: their pages stay with the process, or go back to the system."""
    out, _ = run_python("-c", FREED, setting, fresh=True)
    assert (float(out) > 15) == stays
