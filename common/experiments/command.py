"""Programs of the projects: each reads its command line before anything that takes seconds to import."""

import contextlib
import ctypes
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import tyro

from common.experiments.config import Config, parse, run_command

if TYPE_CHECKING:
    from common.experiments.entry import Evaluation, Training


# What TensorFlow and Abseil write before they know of TF_CPP_MIN_LOG_LEVEL, and Grain about a profiler of JAX.
_BANNER = re.compile(r"WARNING: All log messages before absl::|[IW]\d{4} .*\.cc:\d+\]|WARNING:absl:Failed to load jax")

# glibc's M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD, the last at the most that it takes.
_ALLOCATION = {-1: 2**29, -2: 2**24, -3: 2**25}


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


def keep_freed_memory() -> None:
    """Has the C library keep memory of batches that are done for the next ones: up to 512 MiB for each of its arenas.

    By default glibc gives blocks of 128 KiB or more back, and a batch begins with a fault for each new page of 4 KiB:
    5 to 10 % of a training step on a processor. Another C library stays as it is.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, size in _ALLOCATION.items():
            mallopt(option, size)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Inside, TensorFlow is imported as `make` does: with few messages and the same kernels. Freed memory stays."""
    keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with without_banners():
        yield


def run(module: str, arguments: type[Any]) -> NoReturn:
    """Runs a module as a program: reads the command line, then imports the module and calls its `main`.

    It is called at the top of that module, before imports that take seconds, where that is `__main__`, and exits.

    Args:
        module: `__spec__.name`.
        arguments: dataclass that `main` takes.
    """

    def program() -> None:
        given = tyro.cli(arguments)
        with importing():
            imported = importlib.import_module(module)
        imported.main(given)

    run_command(program)
    sys.exit()


def main(
    presets: Mapping[str, tuple[str, Config]], parts: Callable[[], "tuple[Training[Any, Any, Any], Evaluation]"]
) -> None:
    """`python -m PROJECT PRESET [--field value …]`: trains a preset, or goes on with it, then reports.

    Args:
        presets: as of `parse`.
        parts: imports the project's `train` and `evaluate`, and with them a framework.
    """

    def command() -> None:
        config = parse(presets)
        with importing():
            train, evaluate = parts()
            from common import distribution

        strategy = distribution.strategy(config.strategy, config.worker_wait)
        run = train(config, strategy)
        if distribution.is_chief(strategy):
            evaluate(run)

    run_command(command)
