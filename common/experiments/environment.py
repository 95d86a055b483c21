"""Which code, versions and machine trained which epochs of a run: `environment.json`, an entry for each start."""

import ast
import contextlib
import contextvars
import datetime
import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from common import distribution
from common.files import file_digest, write_json

ENVIRONMENT = "environment.json"
_PACKAGES = ("keras", "numpy", "scipy", "scikit-learn", "opencv-python-headless", "grain")
# What decides numbers, besides the code.
_COMPARED = ("backend", "python", "versions", "processor", "threads", "onednn")
_this_start: contextvars.ContextVar["Start | None"] = contextvars.ContextVar("this_start", default=None)


class Start:
    """One call of a command that trains. It has an entry once it trains; one that finds all done has none.

    Args:
        run: folder.
        module: whose code trains (`code_of`).
    """

    def __init__(self, run: Path, module: str):
        self._run, self._module = run, module
        self._entry: dict[str, Any] = {}

    def begin(self) -> None:
        """Writes the entry if there is none yet, and says in one line what has changed since the last one."""
        if self._entry:
            return
        entries = [entry for entry in read_environment(self._run) if entry["epochs"]]
        self._entry = {**current(self._module), "epochs": {}}
        if entries and (changes := changes_between(entries[-1], self._entry)):
            print(f"{self._run} goes on with {', '.join(changes)}; its {ENVIRONMENT} says which epochs had which.")
        write_json(self._run / ENVIRONMENT, [*entries, self._entry])

    def add(self, place: str, epoch: int) -> None:
        """Notes that an epoch, from 1 on, of the training in a folder of the run is done: the first and the last."""
        self._entry["epochs"].setdefault(place, [epoch, epoch])[1] = epoch
        write_json(self._run / ENVIRONMENT, [*read_environment(self._run)[:-1], self._entry])


@contextlib.contextmanager
def starting(run: Path, module: str) -> Iterator[Start]:
    """Inside, trainings (`training.fit`) note their epochs in the environment of a run."""
    start = Start(run, module)
    token = _this_start.set(start)
    try:
        yield start
    finally:
        _this_start.reset(token)


def this_start() -> Start | None:
    """The start that a training belongs to; None where it is of no run."""
    return _this_start.get()


def read_environment(run: Path) -> list[dict[str, Any]]:
    """The entries of a run, the oldest first; none of a damaged file, as nothing depends on it."""
    try:
        entries = json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))
        return [entry for entry in entries if "epochs" in entry]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def current(module: str) -> dict[str, Any]:
    """What trains now: time, process and command, versions, machine, commit, digests of the code."""
    commit, uncommitted = _commit()
    backend = keras.backend.backend()
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "host": platform.node(),
        "commit": commit,
        "uncommitted_changes": uncommitted,
        "backend": backend,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in (backend, *_PACKAGES)},
        "devices": distribution.devices(),
        "processor": _processor(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
        "code": {name: digest[:12] for name, digest in code_of(module).items()},
    }


def changes_between(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What may make numbers differ between two entries, in words."""
    changes = []
    for name in _COMPARED:
        old, new = before.get(name), now[name]
        if isinstance(new, dict) and isinstance(old, dict):
            changes += [f"{key} {new[key]} instead of {old.get(key)}" for key in new if old.get(key) != new[key]]
        elif old != new:
            changes.append(f"{name} {new} instead of {old}")
    codes = [entry.get("code", {}) for entry in (before, now)]
    modules = sorted(name for name in codes[0].keys() | codes[1].keys() if codes[0].get(name) != codes[1].get(name))
    if modules:
        more = f" and {len(modules) - 3} more" if len(modules) > 3 else ""
        changes.append(f"other code in {', '.join(modules[:3])}{more}")
    return changes


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # such as another build of OpenCV
        return "unknown"


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> tuple[str, bool | None]:
    """The commit of this repository, and whether its files differ from it.

    "unknown" and None for an installed copy, be its environment in another repository.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # The first name: is it tracked?
        done = subprocess.run([*git, "rev-parse", "HEAD:./", "HEAD"], capture_output=True, text=True)
        if done.returncode:
            return "unknown", None
        status = subprocess.run([*git, "status", "--porcelain", ":/"], capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown", None
    return done.stdout.split()[-1], bool(status.stdout.strip())


def code_of(module: str) -> dict[str, str]:
    """Name -> digest of each of the modules that decide what a module computes."""
    return {name: file_digest(file) for name, file in source_files(module).items()}


@functools.cache
def source_files(module: str) -> dict[str, Path]:
    """The file of a module and those of this repository that it imports, directly or not, in order of their names.

    Plots and tables (`common.report`, a project's `tables`) are left out: they show numbers and compute none.
    """
    tops = {"common", module.split(".")[0]}
    files: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        if name in files or name.split(".")[0] not in tops or name.startswith("common.report"):
            continue
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:  # a name inside a module
            continue
        if spec is None or spec.origin is None or name.endswith(".tables"):
            continue
        files[name] = Path(spec.origin)
        queue += _imported(name, Path(spec.origin))
    return {name: files[name] for name in sorted(files)}


def _imported(name: str, file: Path) -> list[str]:
    """Names of modules, or of things in them, that a file imports anywhere."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names
