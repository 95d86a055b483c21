"""The driver of the mutation check: what it plants, and where it looks."""

import ast
import tomllib

import pytest

from tests.children import ROOT
from tests.mutation.__main__ import EQUIVALENT, Copy, code_files, find_tests
from tests.mutation.faults import Fault, expressions, faults

SOURCE = '''"""Text with 1 and max."""
LIMIT = 3

def scale(x: int, low=0.5):
    """Doubles x - 1."""
    if x < LIMIT and not x == 2:
        raise ValueError(f"{x + 1} is too small")
    check(x)
    return max(x, key=abs) / -low
'''
NAMES = {
    ": 3 -> 4",
    "scale: x < LIMIT -> x <= LIMIT",
    "scale: x < LIMIT and (not x == 2) -> x < LIMIT or not x == 2",
    "scale: not x == 2 -> not not x == 2",
    "scale: x == 2 -> x != 2",
    "scale: 2 -> 3",
    "scale: check(x) -> (lambda *_, **__: None)(x)",
    "scale: 0.5 -> 1.0",
    "scale: max(x, key=abs) / -low -> max(x, key=abs) * -low",
    "scale: max(x, key=abs) -> min(x, key=abs)",
    "scale: max(x, key=abs) -> max(x)",
    "scale: -low -> +low",
}


def test_each_expression_that_computes_is_changed_and_no_text_is():
    planted = faults(SOURCE, 100, "")
    assert {fault.name for fault in planted} == NAMES and len(planted) == len(NAMES)
    sources = {fault.name: fault.source for fault in planted}
    assert "return max(x, key=abs) / +low" in sources["scale: -low -> +low"]
    assert all("Doubles x - 1." in source and "{x + 1} is too small" in source for source in sources.values())


def test_the_same_faults_are_planted_each_time():
    assert [f.name for f in faults(SOURCE, 3, "a")] == [f.name for f in faults(SOURCE, 3, "a")]
    assert len(faults(SOURCE, 3, "a")) == 3


def test_tests_of_the_name_come_first_and_every_file_has_some():
    assert find_tests("common/losses.py")[0] == ["tests/common/test_losses.py"]
    assert "tests/test_settings.py" in find_tests("flipreid/config.py")[0]
    assert all(find_tests(file) for part in ("common", "flipreid") for file in code_files(part))


@pytest.mark.slow
def test_a_fault_is_planted_in_the_copy_alone(tmp_path, monkeypatch):
    file, tests = "common/schedules.py", "tests/common/test_schedules.py"
    monkeypatch.setattr("tests.mutation.__main__.find_tests", lambda _: [[tests]])
    copy = Copy(tmp_path / "copy")
    before = (copy.root / file).read_text(encoding="utf-8")
    assert copy.is_noticed(file, Fault(1, "", before.replace("def __call__(self", "def call(self")))
    assert not copy.is_noticed(file, Fault(1, "", f"{before}\n"))
    assert (copy.root / file).read_text(encoding="utf-8") == before
    (copy.root / tests).write_text("def test_wrong():\n    assert False\n", encoding="utf-8")
    Copy.passing.clear()
    with pytest.raises(ValueError, match="test_schedules.py must pass on the code as it is, and it fails"):
        copy.is_noticed(file, Fault(1, "", before))


def test_what_changes_nothing_is_listed_of_code_that_is_there():
    stale = []
    for file, reasons in tomllib.loads(EQUIVALENT.read_text(encoding="utf-8")).items():
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        known = {f"{place}: {ast.unparse(node)}" for place, node in expressions(tree, "")}
        stale += [f"{file}: {name}" for name in reasons if name.partition(" -> ")[0] not in known]
    assert stale == []
