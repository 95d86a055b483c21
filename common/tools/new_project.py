"""Copies a project folder as the start of another one: `make new-project FROM=flipreid NAME=my_idea`."""

import ast
import re
import shutil
import sys
from pathlib import Path

from common.experiments.config import run_command

ROOT = Path(__file__).resolve().parents[2]
# What the original measured and trained is not the copy's; nor are the tests of it.
LEFT_OUT = ("__pycache__", "results.json", "figures", "weights")
TESTS_LEFT_OUT = ("__pycache__", "test_tables.py", "test_architecture.py", "test_any_image.py")

_README = """# {name}

**Claim.** Yours. This folder is a copy of another project, without its results.

## Edit first

1. `config.py`: the settings, and a preset for each row of your tables. `smoke` must take seconds, `demo` minutes.
2. `paper_results.py`: the numbers you compare with, and the title of the publication. All are empty now.
3. `model.py` and `train.py`: the networks and losses, and how one of them is trained.
4. `tables.py`: `findings` says what decides your claims; the names there are still those of the original.
5. `FIDELITY.md`: every choice, and whose it is. `tests/{name}`: the tests of the original, which pass.

## At a glance

<!-- glance:begin -->
<!-- glance:end -->

All tables: [RESULTS.md](RESULTS.md), by `make eval-{name} ARGS=--publish`.

## Run it

```bash
make train-{name} PRESET=smoke
make train-{name}
make eval-{name}
make test ARGS=tests/{name}
```
"""
_FIDELITY = """# What is the publication's, and what is not

| choice | text | here | why |
|---|---|---|---|
"""


def new_project(source: str, name: str, root: Path = ROOT) -> Path:
    """Copies project `source` and its tests to `name`, without its results and numbers, and returns the new folder.

    Raises:
        ValueError: `source` is no project, or `name` is taken or no name for a Python package.
    """
    projects = sorted(path.parent.name for path in root.glob("*/train.py"))
    if source not in projects:
        raise ValueError(f"FROM must be one of {projects}, got {source!r}.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"NAME must be small letters, digits and underscores, and start with a letter, got {name!r}.")
    if (root / name).exists() or (root / "tests" / name).exists() or name in sys.stdlib_module_names:
        raise ValueError(f"NAME {name!r} is taken; choose another one.")
    shutil.copytree(root / source, root / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    # A layer or a preset may have the same word in its name.
    for path in (root / name).rglob("*.py"):
        _replace(path, rf"(\bmake \w+-){source}\b", rf"\g<1>{name}")
    if (root / "tests" / source).exists():
        shutil.copytree(root / "tests" / source, root / "tests" / name, ignore=shutil.ignore_patterns(*TESTS_LEFT_OUT))
        for path in (root / "tests" / name).rglob("*.py"):
            # Modules and folders; a method may have the project's name too.
            _replace(path, rf"(?<!layers[/.])\b{source}\b(?=[./])|(?<=^from ){source}(?= import)", name)
    _write_pages(root / source, root / name)
    numbers = root / name / "paper_results.py"
    numbers.write_text(without_numbers(numbers.read_text(encoding="utf-8")), encoding="utf-8")
    return root / name


def without_numbers(code: str) -> str:
    """A module with its tables and texts emptied: dictionaries, lists, tuples and strings that names are given."""
    lines = code.splitlines()
    for node in reversed(ast.parse(code).body):
        if isinstance(node, ast.Expr):  # the docstring
            lines[node.lineno - 1 : node.end_lineno] = ['"""The numbers that yours are compared with."""']
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            empty = {ast.Dict: "{}", ast.List: "[]", ast.Tuple: "()"}.get(type(node.value))
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                empty = '""'
            if empty:
                head = lines[node.lineno - 1].partition(" = ")[0]
                lines[node.lineno - 1 : node.end_lineno] = [f"{head} = {empty}"]
    return "\n".join(lines) + "\n"


def _write_pages(source: Path, folder: Path) -> None:
    """The pages of a project that has measured nothing; RESULTS has the marks that programs write between."""
    results = (source / "RESULTS.md").read_text(encoding="utf-8")
    marks = "\n".join(
        f"<!-- {part}:begin -->\n<!-- {part}:end -->\n" for part in re.findall(r"<!-- ([\w-]+):begin", results)
    )
    pages = {
        "README.md": _README.format(name=folder.name),
        "FIDELITY.md": _FIDELITY,
        "RESULTS.md": f"# Results of {folder.name}\n\n{marks}",
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def _replace(path: Path, pattern: str, replacement: str) -> None:
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(pattern, replacement, text, flags=re.MULTILINE), encoding="utf-8")


def main() -> None:
    """Command line: FROM NAME."""
    source, name = (sys.argv[1:] + ["", ""])[:2]
    folder = new_project(source, name)
    print(
        f"{folder.name}/ is a project now: make train-{folder.name} PRESET=smoke. {folder.name}/README.md says what to "
        "edit first."
    )


if __name__ == "__main__":
    run_command(main)
