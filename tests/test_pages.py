"""What the pages say: their tables are those of `results.json`, and their commands are accepted as they stand."""

import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys

import pytest
import tyro

from adaptive_l2 import digit_classifier
from common.experiments.config import from_json, parse
from common.report import pages as common_pages
from common.report import tables
from common.tools import pages as first_page
from l2_autoencoder.config import PRESETS
from l2_autoencoder.tables import differences_table, run_table
from tests.children import PROJECTS, ROOT
from tests.vocabulary import BRITISH, IN_SENTENCES, OLD_WORDS

# Not those of environments, and of reports of trainings.
_FOLDERS = [path for path in ROOT.glob("[!.]*") if path.is_dir() and path.name != "runs"]
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in _FOLDERS for path in folder.rglob("*.md"))])
# What renders a part of a page: module, name of the part.
RENDERED = [(f"{project}.tables", "results") for project in PROJECTS]
RENDERED.append(("adaptive_l2.digit_classifier", "classification"))


@pytest.mark.parametrize(("module", "part"), RENDERED)
def test_tables_of_the_page_are_those_of_the_published_numbers(module, part, monkeypatch):
    rendered = {}
    monkeypatch.setattr(tables, "update_between", lambda path, name, text: rendered.update({(path, name): text}))
    monkeypatch.setattr(common_pages, "update_between", tables.update_between)
    importlib.import_module(module).renew_pages()
    assert (ROOT / module.split(".")[0] / "RESULTS.md", part) in rendered
    for (path, name), text in rendered.items():
        assert path.parent == ROOT / module.split(".")[0]
        assert f"<!-- {name}:begin -->\n{text}\n<!-- {name}:end -->" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("project", PROJECTS)
def test_published_runs_say_in_which_fields_they_differ_from_their_preset(project):
    presets = importlib.import_module(f"{project}.config").PRESETS
    for name, entry in tables.published(ROOT / project).items():
        own = digit_classifier.PRESETS if name == digit_classifier.PUBLISHED else presets
        preset = own[entry["preset"]][1]
        from_json(entry["config"], type(preset))  # no field that the config lacks
        assert entry["changed"] == tables.changed_fields(entry["config"], preset), name
        run = name.partition(",")[0]
        assert entry["preset"] == run or run not in own, name


class Parsed(BaseException):
    """The command line was accepted; nothing runs."""


def accept(module, arguments, monkeypatch):
    """Fails unless `python -m MODULE ARGUMENTS` gets past its parser; nothing of it runs."""
    if module in PROJECTS:
        parse(importlib.import_module(f"{module}.config").PRESETS, arguments)
    elif module == "common.tools.reproduce":
        project, _, *fields = arguments
        parse(importlib.import_module(f"{project}.config").PRESETS, ["demo", *fields])
    elif module.startswith(("tests.golden", "common.tools.pages")):
        assert importlib.util.find_spec(module) and not arguments
    else:
        cli = tyro.cli

        def parse_only(*positional, **keywords):
            cli(*positional, **keywords)
            raise Parsed

        monkeypatch.setattr(tyro, "cli", parse_only)
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        # Not a package: its modules would be missing in the one that takes its place.
        is_package = hasattr(sys.modules.get(module), "__path__")
        monkeypatch.delitem(sys.modules, f"{module}.__main__" if is_package else module, raising=False)
        with pytest.raises(Parsed):
            runpy.run_module(module, run_name="__main__")
        monkeypatch.undo()


