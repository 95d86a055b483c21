"""The loops over the trainings of a small project, which trains nothing."""

import contextlib
import json
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import tyro

from common import distribution
from common.distribution import OneDevice
from common.experiments import command, entry
from common.experiments.config import EvaluationArguments, RunConfig
from common.report.tables import Report


@dataclass(frozen=True)
class Config(RunConfig):
    size: int = 3
    fails: int | None = None  # seed whose training is interrupted


@dataclass(frozen=True)
class Trial:
    seed: int

    @property
    def name(self):
        return f"seed{self.seed}"


def trials(config):
    return (Trial(seed) for seed in config.seeds)


def read(config):
    if config.size == 0:
        raise ValueError("No data.")
    return list(range(config.size))


def train_trial(config, trial, data, strategy, folder):
    if trial.seed == config.fails:
        raise KeyboardInterrupt
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sum").write_text(str(sum(data) + trial.seed))


def check(config, strategy):
    if config.size > 10:
        raise ValueError("Too large for one device.")


@dataclass(frozen=True)
class Arguments(EvaluationArguments):
    double: bool = False


def evaluate_trial(config, trial, data, folder, arguments):
    return {"seed": trial.seed, "sum": int((folder / "sum").read_text()) * (2 if arguments.double else 1)}


def report(results):
    return Report("Sums", {results.heading: str([record["sum"] for record in results.records])}, {})


published = []
train = entry.Training("small", trials, read, lambda config, data: f"{len(data)} numbers", train_trial, check)
evaluate = entry.Evaluation(
    "small",
    Config,
    trials,
    read,
    lambda config, trial, data, folder: (folder / "sum").exists(),
    evaluate_trial,
    report,
    published.append,
    Arguments,
)
CONFIG = Config(name="run", seeds=(0, 4))
PRESETS = {"smoke": ("for tests", Config(seeds=(0, 4)))}


def test_trains_every_trial_and_says_what(tmp_path, capsys):
    run = train(replace(CONFIG, runs_dir=tmp_path))
    assert run == tmp_path / "small/run"
    assert [(run / name / "sum").read_text() for name in ("seed0", "seed4")] == ["3", "7"]
    assert capsys.readouterr().out == f"small: 3 numbers; 2 training(s) on 1 device(s) -> {run}\n"
    assert json.loads((run / "config.json").read_text())["seeds"] == [0, 4]
    assert (run / "environment.json").is_file()


def test_a_strategy_that_is_given_is_used_and_graphs_are_released_after_each_training(tmp_path, monkeypatch):
    events, given = [], OneDevice()
    monkeypatch.setattr(entry, "release_graphs", lambda: events.append("released"))
    training = replace(
        train,
        train_trial=lambda config, trial, data, strategy, folder: events.append((trial.seed, strategy is given)),
        check=lambda config, strategy: events.append(strategy is given),
    )
    training(replace(CONFIG, runs_dir=tmp_path, strategy="mirrored"), given)
    assert events == [True, (0, True), "released", (4, True), "released"]


def test_evaluation_is_on_the_devices_of_the_run(tmp_path, monkeypatch):
    entered = []

    @contextlib.contextmanager
    def scope():
        entered.append("scope")
        yield
        entered.append("left")

    monkeypatch.setattr(distribution, "evaluation_strategy", lambda kind: entered.append(kind) or given)
    given = SimpleNamespace(scope=scope)
    run = train(replace(CONFIG, runs_dir=tmp_path, strategy="one"))
    replace(evaluate, evaluate_trial=lambda *_: entered.append("trial") or {"sum": 1})(run)
    assert entered == ["one", "scope", "trial", "trial", "left"]


@pytest.mark.parametrize(("size", "message"), [(0, "No data"), (11, "Too large for one device")])
def test_writes_nothing_before_the_data_are_known_to_be_good(tmp_path, size, message):
    with pytest.raises(ValueError, match=message):
        train(replace(CONFIG, runs_dir=tmp_path, size=size))
    assert list(tmp_path.iterdir()) == []


def test_evaluates_the_finished_trainings(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        train(replace(CONFIG, runs_dir=tmp_path, fails=4))
    run = tmp_path / "small/run"
    expected = [{"seed": 0, "sum": 3}]
    assert evaluate(run) == expected
    written = json.loads((run / "report.json").read_text())
    assert written["trials"] == expected and written["config"]["fails"] == 4
    assert "## Paper and this run (1 of 2 trainings)\n\n[3]" in (run / "report.md").read_text()
    assert "Sums" in capsys.readouterr().out
    (run / "seed0/sum").unlink()
    with pytest.raises(ValueError, match="No training in .*run is finished"):
        evaluate(run)


def test_newest_run_and_further_options(tmp_path):
    for name in ("a", "b"):
        train(replace(CONFIG, runs_dir=tmp_path, name=name, size=3 if name == "a" else 2))
    assert [record["sum"] for record in evaluate(runs_dir=tmp_path, double=True)] == [2, 10]
    published.clear()
    evaluate(tmp_path / "small/a", publish=True)
    (results,) = published
    assert results.config.name == "a" and results.data == [0, 1, 2] and results.planned == 2
    assert results.trials == [Trial(0), Trial(4)] and results.arguments.publish


def test_command_trains_then_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["small", "smoke", "--runs-dir", str(tmp_path), "--size", "4"])
    command.main(PRESETS, lambda: (train, evaluate))
    assert (tmp_path / "small/smoke/report.md").is_file()
    monkeypatch.setattr(sys, "argv", ["small", "smoke", "--runs-dir", str(tmp_path), "--size", "5"])
    with pytest.raises(SystemExit, match="^ValueError: .*size was 4 and is now 5"):
        command.main(PRESETS, lambda: (train, evaluate))


def test_only_the_chief_reports(tmp_path, monkeypatch):
    monkeypatch.setattr(distribution, "is_chief", lambda strategy: False)
    monkeypatch.setattr(sys, "argv", ["small", "smoke", "--runs-dir", str(tmp_path)])
    command.main(PRESETS, lambda: (train, evaluate))
    assert (tmp_path / "small/smoke/seed4/sum").is_file() and not (tmp_path / "small/smoke/report.md").exists()


def test_command_of_the_evaluation(tmp_path):
    run = train(replace(CONFIG, runs_dir=tmp_path))
    published.clear()
    evaluate.main(tyro.cli(Arguments, args=[str(run), "--double", "--publish"]))
    assert json.loads((run / "report.json").read_text())["trials"][1]["sum"] == 14 and len(published) == 1
    with pytest.raises(ValueError, match=" is not a run folder"):
        evaluate.main(Arguments(tmp_path))
