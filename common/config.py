"""Presets in, typed command line in between, `config.json` out.

A project's `config.py` holds one frozen dataclass derived from `RunConfig` and a table
`PRESETS: dict[name, (description, config)]`; everything else is here.
"""

import json
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import tyro

from common.files import about_disk, write_json

Config = TypeVar("Config", bound="RunConfig")
Trial = TypeVar("Trial")


@dataclass(frozen=True)
class RunConfig:
    """What every run of every project has."""

    name: str = ""  # run folder below runs-dir/<project>; empty: the preset's name
    runs_dir: Path = Path("runs")  # where run folders go
    data_dir: Path | None = None  # folder of the data set; not needed for embedded data
    seeds: tuple[int, ...] = (0,)  # one training each
    strategy: Literal["auto", "one", "mirrored", "multi_worker"] = "auto"  # devices to train on

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be one or more different integers from 0 on, got {self.seeds}.")

    def _check(
        self, *, above_zero: Sequence[str] = (), zero_or_more: Sequence[str] = (), different: Sequence[str] = ()
    ) -> None:
        """Raises ValueError for the first of the named fields that is not as its argument says."""
        for name in above_zero:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero, got {getattr(self, name)}.")
        for name in zero_or_more:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be zero or more, got {getattr(self, name)}.")
        for name in different:
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must be one or more different ones, got {values}.")


def parse(presets: Mapping[str, tuple[str, Config]], arguments: Sequence[str] | None = None) -> Config:
    """Parses `PRESET [--field value ...]`; exits with status 2 and a message on bad input.

    Args:
        presets: name -> (description, config).
        arguments: command line without the program's name; default `sys.argv[1:]`.
    """
    named = {
        name: (description, replace(config, name=config.name or name))
        for name, (description, config) in presets.items()
    }
    return tyro.extras.overridable_config_cli(named, args=arguments)


def run_command(command: Callable[[], None]) -> None:
    """Runs a program's `main`; an error that this repository raises is told in its sentence alone.

    So is a disk that is full or may not be written to. Other errors from elsewhere keep their traceback: they are not
    of the user's making.
    """
    try:
        command()
    except OSError as error:
        if (sentence := about_disk(error)) is None:
            raise
        sys.exit(sentence)
    except (ValueError, ArithmeticError, MemoryError) as error:
        raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
        if Path(__file__).resolve().parents[1] not in raised_in.parents or ".venv" in raised_in.parts:
            raise
        sys.exit(f"{type(error).__name__}: {error}")


def to_json(config: RunConfig) -> dict[str, Any]:
    """A config as JSON values: paths as strings, tuples as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        return [plain(item) for item in value] if isinstance(value, (tuple, list)) else value

    return {name: plain(value) for name, value in asdict(config).items()}


def from_json(values: Mapping[str, Any], config_class: type[Config]) -> Config:
    """The inverse of `to_json`; unknown fields and values of another type are errors.

    Raises:
        ValueError: a field is unknown or missing, or has a value of another type.
    """
    hints = typing.get_type_hints(config_class)
    names = [field.name for field in fields(config_class)]
    unknown, missing = sorted(set(values) - set(names)), sorted(set(names) - set(values))
    if unknown or missing:
        raise ValueError(
            f"The fields do not fit {config_class.__name__}: unknown {unknown}, missing {missing}. "
            "Was the file written by another project or version?"
        )
    return config_class(**{name: _typed(values[name], hints[name], name) for name in names})


def _typed(value: Any, hint: Any, name: str) -> Any:
    """`value` from JSON as the type that `hint` asks for."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        (hint,) = [option for option in options if option is not type(None)]
        return _typed(value, hint, name)
    if origin is tuple and isinstance(value, list):
        items = options[:1] * len(value) if options[-1] is Ellipsis else options
        if len(items) == len(value):
            return tuple(_typed(item, kind, name) for item, kind in zip(value, items))
    elif origin is Literal and value in options:
        return value
    elif hint is Path and isinstance(value, str):
        return Path(value)
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"Field {name!r} must be {hint}, got {value!r}.")


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
    # A hidden file is what a killed process has left of its config.json.
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


@dataclass(frozen=True)
class EvaluationArguments:
    """Evaluates a run and prints the table «paper | this run»."""

    run: tyro.conf.Positional[Path | None] = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    publish: bool = False  # keep the numbers in results.json and renew the README's tables

    def folder(self, project: str) -> Path:
        """The run folder; raises as `newest_run` does."""
        return self.run or newest_run(self.runs_dir, project)


def finished(run: Path, planned: Sequence[Trial], is_finished: Callable[[Trial], bool]) -> list[Trial]:
    """The trials of a run that can be evaluated.

    Raises:
        ValueError: there are none.
    """
    found = [trial for trial in planned if is_finished(trial)]
    if not found:
        raise ValueError(f"No training in {run} is finished. The command that trains it continues it.")
    return found
