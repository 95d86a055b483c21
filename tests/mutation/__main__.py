"""Plants faults one at a time, runs the tests that should notice, and prints how many did: `make test-mutation`.

Each fault is planted in a copy of the repository. What survives is either a gap in the tests, or code that does the
same with the fault: that is listed with a reason in `equivalent.toml`.
"""

import re
import shutil
import subprocess
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import ClassVar

import tyro
from tqdm import tqdm

from common.report.tables import table
from tests.children import PROJECTS, ROOT, Child
from tests.mutation.faults import Fault, faults

# A fault in a picture or a page moves no number, and tests of the pages are of another kind.
_LEFT_OUT = re.compile(r"__main__|plots|tables|/cli|/tools/|synthetic|export")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")
LIMIT = 600  # seconds for the tests of a fault: a program that hangs is noticed


def code_files(part: str) -> list[str]:
    """The Python files below a folder, or a file itself, in which faults are planted."""
    paths = [ROOT / part] if part.endswith(".py") else sorted((ROOT / part).rglob("*.py"))
    return [name for name in (path.relative_to(ROOT).as_posix() for path in paths) if not _LEFT_OUT.search(name)]


def find_tests(file: str) -> list[list[str]]:
    """The tests that should notice a fault of a file: of its name and settings, of its folder, of its users."""
    path = Path(file)
    folder, name = path.parent.as_posix(), path.stem
    module = rf"{folder.replace('/', '.')}(\.{name}\b| import .*\b{name}\b)"
    own, near, users = [], [], []
    for test in sorted((ROOT / "tests").rglob("test_*.py")):
        tests = test.relative_to(ROOT).as_posix()
        if tests.startswith(("tests/benchmarks", "tests/mutation")):
            continue
        if tests.startswith((f"tests/{folder}/test_{name}", f"tests/{path.parent.parent}/test_{path.parent.name}")) or (
            name in ("config", "paper_results")
            and tests in ("tests/test_settings.py", "tests/test_published.py", "tests/test_pages.py")
        ):
            own.append(tests)
        elif test.parent == ROOT / "tests" / folder:
            near.append(tests)
        elif re.search(module, test.read_text(encoding="utf-8")):
            users.append(tests)
    return [tests for tests in (own, near, users) if tests]


def planted(parts: tuple[str, ...], count: int) -> Iterator[tuple[str, Fault]]:
    """Some faults of each file, but for those known to do nothing."""
    equivalent = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))
    for file in (file for part in parts for file in code_files(part)):
        for fault in faults((ROOT / file).read_text(encoding="utf-8"), count, file):
            if fault.name not in equivalent.get(file, {}):
                yield file, fault


class Copy:
    """A copy of the repository in which faults are planted.

    Args:
        folder: where to make it.
    """

    passing: ClassVar[set[str]] = set()  # tests that pass without a fault

    def __init__(self, folder: Path) -> None:
        ignored = shutil.ignore_patterns(".git", ".venv*", "runs", "__pycache__", ".*_cache")
        self.root: Path = shutil.copytree(ROOT, folder, ignore=ignored)

    def is_noticed(self, file: str, fault: Fault) -> bool:
        """Whether a test fails while the fault is in the copy.

        Raises:
            ValueError: the test fails without the fault, too.
        """
        path, noticed = self.root / file, []
        whole = path.read_text(encoding="utf-8")
        path.write_text(fault.source, encoding="utf-8")
        try:
            for tests in find_tests(file):
                noticed = self._failing(tests)
                if noticed:
                    break
        finally:
            path.write_text(whole, encoding="utf-8")
        for test in set(noticed) - self.passing:
            if self._failing([test]):
                raise ValueError(f"{test} must pass on the code as it is, and it fails; mend it first.")
            self.passing.add(test)
        return bool(noticed)

    def _failing(self, tests: list[str]) -> list[str]:
        """The first file of some that fails, all if none can be named, or none."""
        arguments = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests)
        child = Child(arguments, self.root, {"PYTHONPATH": "", "CI": "true", "PYTHONDONTWRITEBYTECODE": "1"})
        try:
            output, _ = child.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
        if child.returncode in (0, 5):  # 5: all are deselected
            return []
        return re.findall(r"^(?:FAILED|ERROR) (\S+?\.py)", output, re.MULTILINE)[:1] or tests


@dataclass(frozen=True)
class Arguments:
    """Plants faults and prints how many the tests of each folder noticed."""

    parts: tyro.conf.Positional[tuple[str, ...]] = ()  # folders or files; none for all projects and `common`
    count: int = 2  # of faults in each file
    processes: int = 2  # at once


def main() -> None:
    """Command line."""
    arguments = tyro.cli(Arguments)
    count, processes = arguments.count, arguments.processes
    parts = arguments.parts or ("common", *PROJECTS)
    work = list(planted(parts, count))
    copies: Queue[Copy] = Queue()
    noticed, number = Counter[str](), Counter(file.partition("/")[0] for file, _ in work)

    def try_one(file: str, fault: Fault) -> bool:
        repository = copies.get()
        try:
            return repository.is_noticed(file, fault)
        finally:
            copies.put(repository)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(processes) as pool:
        for process in range(processes):
            copies.put(Copy(Path(folder, str(process), "repository")))
        results = pool.map(try_one, *zip(*work, strict=True))
        for (file, fault), is_one in zip(work, tqdm(results, total=len(work), unit="fault"), strict=True):
            noticed[file.partition("/")[0]] += is_one
            if not is_one:
                tqdm.write(f"survived: {file}:{fault.line} {fault.name}")
    rows = [(name, planted_here, noticed[name]) for name, planted_here in number.items()]
    rows.append(("all", number.total(), noticed.total()))
    cells = [[name, n, killed, n - killed, f"{killed / n:.0%}"] for name, n, killed in rows]
    print(table(["folder", "faults", "killed", "survived", "share killed"], cells))


if __name__ == "__main__":
    main()
