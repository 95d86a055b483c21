import pytest

from common.files import replacing, write_json, write_text


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


def test_json_ends_with_a_newline(tmp_path):
    write_json(tmp_path / "a.json", {"ä": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "\\u00e4": 1\n}\n'
