import json
import os
import platform
import shutil
from types import SimpleNamespace

import keras
import pytest

from common.files import replacing, save_weights, write_json, write_text
from tests.helpers import start_python


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_reader_sees_the_old_file_whole_or_the_new_one(tmp_path, monkeypatch):
    """Also one that had opened it before; the new one is on the disk before it takes the old one's place."""
    path, calls = tmp_path / "a.json", []
    write_json(path, ["old"] * 1000)
    for name in ("fsync", "replace"):
        call = getattr(os, name)

        def recorded(*arguments, name=name, call=call):
            calls.append((name, path.read_text()))
            return call(*arguments)

        monkeypatch.setattr(os, name, recorded)
    old = path.read_text()
    with open(path) as held:
        assert held.read(10) == old[:10]
        write_json(path, ["new"] * 2000)
        assert held.read() == old[10:]
    assert calls == [("fsync", old), ("replace", old)]
    assert json.loads(path.read_text()) == ["new"] * 2000


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


def test_weights_are_not_begun_on_a_disk_without_room(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    enough = 2**20 + 8 * 16
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=enough - 1))
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a.weights.h5'"):
        save_weights(model, tmp_path / "a.weights.h5")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=enough))
    save_weights(model, tmp_path / "a.weights.h5")
    model.load_weights(tmp_path / "a.weights.h5")


def test_json_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"ä": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "\\u00e4": 1\n}\n'
