import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import keras
import pytest

from common.experiments.config import RunConfig
from common.experiments.environment import read_environment, source_files, starting
from common.experiments.identity import IDENTITY, cached_json, stamp_of
from common.experiments.run_folder import chosen_trial, finished_trials, load_config, newest_run, open_run
from common.files import write_json
from tests.children import ROOT


@dataclass(frozen=True)
class Example(RunConfig):
    FILES: ClassVar[tuple[str, ...]] = ("weights",)
    EXTENDABLE: ClassVar[tuple[str, ...]] = ("epochs",)

    weights: Path | None = None
    epochs: int = 3
    rate: float = 0.5


def test_run_folder_opens_again_only_with_the_same_config(tmp_path):
    config = Example(name="run", runs_dir=tmp_path)
    run = open_run(config, "project")
    assert run == tmp_path / "project" / "run"
    assert open_run(replace(config, data_dir=Path("moved"), strategy="one"), "project") == run
    assert open_run(config, "project") == run  # and elsewhere, under a copy of its folder
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    elsewhere = replace(config, runs_dir=tmp_path.with_name("copy"))
    assert load_config(open_run(elsewhere, "project"), Example) == elsewhere
    with pytest.raises(ValueError, match="rate was 0.5 and is now 0.25.*Choose another --name"):
        open_run(replace(config, rate=0.25), "project")
    assert load_config(run, Example).rate == 0.5


def test_run_folder_takes_more_seeds_and_gives_none_up(tmp_path):
    config = Example(name="run", runs_dir=tmp_path, seeds=(0, 3))
    run = open_run(config, "project")
    with pytest.raises(ValueError, match=r"seeds was \[0, 3\] and is now \[0, 1\].*only seeds may be added"):
        open_run(replace(config, seeds=(0, 1)), "project")
    assert load_config(run, Example).seeds == (0, 3)
    with open(run / "config.json") as held:  # a reader that came before
        assert open_run(replace(config, seeds=(0, 1, 3)), "project") == run
        assert json.load(held)["seeds"] == [0, 3]
    assert load_config(run, Example).seeds == (0, 1, 3)


def test_a_field_that_came_later_had_its_default(tmp_path):
    """The run goes on and is reported, its files stay bound to it, and another value of the field is refused."""
    config = Example(name="run", runs_dir=tmp_path)
    run = open_run(config, "project")
    path = run / IDENTITY
    identity = json.loads(path.read_text())
    del identity["settings"]["rate"]
    write_json(path, identity)
    stamp, content = stamp_of(run), path.read_text()
    assert open_run(config, "project") == run and load_config(run, Example) == config
    assert stamp_of(run) == stamp and path.read_text() == content
    with pytest.raises(ValueError, match=r"holds another run \(rate was 0.5 and is now 0.25\)"):
        open_run(replace(config, rate=0.25), "project")


def test_folder_with_other_content_is_not_touched(tmp_path):
    (tmp_path / "project/run").mkdir(parents=True)
    (tmp_path / "project/run/thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty and has no config.json"):
        open_run(Example(name="run", runs_dir=tmp_path), "project")
    assert [path.name for path in (tmp_path / "project/run").iterdir()] == ["thesis.txt"]


def test_folder_that_was_killed_before_its_config_is_opened(tmp_path):
    (tmp_path / "project/run").mkdir(parents=True)
    (tmp_path / "project/run/.host.1.config.json").write_text('{"name":')
    assert load_config(open_run(Example(name="run", runs_dir=tmp_path), "project"), Example).rate == 0.5


def test_not_a_run_folder(tmp_path):
    with pytest.raises(ValueError, match="is not a run folder: it has no config.json"):
        load_config(tmp_path, Example)
    (tmp_path / "config.json").write_text('{"rate": 1')
    with pytest.raises(ValueError, match="config.json cannot be read as a config"):
        load_config(tmp_path, Example)


def test_newest_run(tmp_path):
    with pytest.raises(ValueError, match="Train first: make train-project"):
        newest_run(tmp_path, "project")
    for age, name in enumerate(["b", "a"]):
        run = open_run(Example(name=name, runs_dir=tmp_path), "project")
        write_json(run / "environment.json", {})
        os.utime(run / "environment.json", (1000 - age, 1000 - age))
    assert newest_run(tmp_path, "project").name == "b"


def test_finished_trials():
    assert finished_trials(Path("run"), [1, 2, 3, 4], lambda trial: trial % 2 == 0) == [2, 4]
    with pytest.raises(ValueError, match="No training in run is finished. The command that trains it continues it"):
        finished_trials(Path("run"), [1, 3], lambda trial: False)


