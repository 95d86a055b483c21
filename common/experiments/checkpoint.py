"""Exact resume: one file with everything that the next epoch depends on, replaced at each epoch's end."""

import io
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from common import distribution
from common.files import replacing, save_weights, write_text

BEST_WEIGHTS = "best.weights.h5"
_CHECKPOINT = Path("checkpoint") / "state.npz"


def epochs_done(folder: Path) -> int:
    """Number of whole epochs in the folder of a training; 0 if there is none."""
    path = folder / "log.csv"
    return len(pd.read_csv(path)) if path.exists() and (folder / BEST_WEIGHTS).exists() else 0


def is_finished(config: Any, trial: Any, data: Any, folder: Path) -> bool:
    """Whether the folder of a training has all the epochs of its config, in the form that `entry.Evaluation` takes."""
    return epochs_done(folder) >= config.epochs


class Checkpoint(keras.callbacks.Callback):
    """Writes the state of a training at each epoch's end; restores it when it is made.

    `keras.callbacks.BackupAndRestore` loses seeds of random layers, the second optimizer of a GAN and
    the order of the data, and removes its folder on success; hence this.
    """

    def __init__(self, model: keras.Model, folder: Path, monitor: str | None):
        super().__init__()
        self.path, self.monitor, self.folder = folder / _CHECKPOINT, monitor, folder
        self.writes = distribution.is_chief(distribution.strategy_of(model))
        self.log: list[dict[str, float]] = []
        self._variables = _all_variables(model)
        if self.path.exists():
            self._restore()
            self._write_log()  # a kill may have come between the checkpoint and the log

    @property
    def epoch(self) -> int:
        """Number of epochs done."""
        return len(self.log)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}}
        if self.monitor is not None and self.monitor not in row:
            raise ValueError(f"monitor {self.monitor!r} is not logged; logged are {sorted(row)}.")
        best = self.monitor is None or all(row[self.monitor] < past[self.monitor] for past in self.log)
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
            np.savez(temporary, *values, log=json.dumps(self.log))
        self._write_log()

    def _write_log(self) -> None:
        if self.writes:
            text = io.StringIO()
            pd.DataFrame(self.log).to_csv(text, index=False)
            write_text(self.folder / "log.csv", text.getvalue())

    def _restore(self) -> None:
        try:
            with np.load(self.path) as file:
                arrays = dict(file)
            self.log = json.loads(str(arrays.pop("log")))
        except Exception as error:
            raise ValueError(
                f"{self.path} is damaged ({error}). Remove {self.folder} to start that training over."
            ) from error
        values = list(arrays.values())  # in the order in which np.savez wrote them
        saved, expected = [v.shape for v in values], [tuple(v.shape) for v in self._variables]
        if saved != expected:
            raise ValueError(
                f"{self.path} belongs to another model: it has {len(saved)} variables and the model {len(expected)}, "
                f"or their shapes differ. Remove {self.folder} to start that training over."
            )
        for variable, value in zip(self._variables, values):
            variable.assign(value)


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
