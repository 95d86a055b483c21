"""Trains and evaluates all presets of a project whose data are there, in order: `make reproduce-flipreid DATA=~/data`.

Each has its own command, so whatever was stopped goes on where it was. Each evaluation renews the tables.
"""

import importlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.experiments.config import run_command

# Preset -> field -> its path below the folder of all data sets.
Plan = Mapping[str, Mapping[str, str]]


def reproduce(project: str, data: Path, runs_dir: Path, arguments: Sequence[str] = ()) -> list[str]:
    """Runs `python -m PROJECT PRESET` and `python -m PROJECT.evaluate RUN --publish` for each possible preset.

    Args:
        project: whose `config.DATA` is the plan; arguments of evaluations are in `config.EVALUATION_ARGUMENTS`, if any.
        data: folder of all data sets.
        runs_dir: folder of runs.
        arguments: `--field value …` for all trainings.

    Returns:
        The presets whose data are missing, which are left out.

    Raises:
        ValueError: there is no such folder, or a command failed.
    """
    config = importlib.import_module(f"{project}.config")
    plan: Plan = config.DATA
    of_evaluation: Mapping[str, Sequence[str]] = getattr(config, "EVALUATION_ARGUMENTS", {})
    if not data.is_dir():
        raise ValueError(f"DATA must be the folder of all data sets, got {data}, which does not exist.")
    left_out = []
    for preset, paths in plan.items():
        missing = [str(data / path) for path in paths.values() if not (data / path).exists()]
        if missing:
            print(f"{project} {preset}: left out, as there is no {' and no '.join(missing)}.")
            left_out.append(preset)
            continue
        fields = [text for field, path in paths.items() for text in (f"--{field.replace('_', '-')}", str(data / path))]
        _run(project, preset, "--runs-dir", str(runs_dir), *fields, *arguments)
        _run(f"{project}.evaluate", str(runs_dir / project / preset), "--publish", *of_evaluation.get(preset, ()))
    return left_out


def _run(module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    print(f"\n$ {' '.join(['python', *command[1:]])}", flush=True)
    status = subprocess.run(command).returncode
    if status:
        raise ValueError(f"{module} {arguments[0]} ended with status {status}; the same command goes on from there.")


def main() -> None:
    """Command line: PROJECT DATA [--field value …]."""
    if len(sys.argv) < 3:
        raise ValueError("The command line is PROJECT DATA [--field value …]; make reproduce-PROJECT DATA=~/data.")
    project, data, *arguments = sys.argv[1:]
    reproduce(project, Path(data).expanduser(), Path("runs"), arguments)
    for row, reason in getattr(importlib.import_module(f"{project}.paper_results"), "LEFT_OUT", {}).items():
        print(f"{project}, {row}: not planned; {reason}.")


if __name__ == "__main__":
    run_command(main)
