"""A project's training on its own batches and on batches cached in memory: prints seconds a step as JSON.

python -m tests.benchmarks.contenders.input_stall PROJECT
"""

import importlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import grain
import keras
import numpy as np

from common.datasets.batches import endless
from common.experiments import training
from common.experiments.command import keep_freed_memory
from common.experiments.config import parse
from tests.benchmarks.contenders import measures

PRESET = "demo"
STEPS, ROUNDS, TURNS = 100, 2, 4  # steps of a round at least, in whole epochs; rounds after one that warms up; turns

fit = training.fit


class Measured(Exception):  # noqa: N818
    """Ends the program that trains: its batches are measured."""


class Clock(keras.callbacks.Callback):
    """Seconds of the wall and of all cores at the end of each round."""

    def __init__(self, steps: int):
        super().__init__()
        self.steps, self.marks = steps, []

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % self.steps == 0:
            self.marks.append((time.perf_counter(), time.process_time()))


def seconds_per_step(
    model: keras.Model, data: grain.MapDataset, steps: int, folder: Path, callbacks: tuple = ()
) -> tuple[float, float]:
    """Of the wall and of all cores in the fastest round of one call of the projects' own `fit`."""
    clock = Clock(steps)
    fit(
        model,
        lambda epoch: data,
        steps_per_epoch=(1 + ROUNDS) * steps,
        epochs=1,
        folder=folder,
        monitor=None,
        callbacks=[*callbacks, clock],
    )
    wall, cores = min(np.diff(clock.marks, axis=0).tolist())
    return wall / steps, cores / steps


def measured(project: str) -> dict[str, float]:
    """Runs the project's training until it has a compiled model and its batches, which then are measured."""
    seconds: dict[str, float] = {}

    def measure(
        model, batches: Callable[[int], grain.MapDataset], *, steps_per_epoch, epochs, callbacks=(), **_
    ) -> None:
        if epochs == 0:  # a stage that the preset leaves out
            return
        steps = steps_per_epoch * math.ceil(STEPS / steps_per_epoch)
        # A whole epoch, as its last batch may be smaller.
        epoch = [batches(0)[step] for step in range(steps_per_epoch)]
        cached = endless(lambda _, step: epoch[step], steps_per_epoch)
        turns: dict[str, list[tuple[float, float]]] = {"own": [], "cached": []}
        for turn in range(TURNS):  # by turns, as the speed of a machine drifts by more than what is looked for
            for name, data in (("own", batches(0)), ("cached", cached)):
                turn_folder = Path(folder) / f"{name}{turn}"
                turns[name].append(seconds_per_step(model, data, steps, turn_folder, tuple(callbacks)))
        for name, values in turns.items():
            seconds[name], seconds[f"{name}_cores"] = min(values)
        raise Measured

    training.fit = measure
    with tempfile.TemporaryDirectory() as folder:
        module, presets = (importlib.import_module(f"{project}.{name}") for name in ("train", "config"))
        try:
            module.train(parse(presets.PRESETS, [PRESET, "--runs-dir", folder]))
        except Measured:
            return seconds | {"cores": len(os.sched_getaffinity(0))}
    raise ValueError(
        f"Preset {PRESET!r} of {project} trains nothing; expected a call of common.experiments.training.fit."
    )


if __name__ == "__main__":
    keep_freed_memory()  # as the programs of the projects do
    measures.report(**measured(sys.argv[1]))
