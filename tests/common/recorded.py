"""What a project hands to `training.fit`, without the training."""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from common.experiments import training


@contextlib.contextmanager
def recorded() -> Iterator[list[SimpleNamespace]]:
    """Inside, `training.fit` only notes its arguments, and how the model was compiled and what would be trained."""
    fit, calls = training.fit, []

    def note(model, batches, **options):
        compiled = {"optimizer": model.optimizer, "loss": model.loss, "jit_compile": model.jit_compile}
        trained = {variable.path for variable in model.trainable_variables}
        calls.append(SimpleNamespace(model=model, batches=batches, trained=trained, **compiled, **options))

    training.fit = note
    try:
        yield calls
    finally:
        training.fit = fit


def batches_of(call: SimpleNamespace, count: int, first_epoch: int = 0) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """The first batches of a call from an epoch on: images, and what each output is compared with."""
    taken = call.batches(first_epoch).take(count)
    return [(images.numpy(), {name: value.numpy() for name, value in targets.items()}) for images, targets in taken]


def rates(call: SimpleNamespace, epochs: int) -> list[float]:
    """The learning rate of the first and of the last step of each epoch, which are the same."""
    assert type(call.optimizer) is keras.optimizers.Adam and int(call.optimizer.iterations) == 0
    schedule, steps = call.optimizer._learning_rate, call.steps_per_epoch
    first, last = ([float(schedule(epoch * steps + i)) for epoch in range(epochs)] for i in (0, steps - 1))
    assert first == last
    return first
