"""Whole-file writes, of which a reader sees the old file or the new one; and errors of full disks and memory."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_FULL = "What was finished is saved, and the same command continues from it once there is room."
_LOCKED = "could not be opened: permission denied. Change its permissions, or choose another folder."
_FAULTS = {
    errno.ENOSPC: f"could not be written: the disk is full. {_FULL}",
    errno.EDQUOT: f"could not be written: your share of the disk is used up. {_FULL}",
    errno.EROFS: "could not be written: the disk is read-only. Choose another folder, or copy the run to one first.",
    errno.EACCES: _LOCKED,
    errno.EPERM: _LOCKED,
}


def about_disk(error: OSError) -> str | None:
    """The sentence about a disk that is full or may not be written to; None for any other error."""
    fault = _FAULTS.get(error.errno or 0)
    return fault and f"{error.filename or 'A file'} {fault}"


def temporary_name(path: Path) -> Path:
    """A name of this process in the folder of `path`; what killed processes left under such names is removed."""
    mark = f".{platform.node()}."  # processes of other machines may write to the same disk
    for leftover in path.parent.glob(f".*.{glob.escape(path.name)}"):
        owner = leftover.name.removeprefix(mark).removesuffix(f".{path.name}")
        if owner.isdecimal() and not _is_alive(int(owner)):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    return path.with_name(f"{mark}{os.getpid()}.{path.name}")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _synchronize(path: Path) -> None:
    """Waits until the content of a file, or the names in a folder, outlive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; on success it takes `path`'s place in one rename.

    Once that is done it outlives a loss of power: the content is on the disk before the rename, the new name after it.
    The temporary name keeps the suffixes of `path`, because some writers choose the format by it.
    If the body raises, the temporary file is removed and `path` is left as it was.

    Raises:
        OSError: the disk is full, or may not be written to; it names `path`.
    """
    temporary = temporary_name(Path(path))
    try:
        yield temporary
        _synchronize(temporary)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # some file systems cannot: then the old file may come back
            _synchronize(Path(path).parent)
    except OSError as error:  # most writers do not name the file, and h5py does in three lines
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # there is none, or the disk is read-only, which has been reported
            temporary.unlink()


def save_weights(model: Any, path: Path) -> None:
    """Writes the weights of a Keras model to `path` in one rename.

    Raises:
        OSError: the disk is full, or may not be written to.
    """
    # HDF5 crashes the whole process on a full disk. Its headers take less than the numbers, or than a MiB.
    if shutil.disk_usage(path.parent).free < 8 * model.count_params() + 2**20:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    with replacing(path) as temporary:
        model.save_weights(temporary)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file that somebody else may have written.

    Raises:
        ValueError: it is none, is damaged, or holds objects.
    """
    try:
        with np.load(path) as file:
            return dict(file)
    except (zipfile.BadZipFile, zlib.error, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no npz file of plain arrays; write one with np.savez.") from error


def write_parquet(
    path: Path, parts: Iterable[tuple[Mapping[str, Sequence], np.ndarray]], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes embeddings as a Parquet file in one rename: a column for each name, and `embedding` of D float32.

    Args:
        path: of the file.
        parts: one or more of columns (n,) and features (n, D), as many as are to be in memory at a time.
        metadata: of the schema.

    Raises:
        OSError: the disk is full, or may not be written to.
    """
    import pyarrow as pa  # takes a while, which those who only read pay not
    import pyarrow.parquet as pq

    with replacing(path) as temporary, contextlib.ExitStack() as closing:
        writer = None
        for columns, features in parts:
            flat = pa.array(np.ascontiguousarray(features, np.float32).ravel())
            vectors = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
            table = pa.table({**{name: pa.array(values) for name, values in columns.items()}, "embedding": vectors})
            if writer is None:
                schema = table.schema.with_metadata(dict(metadata or {}))
                writer = closing.enter_context(pq.ParquetWriter(temporary, schema))
            writer.write_table(table.cast(writer.schema))


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` in one rename."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON to `path` in one rename, as `json_text` has it."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """`value` as indented JSON, a list of numbers or names in one line."""
    text = json.dumps(value, indent=2)
    flat = re.sub(r"\[\n\s+([^\[\]{}]*?)\n\s*\]", lambda match: "[" + re.sub(r",\n\s+", ", ", match[1]) + "]", text)
    return flat + "\n"


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
            import keras  # whoever only writes files loads no framework

            made = f"batches of {len(keras.tree.flatten(next(iter(batches(done))))[0])}"
        raise MemoryError(
            f"Training of {folder.name} ran out of memory in epoch {done + 1} with {made}. The state after "
            f"epoch {done} is saved in {folder}. Make room in memory and give the same command again, or train under "
            "another --name with a lower --batch-size (or what else a batch is made of; --help tells)."
        ) from error
