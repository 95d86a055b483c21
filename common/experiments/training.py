"""`fit`: Keras' training loop, resumed exactly, with logs, best weights and clean stops."""

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import grain
import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from common import distribution
from common.datasets.batches import feed, naming_damaged_images
from common.experiments.checkpoint import Checkpoint
from common.files import naming_full_memory
from common.keras_workarounds import adapt


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite."""


@contextlib.contextmanager
def precision(policy: str) -> Iterator[None]:
    """Inside, layers are made with a Keras dtype policy, "float32" or "mixed_bfloat16", and with channels last.

    All else is float32 there, initial weights and metrics too. Afterwards the settings of Keras are as before.

    In a project's `model.py`, layers whose outputs a loss or a metric reads say that they are float32; so do poolings
    and normalizations of embeddings. What else there is takes the policy: it computes in bfloat16 from float32 weights.
    """
    before = keras.config.dtype_policy(), keras.config.image_data_format(), keras.config.floatx()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_image_data_format(before[1])
        keras.config.set_floatx(before[2])


def release_graphs() -> None:
    """Lets go of the graphs of models that are gone, of some hundred megabytes each where there are many layers.

    NOTE: TensorFlow (2.21) registers each custom gradient that it traces for the life of the process, and with it the
    graph of the whole training step. Nobody looks them up once the step is traced.
    """
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.framework import ops

        registry = ops.gradient_registry._registry
        for name in [name for name in registry if name.startswith("CustomGradient-")]:
            del registry[name]
    for _ in range(2):  # an iterator over batches that Python makes, then what it has held
        gc.collect()


def fit(
    model: keras.Model,
    batches: Callable[[int], grain.MapDataset],
    *,
    steps_per_epoch: int,
    epochs: int,
    folder: Path,
    monitor: str | None = "loss",
    mode: Literal["min", "max"] = "min",
    monitor_every: int = 1,
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
        folder: takes `log.csv`, `tensorboard/`, `checkpoint/` and `best.weights.h5`.
        monitor: the logged value that decides which weights are the best; None: the last ones.
        mode: whether its minimum or its maximum does.
        monitor_every: it is logged after every so many epochs, and after the last; other epochs are not the best.
        callbacks: further callbacks, without state that decides the result. Values that they add to the logs at an
            epoch's end are logged too.

    Returns:
        One row per epoch with the columns of `log.csv`.

    Raises:
        NonFiniteLossError: with the step; the last whole epoch stays on disk.
        MemoryError: with the batch size; the last whole epoch stays on disk.
        ValueError: the checkpoint belongs to another model, or an image cannot be read; the sentence names it.
        SystemExit: after SIGINT (130) or SIGTERM (143); the last whole epoch stays on disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    adapt(model)
    state = Checkpoint(model, folder, monitor, mode, monitor_every)
    if state.epoch < epochs:
        progress = _Progress(folder.name, state.epoch, epochs, steps_per_epoch)
        full_memory = naming_full_memory(folder, lambda: state.epoch, batches)
        with (
            distribution.scope_of(model),
            distribution.deterministic_kernels(),
            _SignalStop(folder, steps_per_epoch) as stop,
            full_memory,
            naming_damaged_images(),
            contextlib.closing(progress),  # before a sentence that ends the training, which has a line of its own
        ):
            model.fit(
                feed(batches(state.epoch)),
                steps_per_epoch=steps_per_epoch,
                initial_epoch=state.epoch,
                epochs=epochs,
                verbose=0,
                shuffle=False,  # the data set has its own order
                callbacks=[
                    _StopOnNonFinite(steps_per_epoch, folder),
                    *callbacks,
                    state,
                    progress,
                    stop,
                ],
            )
    return pd.DataFrame(state.log)


class _StopOnNonFinite(keras.callbacks.Callback):
    def __init__(self, steps_per_epoch: int, folder: Path):
        super().__init__()
        self.steps_per_epoch, self.folder, self._epoch = steps_per_epoch, folder, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # The logged losses are means over the epoch so far: one bad batch shows at once and stays.
        values = {name: float(value) for name, value in (logs or {}).items()}
        if not np.isfinite(list(values.values())).all():
            raise NonFiniteLossError(
                f"Training of {self.folder.name} stopped at step {self._epoch * self.steps_per_epoch + batch + 1} "
                f"(epoch {self._epoch + 1}): {values}. The state after epoch {self._epoch} is saved in "
                f"{self.folder}. Look for damaged inputs, or train under another --name with a lower learning rate."
            )


class _Progress(keras.callbacks.Callback):
    """One bar over all steps of the training; without a terminal, a line now and then."""

    def __init__(self, label: str, first_epoch: int, epochs: int, steps_per_epoch: int):
        super().__init__()
        self._label, self._first_epoch, self._epochs, self._steps = label, first_epoch, epochs, steps_per_epoch
        self._bar = tqdm(disable=True)

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
        values = ", ".join(f"{name} {float(value):.5g}" for name, value in (logs or {}).items())
        self._bar.set_postfix_str(f"epoch {epoch + 1}/{self._epochs}, {values}", refresh=False)

    def close(self) -> None:
        """Leaves the bar on the screen, and ends its line."""
        self._bar.close()


class _SignalStop(keras.callbacks.Callback):
    """Turns SIGINT and SIGTERM into an exit after this step, or after this epoch's files if it is the last step of one.

    A second signal stops at once, but for an epoch that is complete and about to be saved.
    """

    def __init__(self, folder: Path, steps_per_epoch: int):
        super().__init__()
        self.folder, self._steps = folder, steps_per_epoch
        self._received: int | None = None
        self._is_complete = False  # the epoch, which is not saved yet

    def __enter__(self) -> "_SignalStop":
        def receive(number: int, frame: Any) -> None:
            if self._received is not None and not self._is_complete:
                self._stop()
            self._received = number
            when = "once this epoch is saved" if self._is_complete else "after this step; once more stops now"
            print(f"\n{signal.Signals(number).name}: stopping {when}.", file=sys.stderr, flush=True)

        self._before = {}
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there only
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is SystemExit and self._received is not None:
            print(
                f"Stopped by {signal.Signals(self._received).name}. The last whole epoch is saved in {self.folder}; "
                "the same command continues from it.",
                file=sys.stderr,
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._is_complete = batch + 1 == self._steps
        if self._received is not None and not self._is_complete:
            self._stop()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._is_complete = False
        if self._received is not None:  # the epoch is complete, and saved by a callback before this one
            self._stop()

    def _stop(self) -> None:
        raise SystemExit(128 + (self._received or signal.SIGTERM))
