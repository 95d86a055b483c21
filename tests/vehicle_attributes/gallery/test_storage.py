"""The file of a gallery: foreign, damaged, in use, and left by processes that were killed."""

import os
import shutil
import signal
import sqlite3
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers import run_python, start_python
from tests.vehicle_attributes.gallery.small_gallery import MODEL, angles, build, contents
from vehicle_attributes.gallery import Gallery, ingest, storage
from vehicle_attributes.gallery.validation import unit


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "g"
    for content in (b"", b"x" * 5000, b"SQLite format 3\x00"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"g is no gallery; pass a file that build wrote\."):
            Gallery(path)
        assert path.read_bytes() == content
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE head (content BLOB)")
    connection.close()
    with pytest.raises(ValueError, match="g is no gallery"):
        Gallery(path)
    with pytest.raises(ValueError, match="There is no gallery .*nothing; build one first"):
        Gallery(tmp_path / "nothing")
    build(path, angles(0), overwrite=True)
    header = path.read_bytes()[:100]  # whose numbers SQLite documents: the version and the program of the file
    assert (header[60:64], header[68:72]) == (b"\0\0\0\2", b"\x76\xa6\xa1\x1e")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(ValueError, match="Galleries of version 2 are read, got version 1 in .*; build it again, or"):
        Gallery(path)


def test_damage_is_reported_or_harmless(tmp_path):
    """Any flipped bit, and any end of the file: an error in one sentence, or all the contents."""
    path, damaged = tmp_path / "g", tmp_path / "d"
    gallery = build(path, np.random.default_rng(0).normal(size=(900, 16)), threshold=0.3)
    expected, file, complaints = contents(gallery), path.read_bytes(), 0
    random = np.random.default_rng(1)
    starts = [file.index(part) for part in (b'["car"', b'["/pictures', gallery.features[0].tobytes(), b'{"attribute')]
    places = [*range(100), *(start + i for start in starts for i in (0, 9, 60)), *random.integers(0, len(file), 150)]
    for place in places:
        content = bytearray(file)
        content[place] ^= 1 << int(random.integers(8))
        message = complaint(damaged, content, expected)
        assert place not in starts or "is damaged" in message
        complaints += message != ""
    assert complaints > 100
    assert complaint(damaged, file[:1], expected) == f"{damaged} is no gallery; pass a file that build wrote."
    for size in (50, 4000, len(file) // 2, len(file) - 16384):
        assert "is damaged (database disk image is malformed)" in complaint(damaged, file[:size], expected)
    complaint(damaged, file[:-1], expected)


def test_a_gallery_that_was_read_in_part_is_read_again(tmp_path, monkeypatch):
    """Mended, the file has the state that the reading had begun with."""
    monkeypatch.setattr(storage, "_BLOCK_BYTES", 64)
    path = tmp_path / "g"
    gallery = build(path, angles(0))
    Gallery(path).add(angles(*range(10, 50)), "van", [f"v{i}" for i in range(40)])
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[whole.index(unit(angles(49)).tobytes())] ^= 1
    path.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(ValueError, match="is damaged .block .* cannot be read: its checksum is another one"):
            gallery.query(angles(45))
    path.write_bytes(whole)
    assert gallery.query(angles(49)).paths.tolist() == [["v39"]] and len(gallery) == 41


def complaint(path, content, expected):
    """What opening the file is answered with, or nothing if all contents are there."""
    for extra in path.parent.glob(f"{path.name}*"):
        extra.unlink()
    path.write_bytes(content)
    try:
        gallery = Gallery(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error), error
        return str(error)
    assert contents(gallery) == expected and gallery.threshold == 0.3
    return ""


def test_a_file_in_use_is_not_replaced(tmp_path, monkeypatch):
    """Neither that of an interrupted build, which is made anew where it is damaged, nor its journal is removed."""
    path, connect = tmp_path / "g.part", sqlite3.connect
    build(path, angles(0))
    other = connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    other.execute("DELETE FROM head")
    monkeypatch.setattr(sqlite3, "connect", lambda address, timeout=5, **options: connect(address, 0.05, **options))
    network = SimpleNamespace(fingerprint=MODEL)
    sentence = "is in use by another"
    with pytest.raises(ValueError, match=sentence), ingest.building(path.with_suffix(""), network, "", None):
        pass
    with pytest.raises(ValueError, match=sentence):
        build(path, angles(1), overwrite=True)
    assert path.with_name("g.part-journal").exists()
    other.execute("ROLLBACK")
    other.close()
    assert len(Gallery(path)) == 1


def test_locked_and_read_only_files_are_reported(tmp_path, monkeypatch):
    path, connect = tmp_path / "g", sqlite3.connect
    gallery = build(path, angles(0))
    monkeypatch.setattr(sqlite3, "connect", lambda address, timeout=5, **options: connect(address, 0.05, **options))
    with storage.transaction(path, writing=True):
        assert gallery.query(angles(1)).labels.tolist() == [["car"]]
        with pytest.raises(ValueError, match="is in use by another process .*; try again later"):
            gallery.add(angles(9), "van", ["v"])
    second = storage.transaction(path, writing=True)
    with gallery._transaction(writing=True), pytest.raises(ValueError, match="is in use by another process"):
        second.__enter__()  # nothing changes between what the first one has read and what it writes
    monkeypatch.setattr(
        sqlite3, "connect", lambda address, *rest, **options: connect(address.replace("=rw", "=ro"), **options)
    )
    with pytest.raises(ValueError, match="cannot be read or written .*readonly.*; check its permissions"):
        gallery.add(angles(9), "van", ["v"])
    assert len(gallery) == len(Gallery(path)) == 1


def test_readers_have_the_old_gallery_whole_until_a_change_is_done(tmp_path):
    """They begin during a change, and it waits for those that have begun; a gallery in its place does not."""
    path, features = tmp_path / "g", np.random.default_rng(0).normal(size=(90, 8))
    before = contents(build(path, features[:40]))
    with storage.transaction(path, writing=True) as connection:
        names = ["van"] * 50, [f"v{i}" for i in range(50)], [b""] * 50
        storage.append(connection, np.arange(40, 90), *names, unit(features[40:]))
        assert contents(Gallery(path)) == before
        storage.write_head(connection, replace(storage.read_head(path, connection), exemplars=90))
        assert contents(Gallery(path)) == before
    assert Gallery(path).classes == {"car": 40, "van": 50}
    with storage.transaction(path) as connection:
        blocks = storage.read_blocks(path, connection, 8)
        first = next(blocks)
        built = build(path, features[:3], overwrite=True)
        rest = list(blocks)
    np.testing.assert_array_equal(np.concatenate([block.features for block in (first, *rest)]), unit(features))
    assert contents(Gallery(path)) == contents(built) and len(built) == 3


def test_what_is_committed_outlives_a_loss_of_power(tmp_path, monkeypatch):
    """SQLite waits for the disk, and for the folder in which its journal was; a new file is written by `replacing`."""
    events, synchronize = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(descriptor) or synchronize(descriptor))
    build(tmp_path / "g", angles(0))
    assert len(events) == 2  # the file and its folder
    for writing in (True, False):
        with storage.transaction(tmp_path / "g", writing) as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


