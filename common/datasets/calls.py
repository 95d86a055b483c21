"""Python functions that threads of tf.data run."""

import atexit
import functools
import threading
import time
from collections.abc import Callable

import numpy as np


class Calls:
    """Ends such functions before the interpreter ends.

    A thread that needs the interpreter while it shuts down takes the process with it: it hangs or aborts. An
    iterator that lives as long as the process, for example in the traceback of an error, has such threads.
    """

    def __init__(self) -> None:
        self._lock, self._active, self._latest, self._closing = threading.Lock(), 0, 0.0, False
        atexit.register(self._close)

    def guarded(self, function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def run(*arguments: np.ndarray) -> np.ndarray:
            with self._lock:
                self._active += 1
            try:
                if self._closing:
                    raise RuntimeError("The interpreter is shutting down.")
                return function(*arguments)
            finally:
                with self._lock:
                    self._active, self._latest = self._active - 1, time.monotonic()

        return run

    def _close(self) -> None:
        """Nobody takes batches any more, so the threads stop as soon as their buffers are full."""
        self._closing = True
        while self._active or time.monotonic() - self._latest < 0.1:
            time.sleep(0.01)


calls = functools.cache(Calls)  # those of the process
