"""What the command line evaluates, and the title of its report."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import tyro

from neural_compression import evaluate
from neural_compression.config import PRESETS, Arguments
from neural_compression.evaluation import classical


def test_the_title_says_what_the_networks_are(monkeypatch):
    for name in ("run_table", "rate_tables", "draw_losses"):
        monkeypatch.setattr(evaluate, name, lambda *_: {})
    monkeypatch.setattr(evaluate, "draw_codec", lambda *_: ({}, []))
    for name in ("curves", "equal_rates"):
        monkeypatch.setattr(classical, name, lambda *_: {})
    for name, title in (
        ("narrow_multiple", "narrow_multiple: width 8, 2 epochs, (64, 216, 368) bits"),
        ("shipped", "shipped: width 32, in closed form, (512, 1024, 1760, 2560) bits"),
        ("demo", "demo: width 8, 40 epochs, begun in closed form, (256, 768) bits"),
    ):
        config = replace(PRESETS[name][1], name=name)
        data = SimpleNamespace(test=[None] * 2)
        results = SimpleNamespace(config=config, data=data, run=Path("run"), heading="Heading", records=[None])
        report = evaluate.report(results)
        assert report.title == title and list(report.sections) == ["Heading, 2 photographs"]


def test_command_line_evaluates_a_run(tmp_path, monkeypatch):
    """Also where a codec ships, as long as there is a run."""
    run, called = tmp_path / "neural_compression/run", []
    run.mkdir(parents=True)
    (run / "environment.json").write_text("{}")
    monkeypatch.setattr(evaluate, "evaluate", lambda **options: called.append(options))
    monkeypatch.setattr(evaluate, "compare", None)
    for arguments in (["--runs-dir", str(tmp_path)], [str(run), "--optimize", "encoder", "--publish"]):
        evaluate.main(tyro.cli(Arguments, args=arguments))
    given = {"run": None, "runs_dir": tmp_path, "data_dir": None, "test_dir": None, "publish": False, "optimize": "off"}
    other = {
        "run": run,
        "runs_dir": Path("runs"),
        "data_dir": None,
        "test_dir": None,
        "publish": True,
        "optimize": "encoder",
    }
    assert called == [given, other]