def test_a_training_is_chosen_by_its_name():
    """The last finished one without a name; one that is not finished is none."""
    planned = [SimpleNamespace(name=name, done=done) for name, done in (("a", True), ("b", True), ("c", False))]
    assert [chosen_trial(Path("r"), planned, lambda t: t.done, name).name for name in ("a", None)] == ["a", "b"]
    with pytest.raises(ValueError, match="r has no finished training c; finished are \\['a', 'b'\\]"):
        chosen_trial(Path("r"), planned, lambda t: t.done, "c")


def test_environment_names_versions_and_devices(tmp_path):
    with starting(tmp_path, "l2_autoencoder.train") as start:
        start.begin()
    (written,) = read_environment(tmp_path)
    versions = {name: importlib.metadata.version(name) for name in ("keras", "numpy", "scipy", "scikit-learn")}
    backend = keras.backend.backend()
    versions[backend] = importlib.metadata.version(backend)
    assert written["versions"].items() >= versions.items() and written["backend"] == backend
    assert written["python"] == platform.python_version() and written["command"] == sys.argv
    assert "cpu" in written["devices"][0].lower() and written["threads"] >= 1 and written["processor"]
    tracked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert written["commit"] == (tracked.stdout.strip() if tracked.returncode == 0 else "unknown")
    assert {"common.experiments.training", "l2_autoencoder.model"} <= written["code"].keys()


def test_environment_has_an_entry_for_each_start_that_trained_and_tells_what_changed(tmp_path, monkeypatch, capsys):
    def train(*epochs):
        with starting(tmp_path, "l2_autoencoder.train") as start:
            for epoch in epochs:
                start.begin()
                start.add("a", epoch)

    train(1, 2)
    train()
    assert [entry["epochs"] for entry in read_environment(tmp_path)] == [{"a": [1, 2]}]
    train(3)
    assert capsys.readouterr().out == ""
    entries = read_environment(tmp_path)
    entries[-1]["versions"]["keras"], entries[-1]["code"]["common.metrics"] = "3.0", "0"
    write_json(tmp_path / "environment.json", entries)
    train(4, 5)
    (line,) = capsys.readouterr().out.splitlines()
    assert f"goes on with keras {keras.__version__} instead of 3.0, other code in common.metrics; its env" in line
    assert [entry["epochs"] for entry in read_environment(tmp_path)] == [{"a": [1, 2]}, {"a": [3, 3]}, {"a": [4, 5]}]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable project of four files; `evaluate` does not import `train`."""
    folder = tmp_path / "small_project"
    (folder / "parts").mkdir(parents=True)
    sources = {
        "__init__": "",
        "config": "from common.schedules import WarmUpAndDrops\nfrom common.report import plots\n",
        "parts/__init__": "from .numbers import NUMBER\n",
        "parts/numbers": "import json\nNUMBER = 1\n",
        "evaluate": "from .parts import NUMBER\nfrom . import tables\ndef late():\n    from .config import rate\n",
        "tables": "",
        "train": "from .config import WarmUpAndDrops\n",
    }
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    source_files.cache_clear()
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "small_project"]:
        del sys.modules[name]
    source_files.cache_clear()


def test_source_files_follow_imports(package):
    """Of this project and `common`, at the top of a file or inside of functions; plots and tables show numbers only."""
    files = {
        path.relative_to(package).as_posix()
        for path in source_files("small_project.evaluate").values()
        if package in path.parents
    }
    assert files == {"evaluate.py", "config.py", "__init__.py", "parts/__init__.py", "parts/numbers.py"}
    others = [path for path in source_files("small_project.evaluate").values() if package not in path.parents]
    assert "schedules.py" in [path.name for path in others]
    assert {path.parent.name for path in others} == {"common"}  # of `common` itself, without `common/report`


def test_record_is_computed_again_when_inputs_or_code_change(package, tmp_path):
    weights, calls = tmp_path / "weights", []

    def make():
        calls.append(weights.read_text())
        return {"value": len(calls)}

    def value():
        source_files.cache_clear()  # a new process
        return cached_json(tmp_path / "metrics.json", [weights], "small_project.evaluate", make)["value"]

    weights.write_text("a")
    assert [value(), value()] == [1, 1]
    weights.write_text("b")
    assert [value(), value()] == [2, 2]
    (package / "parts/numbers.py").write_text("NUMBER = 2\n")
    assert [value(), value()] == [3, 3]
    (package / "train.py").write_text("")
    (package / "tables.py").write_text("COLUMNS = 3\n")
    assert value() == 3
    assert json.loads((tmp_path / "metrics.json").read_text()).keys() == {"value", "made_from"}
