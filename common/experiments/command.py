"""`python -m PROJECT PRESET [--field value …]`: reads the command line before anything that takes seconds to import."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from common.experiments.config import Config, parse, run_command

if TYPE_CHECKING:
    from common.experiments.entry import Evaluation, Training


# What TensorFlow and Abseil write before they know of TF_CPP_MIN_LOG_LEVEL, and Grain about a profiler of JAX.
_BANNER = re.compile(r"WARNING: All log messages before absl::|[IW]\d{4} .*\.cc:\d+\]|WARNING:absl:Failed to load jax")


@contextlib.contextmanager
def without_banners() -> Iterator[None]:
    """Inside, what is written to stderr waits for the end, be it by libraries in C++, and banners are left out."""
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            file.seek(0)
            sys.stderr.writelines(line for line in file if not _BANNER.match(line))


def main(
    presets: Mapping[str, tuple[str, Config]], parts: Callable[[], "tuple[Training[Any, Any, Any], Evaluation]"]
) -> None:
    """Trains a preset, or goes on with it, then reports.

    Args:
        presets: as of `parse`.
        parts: imports the project's `train` and `evaluate`, and with them a framework.
    """

    def command() -> None:
        config = parse(presets)
        # Read when TensorFlow is imported: few messages, and the kernels that `make` chooses.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        with without_banners():
            train, evaluate = parts()
            from common import distribution

        strategy = distribution.strategy(config.strategy, config.worker_wait)
        run = train(config, strategy)
        if distribution.is_chief(strategy):
            evaluate(run)

    run_command(command)
