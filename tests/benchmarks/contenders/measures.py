"""Seconds and memory of a contender; apart from `tests.helpers`, which would load Keras into each of them."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path


def seconds_of(
    run: Callable[[], object], repeats: int, limit: float = math.inf, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of each of several runs, after one that warms up.

    Args:
        run: what is measured.
        repeats: how many runs at most.
        limit: seconds after which no further run begins.
        clock: `time.process_time` counts those of all cores.
    """
    run()
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < limit:
        start = clock()
        run()
        seconds.append(clock() - start)
    return seconds


def memory() -> dict[str, float]:
    """What this process holds now and has held at most, GiB.

    `resource.getrusage` would count what the parent held when it started this process.
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(lines[field].split()[0]) / 2**20 for key, field in (("memory", "VmRSS"), ("peak", "VmHWM"))}


def report(**values: float) -> None:
    """Prints the line that `contender.measure` reads: the values, and `memory` unless they have it."""
    print(json.dumps(memory() | values))
