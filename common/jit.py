"""Numba's compiler with a cache on disk where there is a place for one."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Decorator: `numba.njit(**options)`, cached next to the source or in the user's cache folder.

    Where neither can be written, numba refuses `cache=True`; then each process compiles anew. A cached
    function does not see changes in other files, so kernels call only kernels of their own file.
    """

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:
            return numba.njit(**options)(function)

    return decorate
