"""The folder of a run: open it, find it again, record its environment, and cache what is computed from it."""

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import keras

from common import distribution
from common.experiments.config import Config, RunConfig, from_json, to_json
from common.files import write_json

Trial = TypeVar("Trial")

# Where a run lives and on how many devices it is trained do not change what it computes.
_MAY_DIFFER = ("runs_dir", "data_dir", "strategy")


def open_run(config: RunConfig, project: str) -> Path:
    """Creates the run folder `runs_dir/project/name`, or opens it to continue the same run, be it with more seeds.

    Raises:
        ValueError: the folder holds a run with another config, or something that is no run.
    """
    folder = config.runs_dir / project / config.name
    path = folder / "config.json"
    if path.exists():
        before, now = json.loads(path.read_text(encoding="utf-8")), to_json(config)
        changes = [
            f"{name} was {before.get(name)!r} and is now {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if name not in _MAY_DIFFER
            and before.get(name) != now.get(name)
            # Each seed is a training of its own, so more of them leave those before as they are.
            and not (name == "seeds" and set(before.get(name, ())) <= set(now[name]))
        ]
        if changes:
            raise ValueError(
                f"{folder} holds a run with another config ({'; '.join(changes)}). "
                "Choose another --name, or remove that folder to start over; only seeds may be added to it."
            )
    # A killed process may have left a part of its config.json, in a hidden file.
    elif folder.exists() and not all(path.name.startswith(".") for path in folder.iterdir()):
        raise ValueError(
            f"{folder} is not empty and has no config.json, so it is not a run folder. "
            "Choose another --name, or remove that folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, to_json(config))
    return folder


def load_config(run: Path, config_class: type[Config]) -> Config:
    """Reads the config of a run folder.

    Raises:
        ValueError: `run` is not a run folder, or its `config.json` is damaged or of another class.
    """
    path = Path(run) / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{run} is not a run folder: it has no config.json. Train first, or pass the folder "
            "that the training printed."
        )
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")), config_class)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a config: {error}") from error


def newest_run(runs_dir: Path, project: str) -> Path:
    """The run folder of `project` that was trained last.

    Raises:
        ValueError: there is none.
    """
    runs = sorted(
        (path.parent for path in (Path(runs_dir) / project).glob("*/environment.json")),
        key=lambda run: (run / "environment.json").stat().st_mtime_ns,
    )
    if not runs:
        raise ValueError(f"There is no run below {Path(runs_dir) / project}. Train first: make train-{project}")
    return runs[-1]


def finished_trials(run: Path, planned: Sequence[Trial], is_finished: Callable[[Trial], bool]) -> list[Trial]:
    """The trials of a run that can be evaluated.

    Raises:
        ValueError: there are none.
    """
    finished = [trial for trial in planned if is_finished(trial)]
    if not finished:
        raise ValueError(f"No training in {run} is finished. The command that trains it continues it.")
    return finished


def write_environment(run: Path) -> None:
    """Writes `environment.json`: versions, commit, devices and command of the process that trains."""
    packages = (keras.backend.backend(), "keras", "numpy", "scipy", "scikit-learn")
    write_json(
        run / "environment.json",
        {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
            "commit": _commit(),
            "devices": distribution.devices(),
            "command": sys.argv,
        },
    )


def _commit() -> str:
    """The commit of this repository; "unknown" for an installed copy, be its environment in another repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD:./", "HEAD"]  # the first: is it tracked?
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.split()[-1] if done.returncode == 0 else "unknown"


def cached_json(path: Path, inputs: Sequence[Path], module: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record that `make` returns, computed again only if its inputs or its code have changed.

    Args:
        path: JSON file of the record; its field `made_from` is a digest of inputs and code.
        inputs: files that the record is a function of, such as weights.
        module: name of the module that computes it: the code is its `source_files`.
        make: computes the record.
    """
    if module == "__main__" and (spec := sys.modules[module].__spec__):  # of `python -m`
        module = spec.name
    contents = b"".join(file.read_bytes() for file in (*inputs, *source_files(module)))
    made_from = hashlib.sha256(contents).hexdigest()
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("made_from") == made_from:
            return record
    record = {**make(), "made_from": made_from}
    write_json(path, record)
    return record


@functools.cache
def source_files(module: str) -> tuple[Path, ...]:
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
    return tuple(files[name] for name in sorted(files))


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