def commands_of(page):
    """Shell commands of a page's blocks, and what is in `quotes` and begins like one."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"```(?:bash|sh)?\n(.*?)```", text, re.DOTALL))
    commands = re.findall(r"^((?:make|(?:\S*/)?python) .*)$", blocks, re.MULTILINE)
    commands += re.findall(r"`((?:make|(?:\S*/)?python) [^`]*)`", text)
    placeholders = ("…", "<", "my_idea", "PRESET [", "T/")
    return [c.split(" #")[0].strip().rstrip("&").strip() for c in commands if not any(p in c for p in placeholders)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_of_the_page_are_accepted(page, monkeypatch, capsys):
    # `make test` hands its own arguments on.
    handed_on = re.compile("MAKE|MFLAGS|ARGS|PRESET|RUN$")
    environment = {name: value for name, value in os.environ.items() if not handed_on.match(name)}
    for command in commands_of(page):
        lines = [command]
        if command.startswith("make "):
            dry = [
                *shlex.split(command),
                "--dry-run",
                *(f"--assume-old={name}/.installed" for name in (".venv", ".venv-jax")),
            ]
            done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, f"{command}: {done.stderr}"
            lines = re.findall(r"^\S*python -m .*$", done.stdout, re.MULTILINE)
        for line in lines:
            _, option, module, *arguments = shlex.split(line)
            if option == "-m" and module != "pytest" and "--help" not in arguments:
                try:
                    accept(module, arguments, monkeypatch)
                except SystemExit:
                    pytest.fail(f"{command}: {capsys.readouterr().err}")


def test_the_first_page_shows_what_the_first_command_prints():
    """Numbers as published; `make eval-l2_autoencoder RUN=… ARGS=--publish` writes those of a run."""
    published = tables.published(ROOT / "l2_autoencoder")["demo"]
    config = from_json(published["config"], type(PRESETS["demo"][1]))
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    assert run_table(config, published["trials"]) in shown
    assert differences_table(published["differences"], "accuracy (points)") in shown


def test_the_first_page_has_the_first_finding_of_each_project():
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- verdicts:begin -->\n{first_page.verdict_table()}\n<!-- verdicts:end -->" in shown
    assert list(first_page.PICTURES) == [project for project in first_page.PICTURES if project in PROJECTS]
    assert set(first_page.PICTURES) == set(PROJECTS)


@pytest.mark.parametrize("project", PROJECTS)
def test_pages_are_short_and_begin_with_what_was_decided(project):
    """At most 150 lines, the first picture before line 40; the publication's title as CITATION.cff has it."""
    lines = (ROOT / project / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert next(number for number, line in enumerate(lines) if line.startswith("![")) < 40
    title = importlib.import_module(f"{project}.paper_results").PUBLICATION
    assert title in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"{{{title}}}" in "\n".join(lines)


@pytest.mark.parametrize("project", PROJECTS)
def test_numbers_at_a_glance_are_those_of_the_tables(project):
    """What is written by hand there is in RESULTS, or the publication's."""
    text = (ROOT / project / "README.md").read_text(encoding="utf-8")
    prose = re.search(r"<!-- glance:end -->(.*?)^## ", text, re.DOTALL | re.MULTILINE)[1]
    known = (ROOT / project / "RESULTS.md").read_text(encoding="utf-8")
    known += (ROOT / "tests/golden/published_numbers.csv").read_text(encoding="utf-8")
    numbers = re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", re.sub(r"Tables? \d\S*|Figs?\. \S*|Eq\. \S*", "", prose))
    assert [number for number in numbers if number not in known] == []


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


def test_pages_have_commands():
    every = [command for page in PAGES for command in commands_of(page)]
    assert len(every) > 80
    for project in PROJECTS:
        assert any(re.match(rf"make train-{project}\b", command) for command in commands_of(ROOT / "README.md"))


@pytest.mark.parametrize(
    "line",
    ["flipreid smoke --epochs many", "flipreid nothing", "shufflebits.compare --runs", "flipreid.evaluate --rerank"],
)
def test_wrong_commands_are_refused(line, monkeypatch):
    module, *arguments = line.split()
    with pytest.raises(SystemExit):
        accept(module, arguments, monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_of_the_page_lead_somewhere(page):
    """To a file that is there, and to a heading that it has."""
    broken = []
    for target in re.findall(r"\]\((?!http)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert broken == []


def anchors(page):
    """What links to a heading end in: small letters, hyphens for blanks, without other signs."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_words_of_the_page_are_those_of_the_field(page):
    """Titles of publications and what others wrote are printed as they are."""
    text = re.sub(r'"[^"\n]*"|`[^`]*`|\*[^*\n]+\*|\{[^}\n]*\}', "", page.read_text(encoding="utf-8"))
    assert set(re.findall(r"[a-z]+", text.lower())) & ((OLD_WORDS | BRITISH | {"whoever"}) - IN_SENTENCES) == set()


def test_every_page_is_in_the_index():
    listed = re.findall(r"\]\(([^)]+)\)", (ROOT / "docs/index.md").read_text(encoding="utf-8"))
    pages = {(ROOT / "docs" / target).resolve() for target in listed} | {ROOT / "docs/index.md"}
    assert [page for page in PAGES if page not in pages and page.name != "ATTRIBUTION.md"] == []


def test_hours_are_the_arithmetic_that_the_page_says():
    """Images of a preset's schedule; three times the operations forward; at two cores' rate and at 20 TFLOP/s."""
    text = (ROOT / "docs/accelerators.md").read_text(encoding="utf-8")
    lines = re.search(r"<!-- hours:begin -->\n(.*?)<!-- hours:end -->", text, re.S)[1].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(rows) == 10
    two_cores = 7.8 * 3 * 7.56e9  # operations a second: images a second of a ResNet-50, of 7.56 GFLOP forward
    for name, images, forward, total, days, hours in rows:
        images, forward = float(images.replace(",", "")), float(forward) * 1e9
        assert float(total) == pytest.approx(3 * images * forward / 1e15, rel=0.04, abs=0.05), name
        assert float(hours) == pytest.approx(3 * images * forward / 20e12 / 3600, rel=0.04, abs=0.05), name
        if "measured" not in days:
            assert float(days) == pytest.approx(3 * images * forward / two_cores / 86400, rel=0.04, abs=0.05), name
        project, _, preset = name.partition(" ")
        if preset.startswith("`market1501"):
            config = importlib.import_module(f"{project}.config").PRESETS[preset.split("`")[1]][1]
            steps = (config.frozen_epochs + config.epochs) * config.steps_per_epoch
            assert images == steps * config.identities_per_batch * config.images_per_identity