ADD_FOREVER = """
import sys, numpy as np
from vehicle_attributes.gallery import Gallery
gallery = Gallery(sys.argv[1])
for i in range(len(gallery) // 40, 10**6):
    gallery.add(np.random.default_rng(i).normal(size=(40, 64)), f"batch {i}", [f"{i}/{j}" for j in range(40)])
    print(i, flush=True)
"""


def test_killed_at_any_moment(tmp_path):
    """What was reported as added is there; of the batch at the moment there is all or nothing."""
    path = tmp_path / "g"
    Gallery.build(path, np.empty((0, 64)), "x", [], fingerprint=MODEL, attribute="type")
    for delay in (0.0, 0.003, 0.01, 0.021, 0.05):
        process = start_python("-c", ADD_FOREVER, str(path))
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        reported = len(process.communicate()[0].splitlines())
        gallery = Gallery(path)
        batches = len(gallery) // 40
        assert gallery.classes == {f"batch {i}": 40 for i in sorted(range(batches), key=lambda i: f"batch {i}")}
        assert batches >= reported + 1
        expected = [np.random.default_rng(i).normal(size=(40, 64)) for i in range(batches)]
        np.testing.assert_array_equal(gallery.features, unit(np.concatenate(expected)))


ADD_AND_DIE = """
import os, sys, numpy as np
from vehicle_attributes.gallery import Gallery, storage
gallery = Gallery(sys.argv[1])
storage.write_head = lambda *_: os.kill(os.getpid(), 9)
gallery.add(np.random.default_rng(0).normal(size=(80_000, 64)), "late", [str(i) for i in range(80_000)])
"""


def test_half_written_batch_is_taken_back(tmp_path):
    """Twenty megabytes are more than SQLite holds back: part of them is in the file when the process dies."""
    path, journal = tmp_path / "g", tmp_path / "g-journal"
    before = contents(build(path, np.random.default_rng(1).normal(size=(50, 64))))
    run_python("-c", ADD_AND_DIE, str(path), status=-9)
    assert journal.exists() and path.stat().st_size > 2**24
    for name in ("g", "g-journal"):
        shutil.copy(tmp_path / name, tmp_path / name.replace("g", "h", 1))
    assert contents(Gallery(path)) == before and not journal.exists()
    # A gallery that replaces it, or takes the name of one that was deleted, must not be taken back.
    for prepare in (lambda: None, path.unlink):
        for name in ("h", "h-journal"):
            shutil.copy(tmp_path / name, tmp_path / name.replace("h", "g", 1))
        prepare()
        built = build(path, np.eye(64)[:3], overwrite=True)
        assert contents(built) == contents(Gallery(path)) and len(built) == 3 and not journal.exists()


def test_failed_build_leaves_the_old_gallery(tmp_path, monkeypatch):
    path = tmp_path / "g"
    before = contents(build(path, angles(0, 30)))

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(storage, "write_block", fail)
    with pytest.raises(OSError, match="disk full"):
        build(path, angles(1), overwrite=True)
    assert contents(Gallery(path)) == before and list(tmp_path.iterdir()) == [path]
