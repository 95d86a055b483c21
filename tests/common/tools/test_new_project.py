"""What a copy of a project is called, what it lacks, and that its tests come with it."""

from common.tools.new_project import new_project, without_numbers

NUMBERS = '''"""The numbers of Publication IX."""

PUBLICATION = "On Numbers"

# mAP in %.
PAPER: dict[str, float] = {
    "a": 1.5,
}
LISTED = ["b 2.5"]
PAIR = (3.5, 4.5)
TARGET = 0.148  # at which all are compared
'''


def test_tables_of_numbers_are_emptied():
    assert without_numbers(NUMBERS) == (
        '"""The numbers that yours are compared with."""\n\nPUBLICATION = ""\n\n# mAP in %.\n'
        "PAPER: dict[str, float] = {}\nLISTED = []\nPAIR = ()\nTARGET = 0.148  # at which all are compared\n"
    )


def test_copy_names_itself_and_has_no_results(tmp_path):
    nested, tests = tmp_path / "source/service", tmp_path / "tests/source"
    for folder in (nested, tests, *(tmp_path / "source" / name for name in ("figures", "weights", "photographs"))):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"image")
    for path in (tmp_path / "source/train.py", nested / "server.py"):
        path.write_text('"""python -m PROJECT; make eval-source RUN=runs/a."""\nsource = "make evals source"\n')
    (tmp_path / "source/paper_results.py").write_text(NUMBERS)
    (tmp_path / "source/results.json").write_text("{}")
    (tmp_path / "source/README.md").write_text("# source\n\n**Claim.** It is 12 % better.\n")
    (tmp_path / "source/FIDELITY.md").write_text("| 12 |")
    (tmp_path / "source/RESULTS.md").write_text("12 %\n<!-- results:begin -->\n| 12 |\n<!-- results:end -->\n")
    code = "from source import train\nfrom source.data import read\nfrom common.layers.source import A\n"
    code += "methods = ['source']\n"
    (tests / "test_train.py").write_text(code)
    (tests / "test_tables.py").write_text("assert 12\n")
    copy = new_project("source", "my_idea", root=tmp_path)
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()) == [
        "FIDELITY.md", "README.md", "RESULTS.md", "paper_results.py", "photographs/a.png", "service/a.png",
        "service/server.py", "train.py",
    ]  # fmt: skip
    for path in (copy / "train.py", copy / "service/server.py"):
        assert path.read_text() == (
            '"""python -m PROJECT; make eval-my_idea RUN=runs/a."""\nsource = "make evals source"\n'
        )
    assert (copy / "paper_results.py").read_text() == without_numbers(NUMBERS)
    pages = {path.name: path.read_text() for path in copy.glob("*.md")}
    assert not any("12" in text for text in pages.values())
    assert pages["RESULTS.md"] == "# Results of my_idea\n\n<!-- results:begin -->\n<!-- results:end -->\n"
    assert pages["README.md"].startswith("# my_idea\n") and "## Edit first" in pages["README.md"]
    assert "make train-my_idea PRESET=smoke" in pages["README.md"]
    copied = {path.name: path.read_text() for path in (tmp_path / "tests/my_idea").iterdir() if path.suffix == ".py"}
    expected = code.replace("from source", "from my_idea")
    assert copied == {"test_train.py": expected} and "methods = ['source']" in expected
