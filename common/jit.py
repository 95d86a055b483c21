"""Numba's compiler with a cache on disk where there is a place for one, and loops over rows in threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Decorator: `numba.njit(**options)`, cached next to the source or in the user's cache folder.

    Where neither can be written, numba refuses `cache=True`; then each process compiles anew. A cached
    function does not see changes in other files, so kernels call only kernels of their own file.
    """

    options = {"nogil": True} | options

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(**options)(function)

    return decorate


def in_threads(kernel: Callable, number: int, *arguments: Any) -> list[Any]:
    """Calls `kernel(start, stop, *arguments)` for consecutive parts of range(number), each in a thread.

    Such kernels compile in a fraction of the time that `prange` takes, which counts where a process is short.

    Returns:
        What the calls return, in the order of the parts.
    """
    threads = numba.get_num_threads()
    step = max(1, -(-number // threads))
    starts = range(0, number, step)
    if len(starts) <= 1:
        return [kernel(0, number, *arguments)]
    return list(
        _pool(threads, os.getpid()).map(lambda start: kernel(start, min(start + step, number), *arguments), starts)
    )


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:  # a fork has none of its parent's threads
    return ThreadPoolExecutor(threads, "kernel")
