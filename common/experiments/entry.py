"""The one way through a project: a preset, its trainings, a report.

A project supplies its own part: `train = entry.Training(…)` in its `train.py`, and `evaluate = entry.Evaluation(…)` in
its `evaluate.py`. Both are called like functions. The command lines and the loops over trainings are here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import tyro
from tqdm import tqdm

from common import distribution
from common.experiments.config import RunConfig, parse, run_command, to_json
from common.experiments.run_folder import finished_trials, load_config, newest_run, open_run, write_environment
from common.experiments.training import release_graphs
from common.report.tables import Report, write_report


class Trial(Protocol):
    """One training of a run; `name` is that of its folder in the run folder."""

    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=RunConfig)
T = TypeVar("T", bound=Trial)
D = TypeVar("D")


def _any_strategy(config: Any, strategy: distribution.Strategy) -> None:
    """Accepts every strategy."""


@dataclass(frozen=True)
class Training(Generic[C, T, D]):
    """How a project trains: call it with a config.

    Attributes:
        project: name of the package, `__package__`.
        trials: config -> its trainings.
        read: config -> data.
        describe: config, data -> name and size of the data, for the first line on the screen.
        train_trial: config, trial, data, strategy, folder: trains into the folder, continuing what is there.
        check: config, strategy: raises ValueError if they do not go together.
    """

    project: str
    trials: Callable[[C], Iterable[T]]
    read: Callable[[C], D]
    describe: Callable[[C, D], str]
    train_trial: Callable[[C, T, D, distribution.Strategy, Path], None]
    check: Callable[[C, distribution.Strategy], None] = _any_strategy

    def __call__(self, config: C, strategy: distribution.Strategy | None = None) -> Path:
        """Trains all trials of `config`, continuing where an earlier call stopped; returns the run folder.

        Raises:
            ValueError: data, strategy or run folder do not fit the config; the sentence says how.
        """
        strategy = strategy or distribution.strategy(config.strategy)
        self.check(config, strategy)
        data = self.read(config)
        trials = list(self.trials(config))
        run = open_run(config, self.project)
        write_environment(run)
        print(
            f"{self.project}: {self.describe(config, data)}; {len(trials)} training(s) on "
            f"{strategy.num_replicas_in_sync} device(s) -> {run}"
        )
        for trial in trials:
            self.train_trial(config, trial, data, strategy, run / trial.name)
            release_graphs()
        return run


@dataclass(frozen=True)
class Arguments:
    """Evaluates a run and prints the table «paper | this run»."""

    run: tyro.conf.Positional[Path | None] = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    publish: bool = False  # write the numbers to results.json and renew the README's tables


A = TypeVar("A", bound=Arguments)


@dataclass(frozen=True)
class Results(Generic[C, T, D, A]):
    """The finished trainings of a run and their numbers, for its report.

    Attributes:
        run: run folder.
        config: of the run.
        data: as `Evaluation.read` gives it.
        planned: number of trainings, finished or not.
        trials: the finished ones.
        records: the numbers of each finished one.
        arguments: of the command line.
    """

    run: Path
    config: C
    data: D
    planned: int
    trials: list[T]
    records: list[dict[str, Any]]
    arguments: A

    @property
    def heading(self) -> str:
        """Heading of the main table."""
        return f"Paper and this run ({len(self.trials)} of {self.planned} trainings)"


@dataclass(frozen=True)
class Evaluation(Generic[C, T, D, A]):
    """How a project evaluates: call it with a run folder.

    Attributes:
        project: name of the package, `__package__`.
        config_class: of the run.
        trials: config -> its trainings.
        read: config -> data.
        is_finished: config, trial, data, folder -> whether the folder has a finished training.
        evaluate_trial: config, trial, data, folder, arguments -> the numbers of a finished training.
        report: results -> tables and figures.
        publish: results: writes them to the project's `results.json` and README.
        arguments: options of the command line.
    """

    project: str
    config_class: type[C]
    trials: Callable[[C], Iterable[T]]
    read: Callable[[C], D]
    is_finished: Callable[[C, T, D, Path], bool]
    evaluate_trial: Callable[[C, T, D, Path, A], dict[str, Any]]
    report: Callable[[Results[C, T, D, A]], Report]
    publish: Callable[[Results[C, T, D, A]], None]
    arguments: type[A] = Arguments  # type: ignore[assignment]

    def __call__(self, run: Path | None = None, **options: Any) -> list[dict[str, Any]]:
        """Evaluates the finished trainings of a run, writes report and figures into it, and returns the numbers.

        Args:
            run: run folder; None: the one trained last.
            options: fields of `arguments`.

        Raises:
            ValueError: not a run folder, or no training in it is finished.
        """
        arguments = self.arguments(run=run, **options)
        run = arguments.run or newest_run(arguments.runs_dir, self.project)
        config = load_config(run, self.config_class)
        data = self.read(config)
        planned = list(self.trials(config))
        trials = finished_trials(run, planned, lambda trial: self.is_finished(config, trial, data, run / trial.name))
        with distribution.evaluation_strategy(config.strategy).scope():
            records = [
                self.evaluate_trial(config, trial, data, run / trial.name, arguments)
                for trial in tqdm(trials, "evaluate")
            ]
        results = Results(run, config, data, len(planned), trials, records, arguments)
        write_report(run, self.report(results), {"config": to_json(config), "trials": records})
        if arguments.publish:
            self.publish(results)
        return records


def main(presets: Mapping[str, tuple[str, C]], train: Training[C, T, D], evaluate: Evaluation[C, T, D, A]) -> None:
    """`python -m PROJECT PRESET [--field value …]`: trains a preset, or goes on with it, then reports."""

    def command() -> None:
        config = parse(presets)
        strategy = distribution.strategy(config.strategy)
        run = train(config, strategy)
        if distribution.is_chief(strategy):
            evaluate(run)

    run_command(command)


def evaluate_main(evaluate: Evaluation[C, T, D, A]) -> None:
    """`python -m PROJECT.evaluate [RUN] [--publish]`: reports on a run."""
    run_command(lambda: evaluate(**vars(tyro.cli(evaluate.arguments))))
