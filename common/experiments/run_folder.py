"""The folder of a run: lock it, open it, and find it again."""

import contextlib
import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import filelock

from common.experiments.config import Config, RunConfig, from_json, to_json
from common.experiments.identity import IDENTITY, differences, identity_of, read_identity, settings_of, with_defaults
from common.files import json_text, write_json

LOCK, _HOLDER = ".lock", ".holder.json"


class Trial(Protocol):
    """One training of a run; `name` is that of its folder in the run folder."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Trial)


def folder_of(config: RunConfig, project: str) -> Path:
    """The run folder `runs_dir/project/name`, be it there or not."""
    return config.runs_dir / project / config.name


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Makes a run folder if it is not there; inside, no other process trains in it.

    The lock is one of the operating system, which lets go of it however this process ends.

    Raises:
        ValueError: another process has it, or the folder holds something that is no run.
    """
    _check_ours(run)
    run.mkdir(parents=True, exist_ok=True)
    lock, holder = filelock.FileLock(run / LOCK, timeout=0), run / _HOLDER
    try:
        lock.acquire()
    except filelock.Timeout:
        tasks = int(os.environ.get("SLURM_NTASKS", 1))
        slurm = f" This is one of {tasks} tasks of SLURM that train apart: ask for --ntasks=1." * (tasks > 1)
        raise ValueError(f"{_holder(holder, run)}{slurm} When it has ended, the same command goes on.") from None
    try:
        now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
        own = {"host": platform.node(), "process": os.getpid(), "since": now, "command": shlex.join(sys.argv)}
        write_json(holder, own)
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _holder(path: Path, run: Path) -> str:
    try:
        other = json.loads(path.read_text(encoding="utf-8"))
        return (
            f"{run} is being trained by process {other['process']} on {other['host']} since {other['since']} "
            f"({other['command']}). Wait for it, stop it there, or choose another --name."
        )
    except (OSError, ValueError, KeyError):  # it has just begun, or is about to end
        return f"{run} is being trained by another process. Wait for it, or choose another --name."


def _check_ours(run: Path) -> None:
    """Raises ValueError for a folder with other content. Of a killed process there may be hidden files alone."""
    if not run.exists() or any((run / name).exists() for name in ("config.json", IDENTITY)):
        return
    if not run.is_dir() or not all(path.name.startswith(".") for path in run.iterdir()):
        raise ValueError(
            f"{run} is not empty and has no config.json, so it is not a run folder. "
            "Choose another --name, or remove that folder."
        )


def refuse_another(run: Path, config: RunConfig, identity: dict[str, Any] | None = None) -> None:
    """Raises ValueError if a folder holds another run than that of a config, or no run.

    Args:
        run: folder.
        config: to train, or to go on with.
        identity: of the run; None: before data and files are read, by the settings alone.
    """
    _check_ours(run)
    before, path = read_identity(run), run / "config.json"
    if before is None and path.is_file():
        before = settings_of(_read_config(path), type(config))
    if before is None:
        return
    now = identity or {**settings_of(to_json(config), type(config)), "files": before.get("files", {}), "data": {}}
    before = with_defaults({"files": now["files"], "data": {}, **before}, type(config))
    changes = differences(before, now)
    if changes:
        growing = " and ".join(["seeds may be added", *(f"{name} raised" for name in config.EXTENDABLE)])
        ends = getattr(config, "epochs", 0) > (before["settings"].get("epochs") or sys.maxsize)
        schedule = "Its schedule ends with its epochs, so it cannot be extended. " * ends
        raise ValueError(
            f"{run} holds another run ({'; '.join(changes)}). {schedule}"
            f"Choose another --name, or remove that folder to start over; only {growing}."
        )


def open_run(config: RunConfig, project: str, identity: dict[str, Any] | None = None) -> Path:
    """Creates the run folder, or opens it to go on with the same run, be it with more seeds or epochs.

    Args:
        config: of the run.
        project: name of the package.
        identity: of the run with its data (`identity_of`); None binds it to none.

    Raises:
        ValueError: the folder holds a run of other settings, data or weights, or something that is no run.
    """
    run, identity = folder_of(config, project), identity or identity_of(config)
    refuse_another(run, config, identity)
    run.mkdir(parents=True, exist_ok=True)
    known = read_identity(run) or identity
    # Files are bound to the settings as they were written, be it without fields that came later.
    _write_changed(
        run / IDENTITY, {**identity, "settings": known["settings"], "data": identity["data"] or known["data"]}
    )
    _write_changed(run / "config.json", to_json(config))
    return run


def _write_changed(path: Path, value: Any) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != json_text(value):
        write_json(path, value)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a config: {error}") from error


def load_config(run: Path, config_class: type[Config]) -> Config:
    """Reads the config of a run folder.

    Raises:
        ValueError: `run` is not a run folder, or its `config.json` is damaged, of another class, or was changed.
    """
    path = Path(run) / "config.json"
    if not path.is_file():
        raise ValueError(
            f"{run} is not a run folder: it has no config.json. Train first, or pass the folder "
            "that the training printed."
        )
    values = _read_config(path)
    try:
        config = from_json(values, config_class)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a config: {error}") from error
    known, now = read_identity(Path(run)), settings_of(to_json(config), config_class)
    identity = known and with_defaults(known, config_class)
    if identity is not None and now != {k: identity[k] for k in now}:
        changes = "; ".join(differences(identity, {**identity, **now})) or "seeds or epochs were added"
        raise ValueError(
            f"{path} is not what was trained with ({changes}). Put it back, or give the command that trained the run."
        )
    return config


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


def finished_trials(run: Path, planned: Sequence[T], is_finished: Callable[[T], bool]) -> list[T]:
    """The trials of a run that can be evaluated.

    Raises:
        ValueError: there are none.
    """
    finished = [trial for trial in planned if is_finished(trial)]
    if not finished:
        raise ValueError(f"No training in {run} is finished. The command that trains it continues it.")
    return finished


def chosen_trial(run: Path, planned: Sequence[T], is_finished: Callable[[T], bool], name: str | None) -> T:
    """The finished training of that name, of its folder; without one the last, as methods are in their order.

    Raises:
        ValueError: there is none.
    """
    finished = {trial.name: trial for trial in finished_trials(run, planned, is_finished)}
    if name not in (None, *finished):
        raise ValueError(f"{run} has no finished training {name}; finished are {list(finished)}.")
    return finished[name or list(finished)[-1]]
