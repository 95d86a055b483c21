"""Which presets are run, in which order, with which data."""

import importlib
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.tools import reproduce
from tests.children import PROJECTS
from tests.helpers import copied_project, run_python


@pytest.mark.parametrize("project", PROJECTS)
def test_plans_name_presets_and_fields(project):
    config = importlib.import_module(f"{project}.config")
    names = {field.name for field in fields(config.Config)}
    assert config.DATA.keys() <= config.PRESETS.keys() and config.DATA["demo"] == {}
    assert all(paths.keys() <= names for paths in config.DATA.values())
    arguments = importlib.import_module(f"{project}.evaluate").evaluate.arguments
    options = {f"--{field.name.replace('_', '-')}" for field in fields(arguments)}
    for preset, given in getattr(config, "EVALUATION_ARGUMENTS", {}).items():
        assert preset in config.DATA and set(given) <= options


def recorded(monkeypatch, status=0):
    commands = []

    def run(command):
        commands.append(command[2:])
        return SimpleNamespace(returncode=status)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_presets_without_their_data_are_left_out(tmp_path, monkeypatch, capsys):
    (tmp_path / "bsds500").mkdir()
    commands = recorded(monkeypatch)
    left_out = reproduce.reproduce("neural_compression", tmp_path, Path("runs"), ["--seeds", "0"])
    assert commands == [
        ["neural_compression", "demo", "--runs-dir", "runs", "--seeds", "0"],
        ["neural_compression.evaluate", "runs/neural_compression/demo", "--publish"],
    ]
    assert "shipped" in left_out and "narrow_baseline" in left_out
    assert f"shipped: left out, as there is no {tmp_path / 'kodak'}." in capsys.readouterr().out
    for folder in ("kodak", "clic2018/train", "clic2018/valid"):
        (tmp_path / folder).mkdir(parents=True)
    assert reproduce.reproduce("neural_compression", tmp_path, Path("runs")) == []
    data = ["--data-dir", str(tmp_path / "bsds500"), "--test-dir", str(tmp_path / "kodak")]
    assert ["neural_compression", "shipped", "--runs-dir", "runs", *data] in commands


def test_evaluations_have_their_arguments(tmp_path, monkeypatch):
    (tmp_path / "DukeMTMC-reID").mkdir()
    commands = recorded(monkeypatch)
    reproduce.reproduce("adaptive_l2", tmp_path, Path("runs"))
    evaluations = {Path(command[1]).name: command[2:] for command in commands if command[0] == "adaptive_l2.evaluate"}
    assert len(evaluations) == 10 and evaluations.pop("demo") == ["--publish", "--rerank"]
    assert evaluations.pop("duke_adaptive_resnet152") == ["--publish", "--rerank"]
    assert set(map(tuple, evaluations.values())) == {("--publish",)}


def test_failures_and_missing_folders_are_reported(tmp_path, monkeypatch):
    recorded(monkeypatch, status=1)
    with pytest.raises(ValueError, match="flipreid demo ended with status 1; the same command goes on"):
        reproduce.reproduce("flipreid", tmp_path, Path("runs"))
    with pytest.raises(ValueError, match="DATA must be the folder of all data sets, got .*none, which does not exist"):
        reproduce.reproduce("flipreid", tmp_path / "none", Path("runs"))


def test_rows_that_no_preset_trains_are_listed_with_their_reasons(monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "reproduce", lambda *_: [])
    monkeypatch.setattr(sys, "argv", ["reproduce", "neural_compression", "data"])
    reproduce.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("neural_compression, Table 4.3: BPG: not planned; no package installs it")


# The commands run as forks of a process that has imported the libraries: half a second each instead of many.
FORKED = """
import os, runpy, subprocess, sys, traceback
from types import SimpleNamespace

start = subprocess.run

def run(command):
    assert command[:2] == [sys.executable, "-m"], command
    child = os.fork()
    if child:
        return SimpleNamespace(returncode=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    status, subprocess.run = 1, start
    try:
        sys.argv = command[2:]
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as stop:
        status = int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(status)

subprocess.run = run
runpy.run_module("common.tools.reproduce", run_name="__main__", alter_sys=True)
"""


def test_copied_project_is_reproduced(tmp_path):
    """Training, evaluation and tables of a copy, from the command line."""
    copy = copied_project("l2_autoencoder", "my_idea", tmp_path)
    with (copy / "config.py").open("a") as file:
        file.write('\nDATA = {"smoke": {}}\n')
    evaluation = (copy / "evaluate.py").read_text()
    assert "TSNE_SAMPLES = 3000" in evaluation
    (copy / "evaluate.py").write_text(evaluation.replace("TSNE_SAMPLES = 3000", "TSNE_SAMPLES = 100"))
    out, _ = run_python("-c", FORKED, "my_idea", str(tmp_path), "--epochs", "1", cwd=tmp_path, PYTHONPATH="")
    assert out.count("$ python -m my_idea") == 2 and (copy / "results.json").exists()
    # A smoke run fills no row of the publication's tables, which new projects begin without.
    assert "| not run" in (copy / "README.md").read_text()
