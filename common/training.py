"""`fit`: Keras' own training loop made exactly resumable, with logs, best weights and clean stops."""

import contextlib
import importlib.metadata
import io
import json
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from common import distribution
from common.datasets.batches import Dataset
from common.files import replacing, save_weights, write_json, write_text
from common.memory import naming_full_memory

BEST_WEIGHTS = "best.weights.h5"
_CHECKPOINT = Path("checkpoint") / "state.npz"


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite."""


def write_environment(run: Path) -> None:
    """Writes `environment.json`: versions, commit, devices and command of the process that trains."""
    packages = (keras.backend.backend(), "keras", "numpy", "scipy", "scikit-learn")
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        commit = ""
    write_json(
        run / "environment.json",
        {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
            "commit": commit or "unknown",
            "devices": distribution.devices(),
            "command": sys.argv,
        },
    )


def seed_everything(seed: int) -> None:
    """Seeds initialisers and dropout, and makes the kernels deterministic; call before building a model."""
    keras.utils.set_random_seed(seed)
    distribution.use_deterministic_kernels()


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Inside, layers are made with a Keras dtype policy: "float32", "mixed_bfloat16" or "mixed_float16"."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def fit(
    model: keras.Model,
    batches: Callable[[int], Dataset],
    *,
    steps_per_epoch: int,
    epochs: int,
    folder: Path,
    monitor: str | None = "loss",
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> pd.DataFrame:
    """Trains a compiled model up to `epochs`, continuing from the folder's checkpoint if it has one.

    A training that was killed at any moment and is started again ends with the same weights, bit for
    bit on one CPU device, as one that was never interrupted, provided that `batches` is a function of the
    epoch, learning rates of the step, and on PyTorch that dropout has a seed. Checkpoints are written per epoch.

    Args:
        model: built and compiled under the strategy that it is to train on.
        batches: first epoch -> endless data set of training batches from that epoch on.
        steps_per_epoch: batches in an epoch.
        epochs: total number, those before an interruption included.
        folder: takes `log.csv`, `tensorboard/` (on TensorFlow), `checkpoint/` and `best.weights.h5`.
        monitor: the logged value whose minimum decides which weights are the best; None: the last ones.
        callbacks: further callbacks; they must not have state that decides the result. Values that they
            add to the logs at an epoch's end are logged too.

    Returns:
        One row per epoch with the columns of `log.csv`.

    Raises:
        NonFiniteLossError: with the step; the last whole epoch stays on disk.
        MemoryError: with the batch size; the last whole epoch stays on disk.
        ValueError: the checkpoint belongs to another model.
        SystemExit: after SIGINT (130) or SIGTERM (143); the last whole epoch stays on disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    distribution.adapt(model)
    state = _State(model, folder, monitor)
    if state.epoch < epochs:
        with _SignalStop(folder) as stop, naming_full_memory(folder, lambda: state.epoch, batches):
            model.fit(
                batches(state.epoch),
                steps_per_epoch=steps_per_epoch,
                initial_epoch=state.epoch,
                epochs=epochs,
                verbose=0,
                shuffle=False,  # the data set has its own order
                callbacks=[
                    _StopOnNonFinite(steps_per_epoch, folder),
                    *callbacks,
                    state,
                    *state.tensorboard,
                    _Progress(folder.name, state.epoch, epochs, steps_per_epoch),
                    stop,
                ],
            )
    return pd.DataFrame(state.log)


def epochs_done(folder: Path) -> int:
    """Number of whole epochs in the folder of a training; 0 if there is none."""
    path = folder / "log.csv"
    return len(pd.read_csv(path)) if path.exists() and (folder / BEST_WEIGHTS).exists() else 0


class _State(keras.callbacks.Callback):
    """Everything that the next epoch depends on, in one file that is replaced at each epoch's end.

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

    @property
    def tensorboard(self) -> list[keras.callbacks.Callback]:
        """The callback that writes TensorBoard's files, in the process that writes; it needs TensorFlow."""
        written = self.writes and keras.backend.backend() == "tensorflow"
        return [keras.callbacks.TensorBoard(self.folder / "tensorboard", write_graph=False)] if written else []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}}
        if self.monitor is not None and self.monitor not in row:
            raise ValueError(f"monitor {self.monitor!r} is not logged; logged are {sorted(row)}.")
        best = self.monitor is None or all(row[self.monitor] < past[self.monitor] for past in self.log)
        self.log.append(row)
        # Under several workers reading a synchronised variable is collective: all read, one writes.
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
        values = list(arrays.values())  # np.savez keeps their order
        saved, expected = [v.shape for v in values], [tuple(v.shape) for v in self._variables]
        if saved != expected:
            raise ValueError(
                f"{self.path} belongs to another model: it has {len(saved)} arrays and the model {len(expected)}, "
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


class _StopOnNonFinite(keras.callbacks.Callback):
    def __init__(self, steps_per_epoch: int, folder: Path):
        super().__init__()
        self.steps_per_epoch, self.folder, self._epoch = steps_per_epoch, folder, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # The logged losses are means over the epoch so far: one bad batch shows at once and stays.
        values = {name: float(value) for name, value in logs.items()}
        if not np.isfinite(list(values.values())).all():
            raise NonFiniteLossError(
                f"Training of {self.folder.name} stopped at step {self._epoch * self.steps_per_epoch + batch + 1} "
                f"(epoch {self._epoch + 1}): {values}. The state after epoch {self._epoch} is kept in "
                f"{self.folder}. Look for damaged inputs, or train under another --name with a lower learning rate."
            )


class _Progress(keras.callbacks.Callback):
    """One bar over all steps of the training; without a terminal, a line now and then."""

    def __init__(self, label: str, first_epoch: int, epochs: int, steps_per_epoch: int):
        super().__init__()
        self._label, self._first_epoch, self._epochs, self._steps = label, first_epoch, epochs, steps_per_epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        interval = 0.1 if sys.stderr.isatty() else 60
        self._bar = tqdm(
            desc=self._label,
            total=self._epochs * self._steps,
            initial=self._first_epoch * self._steps,
            unit="step",
            mininterval=interval,
            maxinterval=interval,
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        values = ", ".join(f"{name} {float(value):.5g}" for name, value in logs.items())
        self._bar.set_postfix_str(f"epoch {epoch + 1}/{self._epochs}, {values}", refresh=False)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._bar.close()


class _SignalStop(keras.callbacks.Callback):
    """Turns SIGINT and SIGTERM into an exit at the next batch, so that no file write is cut."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder, self._received = folder, None

    def __enter__(self) -> "_SignalStop":
        def receive(number: int, frame: Any) -> None:
            self._received = number

        self._before = {}
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, receive)
        return self

    def __exit__(self, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._received is not None:
            print(
                f"\nStopped by {signal.Signals(self._received).name}. The last whole epoch is kept in "
                f"{self.folder}; the same command continues from it.",
                file=sys.stderr,
            )
            raise SystemExit(128 + self._received)
