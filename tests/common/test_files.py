"""Whole files only: what a reader sees during a write, what a kill and a loss of power leave, and full disks."""

import errno
import os
import platform
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from common import files
from common.files import read_arrays, replacing, save_weights, temporary_name, write_json, write_text
from tests.helpers import start_python


def test_a_reader_of_the_old_file_reads_it_whole_during_and_after_a_write(tmp_path):
    path, old, new = tmp_path / "file.txt", "old " * 50_000, "new " * 40_000
    write_text(path, old)
    with open(path, encoding="utf-8") as reader:
        begun = reader.read(1000)
        with replacing(path) as temporary:
            temporary.write_text(new[:100_000])
            assert path.read_text() == old
            temporary.write_text(new)
            assert path.read_text() == old
        assert path.read_text() == new
        assert begun + reader.read() == old
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    path, events, synchronize, replace = tmp_path / "a.json", [], os.fsync, os.replace

    def spy(descriptor):
        synchronize(descriptor)
        synchronized = os.fstat(descriptor)
        is_folder = os.path.samestat(synchronized, os.stat(tmp_path))
        events.append("folder" if is_folder else f"{synchronized.st_size} bytes")

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(os, "replace", lambda *names: events.append("rename") or replace(*names))
    write_json(path, "old")
    assert events == ["6 bytes", "rename", "folder"] and path.read_text() == '"old"\n'
    with pytest.raises(RuntimeError), replacing(path):
        raise RuntimeError
    assert len(events) == 3


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_name_keeps_the_suffixes(tmp_path):
    with replacing(tmp_path / "best.weights.h5") as temporary:
        assert temporary.name.endswith(".weights.h5") and temporary.parent == tmp_path
        temporary.write_bytes(b"new")
    assert (tmp_path / "best.weights.h5").read_bytes() == b"new"


def test_what_killed_processes_leave_is_removed_by_the_next_write(tmp_path):
    ended = start_python("-c", "")
    ended.communicate()
    host, dead = platform.node(), ended.pid
    others = [f".{host}.{os.getppid()}.a.json", f".elsewhere.{dead}.a.json", f".{host}.{dead}.b.a.json", ".mine.a.json"]
    left = [f".{host}.{dead}.a.json", *others]
    for name in left:
        (tmp_path / name).write_text("half of")
    write_json(tmp_path / "a.json", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "a.json"])


def test_an_error_that_is_none_of_the_disk_has_no_sentence():
    assert files.about_disk(OSError("no number")) is None
    assert files.about_disk(FileNotFoundError(2, "No such file")) is None


def test_an_error_names_the_file_that_was_to_be_written(tmp_path):
    """And not the temporary one; an error of another file, or without a number, stays what it is."""
    path = tmp_path / "a.json"
    for name, expected in ((None, str(path)), (str(temporary_name(path)), str(path)), ("/other", "/other")):
        with pytest.raises(OSError, match="No space left on device") as error, replacing(path):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, expected)
    with pytest.raises(OSError, match="^a library's own sentence$") as error, replacing(path):
        raise OSError("a library's own sentence")
    assert error.value.errno is None and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RuntimeError("a.events: No space left on device"), OSError),
        (OSError(errno.ENOSPC, "No space left on device", "/file"), None),
        (MemoryError(), MemoryError),
        (type("OutOfMemoryError", (RuntimeError,), {})("full"), MemoryError),
        (RuntimeError("RESOURCE_EXHAUSTED: full"), MemoryError),
        (RuntimeError("singular"), None),
    ],
)
def test_what_a_library_says_of_full_disks_and_memory(tmp_path, raised, expected):
    """None: it stays as it is. The batch is the first of the epoch that is not whole."""
    with pytest.raises(Exception) as error, files.naming_full_memory(tmp_path, lambda: 3, lambda e: [np.zeros((e, 2))]):
        raise raised
    if expected is None:
        assert error.value is raised
    elif expected is OSError:
        assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path))
    else:
        assert "ran out of memory in epoch 4 with batches of 3" in str(error.value)


def test_a_process_of_another_user_is_alive(tmp_path, monkeypatch):
    def refuse(process, number):
        assert (process, number) == (1234567, 0)  # which only asks
        raise PermissionError

    left = tmp_path / f".{platform.node()}.1234567.a.json"
    left.write_text("half of")
    monkeypatch.setattr(os, "kill", refuse)
    write_json(tmp_path / "a.json", 1)
    assert left.exists()


def test_folders_that_killed_processes_leave_are_removed_too(tmp_path, monkeypatch):
    left = tmp_path / f".{platform.node()}.1234567.saved"
    other = tmp_path / f".{platform.node()}.1234568.saved"

    def is_alive(process):
        other.unlink(missing_ok=True)  # another process is quicker
        return False

    monkeypatch.setattr(files, "_is_alive", is_alive)
    other.touch()
    (left / "variables").mkdir(parents=True)
    with replacing(tmp_path / "saved") as temporary:
        assert not left.exists()
        temporary.touch()


def test_arrays_of_a_foreign_file(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.arange(3), y=np.eye(2))
    arrays = read_arrays(path)
    assert arrays.keys() == {"x", "y"} and arrays["x"].tolist() == [0, 1, 2]
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(b"NUMPY") + 100] ^= 1
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "array.npy", np.arange(3))
    for content in (b"", b"text", whole[:-40], bytes(damaged), *(p.read_bytes() for p in tmp_path.glob("*.npy"))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="a.npz is no npz file of plain arrays; write one with np.savez"):
            read_arrays(path)


def test_weights_are_not_begun_on_a_disk_without_room(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    enough = 2**20 + 8 * 16
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=enough - 1))
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a.weights.h5'"):
        save_weights(model, tmp_path / "a.weights.h5")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=enough))
    save_weights(model, tmp_path / "a.weights.h5")
    model.load_weights(tmp_path / "a.weights.h5")
    before = (tmp_path / "a.weights.h5").read_bytes()

    def fail(path):
        path.write_bytes(b"half of")
        raise RuntimeError

    monkeypatch.setattr(model, "save_weights", fail)
    with pytest.raises(RuntimeError):
        save_weights(model, tmp_path / "a.weights.h5")
    assert (tmp_path / "a.weights.h5").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_json_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"ä": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "\\u00e4": 1\n}\n'
