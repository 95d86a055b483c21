"""What a copy of a project is called and what it lacks."""

from common.tools.new_project import new_project

README = """# source

`make train-source`, `python -m source.evaluate runs/source/demo`; `common/layers/source.py`, the preset `source_small`.
<!-- results:begin -->
| 1 |
<!-- results:end -->
"""


def test_copy_names_itself_and_has_no_results(tmp_path):
    nested = tmp_path / "source" / "service"
    for folder in (nested, tmp_path / "source/figures", tmp_path / "source/weights", tmp_path / "source/photographs"):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"image")
    for path in (tmp_path / "source/train.py", nested / "server.py"):
        path.write_text('"""python -m PROJECT; make eval-source RUN=runs/a."""\nsource = "make evals source"\n')
    (tmp_path / "source/results.json").write_text("{}")
    (tmp_path / "source/README.md").write_text(README)
    copy = new_project("source", "my_idea", root=tmp_path)
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()) == [
        "README.md", "photographs/a.png", "service/a.png", "service/server.py", "train.py",
    ]  # fmt: skip
    for path in (copy / "train.py", copy / "service/server.py"):
        assert path.read_text() == (
            '"""python -m PROJECT; make eval-my_idea RUN=runs/a."""\nsource = "make evals source"\n'
        )
    assert (copy / "README.md").read_text() == (
        "# my_idea\n\n`make train-my_idea`, `python -m my_idea.evaluate runs/my_idea/demo`; `common/layers/source.py`, "
        "the preset `source_small`.\n<!-- results:begin -->\n<!-- results:end -->\n"
    )
    assert (tmp_path / "source/README.md").read_text() == README
