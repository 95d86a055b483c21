"""Memory that is used up, told in one sentence."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras


@contextlib.contextmanager
def naming_full_memory(folder: Path, epochs_done: Callable[[], int], batches: Callable[[int], Any]) -> Iterator[None]:
    """Inside, what a backend raises when memory is used up becomes one sentence about the batch size.

    Args:
        folder: of the training, which keeps its last whole epoch.
        epochs_done: number of whole epochs.
        batches: first epoch -> batches.

    Raises:
        MemoryError: memory is used up.
        OSError: TensorFlow's writer of logs met a full disk.
    """
    try:
        yield
    except Exception as error:
        if "No space left on device" in str(error) and not isinstance(error, OSError):
            # TensorFlow has one error for disk and memory.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        # Of TensorFlow, PyTorch and JAX, of which two may not be installed.
        names = ("ResourceExhaustedError", "OutOfMemoryError")
        if not (isinstance(error, MemoryError) or type(error).__name__ in names or "RESOURCE_EXHAUSTED" in str(error)):
            raise
        done, made = epochs_done(), "its batches"
        with contextlib.suppress(Exception):  # a batch alone may be too large
            made = f"batches of {len(keras.tree.flatten(next(iter(batches(done))))[0])}"
        raise MemoryError(
            f"Training of {folder.name} ran out of memory in epoch {done + 1} with {made}. The state after "
            f"epoch {done} is kept in {folder}. Make room in memory and give the same command again, or train under "
            "another --name with a lower --batch-size (or what else a batch is made of; --help tells)."
        ) from error
