"""Rules that hold for the whole repository: imports, presets, READMEs, copying a project."""

import ast
import importlib
import re
import subprocess
from dataclasses import fields

import pytest

from common.config import EvaluationArguments, from_json, to_json
from common.new_project import new_project
from tests.helpers import ROOT, copied_project, run_python

PROJECTS = sorted(path.parent.name for path in ROOT.glob("*/train.py"))
# TensorFlow is imported by these alone, and only where it is the backend: all modules can be imported without it.
MAY_IMPORT_TENSORFLOW = (
    "common/adversarial.py",
    "common/datasets/batches.py",
    "common/datasets/images.py",
    "common/distribution.py",
)


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(nodes):
    """(module, level) of each import statement."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level


@pytest.mark.parametrize("path", sources("common", *PROJECTS), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_keep_the_layers_apart(path):
    name = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for module, level in imports(ast.walk(tree)):
        top = module.split(".")[0]
        assert level > 0 or top not in PROJECTS, f"{name} imports project {module}; within a project import relatively"
        if top in ("tensorflow", "tensorflow_addons"):
            assert name in MAY_IMPORT_TENSORFLOW, f"{name} imports {module}"
    always = {module.split(".")[0] for module, _ in imports(tree.body)}
    assert not always & {"tensorflow", "jax", "torch"}, f"{name} imports a backend whichever is used"


@pytest.mark.parametrize("path", sources("common", *PROJECTS), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("project", PROJECTS)
def test_projects_are_siblings(project):
    for name in ("README.md", "config.py", "model.py", "train.py", "evaluate.py"):
        assert (ROOT / project / name).is_file(), f"{project} has no {name}"
    assert len((ROOT / project / "train.py").read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("project", PROJECTS)
def test_presets_are_whole(project):
    module = importlib.import_module(f"{project}.config")
    assert {"smoke", "demo"} <= set(module.PRESETS)
    for description, config in module.PRESETS.values():
        assert description and from_json(to_json(config), type(config)) == config


@pytest.mark.parametrize("project", PROJECTS)
def test_config_fields_say_what_they_are(project):
    module = importlib.import_module(f"{project}.config")
    source = (ROOT / project / "config.py").read_text(encoding="utf-8")
    own = [field.name for field in fields(module.Config) if field.name in module.Config.__annotations__]
    assert [name for name in own if not re.search(rf"^    {name}: .*# \w", source, re.MULTILINE)] == []


def readmes():
    return [ROOT / "README.md", *(ROOT / project / "README.md" for project in PROJECTS)]


@pytest.mark.parametrize("path", readmes(), ids=lambda path: str(path.relative_to(ROOT)))
def test_readme_commands_are_real(path):
    """Every `make` command: its target, its preset, and its fields; every linked file."""
    text = path.read_text(encoding="utf-8")
    commands = re.findall(r"^(make .*)$", "\n".join(re.findall(r"```(?:bash|sh)?\n(.*?)```", text, re.DOTALL)), re.M)
    commands += re.findall(r"`(make [^`]*)`", text)
    assert commands
    for command in commands:
        command = command.split(" #")[0].strip()
        if "…" in command or "<" in command or "NAME=" in command or "my_idea" in command:
            continue
        found = subprocess.run(
            command.replace("make", "make --dry-run", 1), shell=True, cwd=ROOT, capture_output=True, text=True
        )
        assert found.returncode == 0, f"{command}: {found.stderr}"
        project = re.search(r"make (?:train|eval)-(\w+)", command)
        if project:
            assert project[1] in PROJECTS, command
            presets = importlib.import_module(f"{project[1]}.config").PRESETS
            preset = re.search(r"PRESET=(\w+)", command)
            assert preset is None or preset[1] in presets, command
            module = importlib.import_module(f"{project[1]}.evaluate")
            arguments = getattr(module, "Arguments", EvaluationArguments)
            names = {field.name for field in (*fields(presets["demo"][1]), *fields(arguments))}
            for flag in re.findall(r"--([a-z-]+)", command):
                assert flag.replace("-", "_") in names, command
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (path.parent / target).exists(), f"{path.name} links to {target}, which is not there"


def test_first_page_lists_every_project():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [project for project in PROJECTS if f"make train-{project}" not in text] == []


def test_requirements_are_exact():
    for path in ROOT.glob("requirements*.txt"):
        lines = path.read_text(encoding="utf-8").splitlines()
        pins = [line for line in lines if line and not line.startswith(("#", "-r"))]
        assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+(\[[\w-]+\])?==[\w.]+", pin)] == []


def test_copied_projects_stand_alone(tmp_path):
    modules = []
    for number, project in enumerate(PROJECTS):
        copy = copied_project(project, f"idea{number}", tmp_path)
        assert not (copy / "results.json").exists()
        for path in (*copy.glob("*.py"), copy / "README.md"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(rf"\bmake \w+-{project}|package=.{project}|-m {project}|runs/{project}", text), path
        assert project not in text  # the README
        modules += [f"{copy.name}.{path.stem}" for path in copy.glob("*.py")]
    program = f"import importlib\nfor name in {modules}: importlib.import_module(name)"
    run_python("-c", program, cwd=tmp_path, PYTHONPATH="")


@pytest.mark.slow  # tests/common/test_reproduce.py trains a copy of l2_autoencoder each time
@pytest.mark.parametrize("project", PROJECTS)
def test_copied_project_trains(project, tmp_path):
    pytest.importorskip("tensorflow")
    copied_project(project, "my_idea", tmp_path)
    run_python("-m", "my_idea.train", "smoke", cwd=tmp_path, PYTHONPATH="")
    assert (tmp_path / "runs/my_idea/smoke/report.md").is_file()


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("nothing", "my_idea", "FROM must be one of"),
        (PROJECTS[0], "My-Idea", "NAME must be small letters"),
        (PROJECTS[0], "common", "'common' is taken"),
        (PROJECTS[0], "random", "'random' is taken"),
    ],
)
def test_copying_refuses_bad_names(source, name, message):
    with pytest.raises(ValueError, match=message):
        new_project(source, name)
    assert not (ROOT / "My-Idea").exists()
