"""Copies a project folder as the start of another one: `make new-project FROM=flipreid NAME=my_idea`."""

import re
import shutil
import sys
from pathlib import Path

from common.experiments.config import run_command

ROOT = Path(__file__).resolve().parents[2]
# What the original measured is no claim of the copy.
LEFT_OUT = ("__pycache__", "results.json", "figures", "weights")


def new_project(source: str, name: str, root: Path = ROOT) -> Path:
    """Copies project `source` to `name`, without its results, and returns the new folder.

    Raises:
        ValueError: `source` is no project, or `name` is taken or no name for a Python package.
    """
    projects = sorted(path.parent.name for path in root.glob("*/train.py"))
    if source not in projects:
        raise ValueError(f"FROM must be one of {projects}, got {source!r}.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"NAME must be small letters, digits and underscores, and start with a letter, got {name!r}.")
    if (root / name).exists() or name in sys.stdlib_module_names:
        raise ValueError(f"NAME {name!r} is taken; choose another one.")
    shutil.copytree(root / source, root / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    # The pages name the folder everywhere, the code in `make` commands of comments and reports. A layer or a preset
    # may have the same word in its name.
    for page in (root / name).glob("*.md"):
        _replace(page, rf"(?<!layers[/.])\b{source}\b", name)
        _replace(page, r"(<!-- (\w+):begin -->).*?(<!-- \2:end -->)", r"\1\n\3")
    for path in (root / name).rglob("*.py"):
        _replace(path, rf"(\bmake \w+-){source}\b", rf"\g<1>{name}")
    return root / name


def _replace(path: Path, pattern: str, replacement: str) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(pattern, replacement, text, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    """Command line: FROM NAME."""
    source, name = (sys.argv[1:] + ["", ""])[:2]
    folder = new_project(source, name)
    print(f"{folder.name}/ is a project now: make train-{folder.name} PRESET=smoke")


if __name__ == "__main__":
    run_command(main)
