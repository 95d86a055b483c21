"""The one way through a project: a preset, its trainings, a report.

A project supplies its own part: `train = entry.Training(…)` in its `train.py`, and `evaluate = entry.Evaluation(…)` in
its `evaluate.py`. Both are called like functions. The loops over trainings are here, the command lines in `command`.
"""

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from common import distribution, workers
from common.experiments.checkpoint import check_stamps
from common.experiments.config import EvaluationArguments, RunConfig, to_json
from common.experiments.environment import ENVIRONMENT, starting
from common.experiments.identity import differences, identity_of, read_identity, recording, summaries
from common.experiments.run_folder import (
    Trial,
    finished_trials,
    folder_of,
    load_config,
    locked,
    newest_run,
    open_run,
    refuse_another,
)
from common.experiments.training import release_graphs
from common.report.tables import Report, write_report

C = TypeVar("C", bound=RunConfig)
T = TypeVar("T", bound=Trial)
D = TypeVar("D")
A = TypeVar("A", bound=EvaluationArguments)


def _all_data(data: Any) -> Any:
    return data


def _the_run(run: Path, config: Any, arguments: Any) -> Path:
    return run


def _anything(*given: Any) -> None:
    """Accepts it."""


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
        check_pretrained: config: raises ValueError if weights that a new run begins with cannot be had.
    """

    project: str
    trials: Callable[[C], Iterable[T]]
    read: Callable[[C], D]
    describe: Callable[[C, D], str]
    train_trial: Callable[[C, T, D, distribution.Strategy, Path], None]
    check: Callable[[C, distribution.Strategy], None] = _anything
    check_pretrained: Callable[[C], None] = _anything

    def __call__(self, config: C, strategy: distribution.Strategy | None = None) -> Path:
        """Trains all trials of `config`, continuing where an earlier call stopped; returns the run folder.

        Raises:
            ValueError: data, strategy or run folder do not fit the config; the sentence says how.
        """
        run = folder_of(config, self.project)
        refuse_another(run, config)  # before data are read, which may take minutes
        strategy = strategy or distribution.strategy(config.strategy, config.worker_wait)
        self.check(config, strategy)
        data = self.read(config)
        if not run.exists():
            self.check_pretrained(config)
        trials = list(self.trials(config))
        if not distribution.is_chief(strategy):
            self._train(config, trials, data, strategy, run)
            return run
        identity = identity_of(config, data)
        refuse_another(run, config, identity)
        with locked(run):
            open_run(config, self.project, identity)
            check_stamps(run / trial.name for trial in trials)
            print(
                f"{self.project}: {self.describe(config, data)}; {len(trials)} training(s) on "
                f"{strategy.num_replicas_in_sync} device(s) -> {run}"
            )
            with starting(run, self.train_trial.__module__) as start:
                if not (run / ENVIRONMENT).exists():
                    start.begin()
                self._train(config, trials, data, strategy, run)
        return run

    def _train(self, config: C, trials: list[T], data: D, strategy: distribution.Strategy, run: Path) -> None:
        several = strategy.cluster_resolver is not None
        lost = workers.naming_lost_workers("trained together with others")
        with lost if several else contextlib.nullcontext(), distribution.deterministic_kernels():
            self._train_each(config, trials, data, strategy, run)

    def _train_each(self, config: C, trials: list[T], data: D, strategy: distribution.Strategy, run: Path) -> None:
        for trial in trials:
            with recording(run, run / trial.name) if distribution.is_chief(strategy) else contextlib.nullcontext():
                self.train_trial(config, trial, data, strategy, run / trial.name)
            release_graphs()


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
        publish: results: writes them to the project's `results.json` and pages.
        arguments: options of the command line.
        test_data: data -> what is left to evaluate on.
        elsewhere: run folder, config, arguments -> the folder of the run as it is to be evaluated.
    """

    project: str
    config_class: type[C]
    trials: Callable[[C], Iterable[T]]
    read: Callable[[C], D]
    is_finished: Callable[[C, T, D, Path], bool]
    evaluate_trial: Callable[[C, T, D, Path, A], dict[str, Any]]
    report: Callable[[Results[C, T, D, A]], Report]
    publish: Callable[[Results[C, T, D, A]], None]
    arguments: type[A] = EvaluationArguments  # type: ignore[assignment]
    test_data: Callable[[D], D] = _all_data
    elsewhere: Callable[[Path, C, A], Path] = _the_run

    def __call__(self, run: Path | None = None, **options: Any) -> list[dict[str, Any]]:
        """Evaluates the finished trainings of a run, writes report and figures into it, and returns the numbers.

        Args:
            run: run folder; None: the one trained last.
            options: fields of `arguments`.

        Raises:
            ValueError: not a run folder, its data or its files are others than those that it was trained with, or no
                training in it is finished.
        """
        arguments = self.arguments(run=run, **options)
        run = arguments.run or newest_run(arguments.runs_dir, self.project)
        run = self.elsewhere(run, load_config(run, self.config_class), arguments)
        config = load_config(run, self.config_class)
        places = {name: getattr(arguments, name, None) for name in config.PLACES if name != "runs_dir"}
        config = replace(config, **{name: place for name, place in places.items() if place is not None})
        data = self._data(run, config)
        planned = list(self.trials(config))
        trials = finished_trials(run, planned, lambda trial: self.is_finished(config, trial, data, run / trial.name))
        check_stamps(run / trial.name for trial in trials)
        with distribution.evaluation_strategy(config.strategy).scope(), distribution.deterministic_kernels():
            records = [
                self.evaluate_trial(config, trial, data, run / trial.name, arguments)
                for trial in tqdm(trials, "evaluate")
            ]
            results = Results(run, config, data, len(planned), trials, records, arguments)
            report = self.report(results)  # which computes the numbers of controls
        values = {"config": to_json(config), "trials": records}
        write_report(run, report, values, [trial.name for trial in trials])
        if arguments.publish:
            self.publish(results)
        return records

    def main(self, arguments: A) -> None:
        """`python -m PROJECT.evaluate [RUN] [--publish]`."""
        self(**vars(arguments))

    def _data(self, run: Path, config: C) -> D:
        """The data of a run, if they are those that it was trained with."""
        data, identity = self.read(config), read_identity(run)
        if (
            identity is not None
            and identity["data"]
            and (changes := differences(identity, identity | {"data": summaries(data)}))
        ):
            raise ValueError(
                f"{run} was trained with other data ({'; '.join(changes)}). Pass --data-dir, and --test-dir if "
                "there is one, with the data as they were."
            )
        return self.test_data(data)
