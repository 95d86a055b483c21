"""Rules that hold for the whole repository: imports, presets, READMEs, copying a project."""

import ast
import builtins
import importlib
import importlib.util
import re
from dataclasses import fields
from graphlib import CycleError, TopologicalSorter

import pytest

from common.experiments.config import from_json, to_json
from common.tools.new_project import new_project
from tests.children import PROJECTS, ROOT
from tests.helpers import copied_project, run_python
from tests.vocabulary import BRITISH, IN_SENTENCES, OLD_WORDS, PHRASES

# TensorFlow is imported by these alone, and only where it is the backend: all modules can be imported without it.
MAY_IMPORT_TENSORFLOW = (
    "common/datasets/batches.py",
    "common/distribution.py",
    "common/experiments/training.py",
    "common/keras_workarounds.py",
    "common/workers.py",
    "shufflebits/attacks/gradient_steps.py",
)


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


LIBRARY = sources("common", *PROJECTS)


def named(path):
    return path.relative_to(ROOT).as_posix()


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path, nodes):
    """Full names of the modules, or of things in them, that import statements name."""
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in LIBRARY}
# Module -> modules of this repository that it imports, anywhere in the file. Packages stand for nothing but themselves.
GRAPH = {
    name: {other for other in imports(path, ast.walk(parsed(path))) if other in MODULES and other != name}
    for name, path in MODULES.items()
}


@pytest.mark.parametrize("path", LIBRARY, ids=named)
def test_imports_keep_the_layers_apart(path):
    name, tree = named(path), parsed(path)
    own = path.relative_to(ROOT).parts[0]
    for module in imports(path, ast.walk(tree)):
        top = module.split(".")[0]
        assert top not in PROJECTS or top == own, f"{name} imports project {module}"
        if top in ("tensorflow", "tensorflow_addons"):
            assert name in MAY_IMPORT_TENSORFLOW, f"{name} imports {module}"
    absolute = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    assert own == "common" or not [n for n in absolute if (n.module or "").split(".")[0] == own], f"{name}: relative"
    always = {module.split(".")[0] for module in imports(path, tree.body)}
    assert not always & {"tensorflow", "jax", "torch"}, f"{name} imports a backend whichever is used"


def test_no_files_import_each_other_in_a_circle():
    # A package's `__init__` gathers its modules, and importing one of these runs it: no circle of anybody's making.
    graph = {name: {o for o in others if not o.startswith(f"{name}.")} for name, others in GRAPH.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("project", PROJECTS)
def test_imports_go_one_way(project):
    """config <- data, model <- train, evaluate <- __main__."""
    programs = {f"{project}.{name}" for name in ("train", "evaluate", "__main__")}
    not_to_reach = {
        "config": programs | {f"{project}.data", f"{project}.model"},
        "data": programs,
        "model": programs,
        "train": programs - {f"{project}.train"},
        "evaluate": programs - {f"{project}.evaluate"},
    }
    for name, later in not_to_reach.items():
        reached, queue = set(), [f"{project}.{name}"]
        while queue:
            module = queue.pop()
            if module not in reached:
                reached.add(module)
                queue += GRAPH[module]
        assert not reached & later, f"{project}.{name}"


@pytest.mark.parametrize("path", LIBRARY, ids=named)
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    if path.name == "__init__.py":
        assert ast.get_docstring(parsed(path)), f"{named(path)} does not say what the package is for"


def test_folders_have_at_most_twelve_modules():
    folders = {}
    for path in LIBRARY:
        if path.name != "__init__.py":
            folders.setdefault(named(path.parent), []).append(path.name)
    assert {folder: names for folder, names in folders.items() if len(names) > 12} == {}


@pytest.mark.parametrize("project", PROJECTS)
def test_projects_are_siblings(project):
    modules = ("__main__", "config", "data", "model", "train", "evaluate", "tables", "paper_results")
    for name in ("README.md", *(f"{module}.py" for module in modules)):
        assert (ROOT / project / name).is_file(), f"{project} has no {name}"
    main = (ROOT / project / "__main__.py").read_text(encoding="utf-8")
    assert main == (ROOT / PROJECTS[0] / "__main__.py").read_text(encoding="utf-8")
    for module, name in (("train", "train"), ("evaluate", "evaluate")):
        assert callable(getattr(importlib.import_module(f"{project}.{module}"), name))


def words(identifier):
    """snake_case and CamelCase in parts, in small letters."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", identifier)}


def identifiers(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


@pytest.mark.parametrize("path", [*LIBRARY, *sources("tests")], ids=named)
def test_words_are_those_of_the_field(path):
    """House dialect and British spelling, in names everywhere, and in the docstrings and comments of the library."""
    tree = parsed(path)
    banned = OLD_WORDS | BRITISH
    own = {name for name in identifiers(tree) if not hasattr(builtins, name)}  # such as FileNotFoundError
    assert {name for name in own if words(name) & banned} == set()
    assert not words(path.stem) & banned
    if path in LIBRARY:
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        prose = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds)]
        prose += re.findall(r"#:? (.*)", path.read_text(encoding="utf-8"))
        text = "\n".join(prose).lower()
        assert set(re.findall(r"[a-z]+", text)) & (banned - IN_SENTENCES) == set()
        assert [phrase for phrase in PHRASES if phrase in text] == []


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
        for path in (*copy.rglob("*.py"), copy / "README.md"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(rf"\bmake \w+-{project}|package=.{project}|-m {project}|runs/{project}", text), path
        assert project not in text.replace(f"layers/{project}", "").replace(f"layers.{project}", "")  # the README
        modules += [".".join(path.relative_to(tmp_path).with_suffix("").parts) for path in copy.rglob("*.py")]
    program = f"import importlib\nfor name in {modules}: importlib.import_module(name)"
    run_python("-c", program, cwd=tmp_path, PYTHONPATH="")


@pytest.mark.slow  # tests/common/tools/test_reproduce.py trains a copy of l2_autoencoder each time
@pytest.mark.parametrize("project", PROJECTS)
def test_copied_project_trains(project, tmp_path):
    copied_project(project, "my_idea", tmp_path)
    run_python("-m", "my_idea", "smoke", cwd=tmp_path, PYTHONPATH="")
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
