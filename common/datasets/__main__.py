"""Checks a copy of a data set: `python -m common.datasets check DIR`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from common.datasets.check import check
from common.experiments.config import run_command


@dataclass(frozen=True)
class Options:
    """Reads every image of Market-1501, DukeMTMC-reID, MSMT17, VERI-Wild, CompCars or a folder of classes.

    Ends with status 1 where something is wrong.
    """

    action: tyro.conf.Positional[Literal["check"]]  # what to do
    folder: tyro.conf.Positional[Path]  # of the set, or the one that holds it


def main() -> None:
    """Command line."""
    options = tyro.cli(Options, prog="python -m common.datasets")
    name, findings = check(options.folder)
    problems = [finding for finding in findings if finding.is_problem]
    print(f"Checked as {name}: {len(problems)} problem(s).")
    for finding in sorted(findings, key=lambda finding: not finding.is_problem):
        print(f"{'PROBLEM' if finding.is_problem else 'note':8} {finding.text}")
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
