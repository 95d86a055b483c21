"""Exact resume: one file with everything that the next epoch depends on, replaced at each epoch's end."""

import contextlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from common import distribution
from common.experiments.environment import this_start
from common.experiments.event_file import EventFile
from common.experiments.identity import IDENTITY, WRITTEN, stamp_of
from common.files import replacing, save_weights, write_text

BEST_WEIGHTS = "best.weights.h5"
_CHECKPOINT = Path("checkpoint") / "state.npz"


def epochs_done(folder: Path) -> int:
    """Number of whole epochs in the folder of a training; 0 if there is none."""
    path = folder / "log.csv"
    return len(pd.read_csv(path)) if path.exists() and (folder / BEST_WEIGHTS).exists() else 0


def is_due(epoch: int, every: int, epochs: int) -> bool:
    """Whether something that happens after every so many of `epochs` epochs, and after the last, does after `epoch`.

    Args:
        epoch: from 0.
        every: 0 for never.
        epochs: total number.
    """
    return every > 0 and ((epoch + 1) % every == 0 or epoch + 1 == epochs)


def is_finished(config: Any, trial: Any, data: Any, folder: Path) -> bool:
    """Whether the folder of a training has all the epochs of its config, in the form that `entry.Evaluation` takes."""
    return epochs_done(folder) >= config.epochs


def check_stamps(folders: Iterable[Path]) -> None:
    """Raises ValueError if a checkpoint in the folder of a training, or of a stage of it, is of another one."""
    for folder in folders:
        for path in sorted(folder.rglob(_CHECKPOINT.name)):
            with _reading(path), np.load(path) as file:
                stamp = json.loads(str(file.get("stamp", "null")))
            _check_stamp(path, stamp)


def _check_stamp(path: Path, stamp: dict[str, str] | None) -> None:
    own = stamp_of(path.parent.parent)
    if stamp == own:
        return
    if own is None:
        raise ValueError(f"{path} is of a run that has lost its {IDENTITY}; the command that trained it writes that.")
    place = "outside of a run" if stamp is None else f"{stamp['place']!r}"
    run = " of another run" if stamp and stamp["identity"] != own["identity"] else ""
    raise ValueError(
        f"{path} was not trained here: it is of the training {place}{run}. Put the right file back, or remove "
        f"{path.parent.parent} to start that training over."
    )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path} is damaged ({error}). Remove {path.parent.parent} to start that training over."
        ) from error


class Checkpoint(keras.callbacks.Callback):
    """Writes the state of a training at each epoch's end; restores it when it is made.

    `keras.callbacks.BackupAndRestore` loses seeds of random layers, the second optimizer of a GAN and
    the order of the data, and removes its folder on success; hence this.

    Args:
        model: built and compiled.
        folder: of the training.
        monitor: as of `training.fit`; so are `mode` and `monitor_every`.
        mode: "min" or "max".
        monitor_every: number of epochs.
    """

    def __init__(
        self, model: keras.Model, folder: Path, monitor: str | None, mode: str = "min", monitor_every: int = 1
    ):
        super().__init__()
        self.path, self.folder = folder / _CHECKPOINT, folder
        self.monitor, self.mode, self.monitor_every = monitor, mode, monitor_every
        self.writes = distribution.is_chief(distribution.strategy_of(model))
        self.log: list[dict[str, float]] = []
        self._events = EventFile(folder)
        self._variables = _all_variables(model)
        self._stamp = stamp_of(folder)
        if self.path.exists():
            self._restore()
            if self._log_text() != _text(folder / "log.csv"):  # a kill has come between the checkpoint and the log
                self._write_log()
        elif done := epochs_done(folder):
            raise ValueError(
                f"{folder} has a log and weights of {done} epochs, but no {_CHECKPOINT}, which they go on from. Put it "
                f"back, or remove {folder} to start that training over."
            )

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return len(self.log)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.writes:
            if start := this_start():
                start.begin()
            if self.log:
                self._write_log()  # before hours of training, to know whether that can be done
            (self.folder / WRITTEN).unlink(missing_ok=True)  # of fewer epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        best = self._is_best(row)
        self.log.append(row)
        # Under several workers reading a synchronized variable is collective: all read, one writes.
        values = [keras.ops.convert_to_numpy(variable) for variable in self._variables]
        if not self.writes:
            return
        if best:
            save_weights(self.model, self.folder / BEST_WEIGHTS)
        self.path.parent.mkdir(exist_ok=True)
        with replacing(self.path) as temporary:
            # By position: Keras numbers unnamed layers through the life of a process.
            np.savez(temporary, *values, log=json.dumps(self.log), stamp=json.dumps(self._stamp))
        self._write_log()
        if (start := this_start()) and self._stamp:
            start.add(self._stamp["place"], self.epoch)

    def _is_best(self, row: dict[str, float]) -> bool:
        """Whether an epoch is better than all before it, by what is logged of them."""
        if self.monitor is None:
            return True
        if self.monitor not in row:
            if is_due(self.epoch, self.monitor_every, self.params["epochs"]):
                raise ValueError(f"monitor {self.monitor!r} is not logged; logged are {sorted(row)}.")
            return False
        past = [other[self.monitor] for other in self.log if self.monitor in other]
        return all(row[self.monitor] < value if self.mode == "min" else row[self.monitor] > value for value in past)

    def _write_log(self) -> None:
        if self.writes:
            self._events.write(self.log)
            write_text(self.folder / "log.csv", self._log_text())

    def _log_text(self) -> str:
        text = io.StringIO()
        pd.DataFrame(self.log).to_csv(text, index=False)
        return text.getvalue()

    def _restore(self) -> None:
        with _reading(self.path), np.load(self.path) as file:
            arrays = dict(file)
            self.log, stamp = json.loads(str(arrays.pop("log"))), json.loads(str(arrays.pop("stamp", "null")))
        _check_stamp(self.path, stamp)
        values = list(arrays.values())  # in the order in which np.savez wrote them
        saved, expected = [v.shape for v in values], [tuple(v.shape) for v in self._variables]
        if saved != expected:
            raise ValueError(
                f"{self.path} belongs to another model: it has {len(saved)} variables and the model {len(expected)}, "
                f"or their shapes differ. Remove {self.folder} to start that training over."
            )
        for variable, value in zip(self._variables, values):
            variable.assign(value)


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _all_variables(model: keras.Model) -> list[keras.Variable]:
    """Variables of the model, seeds included, and of each of its optimizers."""
    optimizers = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    if model.optimizer is not None and not model.optimizer.built:
        with distribution.strategy_of(model).scope():
            model.optimizer.build(model.trainable_variables)
    unbuilt = [optimizer.name for optimizer in optimizers if not optimizer.built]
    if unbuilt:
        raise ValueError(f"Optimizers {unbuilt} have no variables yet: call build() in the model's compile().")
    variables = [*model.variables, *(v for optimizer in optimizers for v in optimizer.variables)]
    metrics = {id(v) for v in model.metrics_variables}  # start from zero in each epoch
    return list({id(v): v for v in variables if id(v) not in metrics}.values())
