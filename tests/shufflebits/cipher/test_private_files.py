"""Files of keys and of what they seal: whole, private, and never quoted."""

import os
import stat

import pytest

from shufflebits.cipher.private_files import create_key, load_key, read_private, write_private


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_the_owners_alone(tmp_path):
    """With the most open mask, and in place of an older file."""
    before = os.umask(0)
    try:
        key = create_key(tmp_path / "key")
        for content in (b"one", b"two"):
            write_private(tmp_path / "file", content)
    finally:
        os.umask(before)
    assert [mode_of(tmp_path / name) for name in ("key", "file")] == [0o600] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "key"]
    assert len(key) == 32 and load_key(tmp_path / "key") == key and read_private(tmp_path / "file") == b"two"


def test_file_is_private_before_it_has_content(tmp_path, monkeypatch):
    modes, real = [], os.open
    monkeypatch.setattr(os, "open", lambda *a, **k: modes.append(a[1:]) or real(*a, **k))
    write_private(tmp_path / "file", b"x")
    create_key(tmp_path / "key")
    created = [each for each in modes if each[0] & os.O_CREAT]
    assert created == [(os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)] * 2


def test_no_key_is_overwritten(tmp_path):
    key = create_key(tmp_path / "key")
    with pytest.raises(FileExistsError):
        create_key(tmp_path / "key")
    assert load_key(tmp_path / "key") == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_file_that_others_can_open_is_refused(mode, tmp_path):
    create_key(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(ValueError, match=rf"key is open to others \(mode {mode:o}\); chmod 600 it, and take a new key"):
        load_key(tmp_path / "key")


@pytest.mark.parametrize("content", [b"", b"7e57" * 15, b"7e57" * 17, b"7e5t" * 16, b"\xff" * 64])
def test_other_files_are_refused_without_their_content(content, tmp_path):
    write_private(tmp_path / "key", content)
    with pytest.raises(ValueError, match="key is no key file; it must hold 64 hex digits") as error:
        load_key(tmp_path / "key")
    assert "7e5" not in str(error.value) and error.value.__cause__ is None
    with pytest.raises(ValueError, match="There is no file .*none; check the path"):
        load_key(tmp_path / "none")
