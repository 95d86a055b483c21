"""Trainings that are stopped where a test wants it, and what two trainings end with."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from common.experiments import training


@contextlib.contextmanager
def stopping(where: Callable[[Path], bool], after_epochs: int = 0) -> Iterator[list[str]]:
    """Inside, a training must stop: its `fit` exits in a folder that `where` accepts, after so many epochs.

    Yields:
        Names of the folders that `fit` was called with.
    """
    fit, folders = training.fit, []

    def fit_or_stop(model, batches, *, folder, epochs, **options):
        folders.append(folder.name)
        if not where(folder):
            return fit(model, batches, folder=folder, epochs=epochs, **options)
        if after_epochs:
            fit(model, batches, folder=folder, epochs=after_epochs, **options)
        raise SystemExit(143)

    training.fit = fit_or_stop
    try:
        with pytest.raises(SystemExit):
            yield folders
    finally:
        training.fit = fit


def assert_same_checkpoints(run: Path, expected: Path, *trials: str) -> None:
    """The named trainings of two runs have the same weights, moments and logs, bit for bit."""
    for trial in trials:
        states = [np.load(folder / trial / "checkpoint/state.npz") for folder in (run, expected)]
        assert states[0].files == states[1].files
        for name in set(states[1].files) - {"stamp"}:  # of a run, with its other trainings
            np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=f"{trial} {name}")
