"""Running the contenders, and showing their table."""

import importlib.util
import json
from collections.abc import Iterable
from typing import Any

from common.report.tables import update_between
from tests.children import ROOT
from tests.helpers import start_python

PACKAGES = {"PyTorch": "torch", "faiss": "faiss"}  # word in the name of a contender -> the package that it needs


def measure(module: str, *arguments: object) -> Any:
    """What a module of `tests.benchmarks.contenders` prints in its last line, JSON.

    It has a fresh interpreter: a fork would begin with the memory and the libraries of its parent.
    """
    program = f"tests.benchmarks.contenders.{module}"
    process = start_python("-m", program, *map(str, arguments), fresh=True)
    out, err = process.communicate(timeout=3600)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def installed(names: Iterable[str]) -> list[str]:
    """The contenders whose packages are installed."""
    missing = [word for word, package in PACKAGES.items() if importlib.util.find_spec(package) is None]
    return [name for name in names if not any(word in name for word in missing)]


def show(page: str, marker: str, table: str) -> None:
    """Prints a table, and writes it between the marks of a page."""
    print(f"\n{table}")
    update_between(ROOT / page, marker, table)
