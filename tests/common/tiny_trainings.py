"""Trainings of a re-identification project with a backbone of two layers, and what is left of them after a kill."""

import contextlib
import importlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

from common.experiments import training
from common.experiments.config import to_json
from common.experiments.identity import IDENTITY
from common.experiments.reid.config import ReIDConfig
from common.experiments.run_folder import load_config
from common.files import write_json
from common.retrieval import load_embeddings
from tests.common.project_trainings import backbone
from tests.helpers import run_python
from tests.resuming import assert_same_checkpoints

SIZE = (32, 32)  # of its images
WIDTHS = {"global": 16, "upper": 8, "lower": 8}  # of its features


def project_of(config: ReIDConfig) -> str:
    """The package of a project, by its config."""
    return type(config).__module__.split(".")[0]


@contextlib.contextmanager
def tiny_backbones(project: str) -> Iterator[list[tuple]]:
    """Inside, a project's networks have a tiny backbone; yields the arguments with which backbones were built."""
    module, built = importlib.import_module(f"{project}.model"), []
    build_backbone = module.build_backbone

    def build(*arguments):
        built.append(arguments)
        return backbone()

    module.build_backbone = build
    try:
        yield built
    finally:
        module.build_backbone = build_backbone


class Kill(keras.callbacks.Callback):
    """Ends the process in a step of the second epoch, as a machine that fails.

    Args:
        step: of the epoch, counted from 0.
    """

    def __init__(self, step: int):
        super().__init__()
        self.step = step

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, self.step):
            os.kill(os.getpid(), signal.SIGKILL)


def trained(config: ReIDConfig, people: Path, folder: Path, **arguments: Any) -> tuple[Path, ReIDConfig]:
    """Trains and evaluates a run of tiny networks on synthetic people; its folder, and its config.

    Args:
        config: of it, but for where its data and its folder lie.
        people: where the synthetic sets lie.
        folder: for the run.
        arguments: of the evaluation.
    """
    project, config = project_of(config), replace(config, data_dir=people, runs_dir=folder)
    with tiny_backbones(project):
        run = importlib.import_module(f"{project}.train").train(config)
        importlib.import_module(f"{project}.evaluate").evaluate(run, **arguments)
    return run, config


def train_copy(run: Path, killed: bool = False, **changes: Any) -> ReIDConfig:
    """Trains a run of tiny networks, or goes on with it, where its folder lies; or is killed in it.

    Args:
        run: folder with its config.
        killed: whether it is.
        changes: other values of fields.
    """
    project = run.parent.name
    config_class = importlib.import_module(f"{project}.config").Config
    config = replace(load_config(run, config_class), runs_dir=run.parents[1], **changes)
    fit = training.fit

    def fit_until_killed(model, batches, *, callbacks, **options):
        return fit(model, batches, callbacks=[*callbacks, *([Kill(2)] if killed else [])], **options)

    training.fit = fit_until_killed
    try:
        with tiny_backbones(project):
            importlib.import_module(f"{project}.train").train(config)
    finally:
        training.fit = fit
    return config


def assert_kill_changes_nothing(whole: Path, folder: Path, trial: str) -> None:
    """A training that is killed in its second stage, and goes on, ends bit for bit as the whole one.

    Args:
        whole: a run of tiny networks, whose stages have one and two epochs of four steps.
        folder: for a copy of its first stage.
        trial: name of its training.
    """
    run = folder / whole.parent.name / whole.name
    shutil.copytree(whole / trial / "frozen", run / trial / "frozen")
    for name in ("config.json", IDENTITY):
        shutil.copy(whole / name, run)
    code = (
        "import pathlib, sys\nfrom tests.common.tiny_trainings import train_copy\n"
        "train_copy(pathlib.Path(sys.argv[1]), killed=True)"
    )
    run_python("-c", code, str(run), status=-signal.SIGKILL)
    assert len(pd.read_csv(run / trial / "log.csv")) == 1
    train_copy(run)
    assert_same_checkpoints(run, whole, trial)
    for name in ("log.csv", "frozen/log.csv"):
        assert (run / trial / name).read_bytes() == (whole / trial / name).read_bytes()


def assert_more_epochs_go_on(whole: Path, folder: Path, trial: str) -> None:
    """A training of one epoch, which then is to have two, ends bit for bit as the whole one.

    Args:
        whole: a run of tiny networks with two epochs.
        folder: for a copy of its first stage, which no number of epochs is of.
        trial: name of its training.
    """
    run = folder / whole.parent.name / whole.name
    shutil.copytree(whole / trial / "frozen", run / trial / "frozen")
    config = load_config(whole, importlib.import_module(f"{whole.parent.name}.config").Config)
    write_json(run / "config.json", to_json(replace(config, epochs=1)))
    train_copy(run)
    assert len(pd.read_csv(run / trial / "log.csv")) == 1
    train_copy(run, epochs=2)
    assert_same_checkpoints(run, whole, trial)


def assert_first_losses(folder: Path, expected: dict[str, dict[str, float]]) -> None:
    """Both stages of a training have had these losses in their first epoch.

    Args:
        folder: of the training.
        expected: backend -> folder of the stage -> loss.
    """
    losses = {stage: pd.read_csv(folder / stage / "log.csv")["loss"][0] for stage in ("frozen", ".")}
    assert losses == pytest.approx(expected[keras.backend.backend()], rel=2e-3)


def assert_looks_are_of_the_embeddings(folder: Path, score: str, features: str, branch: str) -> None:
    """The last look at the test images has the evaluation's score, and what the clip does to features of the gallery.

    Args:
        folder: of the training.
        score: name in the record of the evaluation.
        features: file of the embeddings that were looked at.
        branch: whose features are compared.
    """
    log, record = pd.read_csv(folder / "log.csv").iloc[-1], json.loads((folder / "metrics.json").read_text())
    assert log["test_mAP"] == pytest.approx(record[score], rel=1e-6)
    _, gallery = load_embeddings(folder / features)
    parts = np.split(gallery.features, np.cumsum(list(WIDTHS.values()))[:-1], axis=1)
    part = dict(zip(WIDTHS, parts))[branch]
    assert log[f"{branch}_saturated"] == pytest.approx((part == 1).mean(), abs=1e-6)
    assert log[f"{branch}_dead"] == pytest.approx((part <= 1e-5).mean(), abs=1e-6)
    assert "test_mAP" in pd.read_csv(folder / "frozen/log.csv")


def assert_first_stage_was_frozen(run: Path, config: ReIDConfig, trial: Any, learned: set[str]) -> None:
    """The first stage of a training has left the backbone's blocks as they began, and moved the variables named.

    Args:
        run: of tiny networks, on the synthetic people of the preset `smoke`, of whom eight are trained on.
        config: of it.
        trial: of it.
        learned: paths of variables.
    """
    project = project_of(config)
    with tiny_backbones(project):
        initial = importlib.import_module(f"{project}.model").build(config, trial, 8)
    variables = initial.training_model.variables
    with np.load(run / trial.name / "frozen/checkpoint/state.npz") as state:
        moved = {id(v): not np.array_equal(v, state[f"arr_{i}"]) for i, v in enumerate(variables)}
    frozen = [id(v) for block in initial.frozen_blocks for v in block.variables]
    assert len(frozen) == 18 and not any(moved[variable] for variable in frozen)
    assert {v.path for v in variables if moved[id(v)]} >= learned
