"""What a project hands to `training.fit`, without the training."""

import contextlib
import importlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from common.experiments import training
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.reid.config import ReIDConfig
from tests.common import known_people
from tests.common.tiny_trainings import project_of, tiny_backbones


@contextlib.contextmanager
def recorded() -> Iterator[list[SimpleNamespace]]:
    """Inside, `training.fit` only notes its arguments, and how the model was compiled and what would be trained."""
    fit, calls = training.fit, []

    def note(model, batches, **options):
        compiled = {"optimizer": model.optimizer, "loss": model.loss, "jit_compile": model.jit_compile}
        trained = {variable.path for variable in model.trainable_variables}
        calls.append(SimpleNamespace(model=model, batches=batches, trained=trained, **compiled, **options))
        return pd.DataFrame({"epoch": [1]})

    training.fit = note
    try:
        yield calls
    finally:
        training.fit = fit


def calls_of(config: ReIDConfig, people: Path, folder: Path) -> list[SimpleNamespace]:
    """The calls of `fit` in a training of a project on a small set of people, with tiny backbones."""
    project = project_of(config)
    config = replace(config, dataset="market1501", data_dir=people, runs_dir=folder)
    with tiny_backbones(project), known_people.few_people(), recorded() as calls:
        importlib.import_module(f"{project}.train").train(config)
    return calls


def calls_of_both_stages(config: ReIDConfig, people: Path, folder: Path) -> list[SimpleNamespace]:
    """The calls of `fit` in trainings of one epoch and then of three, which have their folders and the published rates.

    Args:
        config: of a run with the default rates.
        people: as of `calls_of`.
        folder: as of `calls_of`.
    """
    calls, project = calls_of(replace(config, frozen_epochs=1, epochs=3), people, folder), project_of(config)
    trials = importlib.import_module(f"{project}.config").trials(config)
    trained = [folder / project / config.name / trial.name for trial in trials]
    stages = [stage for last in trained for stage in ((last / "frozen", 1), (last, 3))]
    assert [(call.folder, call.epochs) for call in calls] == stages
    for call in calls[1::2]:
        np.testing.assert_allclose(rates(call, 12)[8:], [1.78e-4, 2e-4, 2e-4, 2e-4], rtol=1e-5)
    return calls


def whole_and_mirrored(people: Path, call: SimpleNamespace) -> tuple[list[int], np.ndarray]:
    """Of 120 images that reach the network: how many are whole, how many whole and mirrored; and the images."""
    known, _, _ = known_people.pictures(people, "bounding_box_train")
    whole = {image.tobytes() for image in known}
    images = np.concatenate([images for images, _ in batches_of(call, 20)])
    mirrored = images[:, :, ::-1]
    return [sum(image.tobytes() in whole for image in part) for part in (images, mirrored)], images


def assert_initial_weights_are_of_the_seed(config: ReIDConfig, trial: Any) -> None:
    """A network that is built twice from a seed has the same weights, and from another seed others."""
    project = project_of(config)
    build = importlib.import_module(f"{project}.model").build
    with tiny_backbones(project):
        networks = [build(config, replace(trial, seed=seed), 7) for seed in (3, 3, 4)]
    first, again, other = (network.training_model.get_weights() for network in networks)
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other))


def assert_backbone_is_of_the_settings(config: ReIDConfig, trial: Any, folder: Path) -> None:
    """A network is built with the pretrained weights of a file; restored, it needs none and has what was saved.

    Args:
        config: of a run.
        trial: of it.
        folder: to save weights in.
    """
    project, config = project_of(config), replace(config, weights="file.pth")
    module, wanted = importlib.import_module(f"{project}.model"), (config.backbone, config.image_size)
    with tiny_backbones(project) as arguments:
        trained = module.build(config, replace(trial, seed=3), 7).training_model
        assert arguments == [(*wanted, "file.pth")]
        trained.save_weights(folder / BEST_WEIGHTS)
        restored = module.restore(config, trial, 7, folder).training_model
    assert arguments[1:] == [(*wanted, None)]
    for weight, other in zip(restored.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def assert_seeds_have_batches_of_their_own(config: ReIDConfig, people: Path, folder: Path) -> None:
    """Two seeds draw other images, from the first batches on.

    Args:
        config: of a run with one kind of training.
        people: as of `calls_of`.
        folder: as of `calls_of`.
    """
    _, first, _, other = calls_of(replace(config, seeds=(0, 1)), people, folder)
    images, others = (np.stack([images for images, _ in batches_of(call, 5)]) for call in (first, other))
    assert (images != others).any()


def batches_of(call: SimpleNamespace, count: int, first_epoch: int = 0) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """The first batches of a call from an epoch on: images, and what each output is compared with."""
    return list(itertools.islice(call.batches(first_epoch), count))


def rates(call: SimpleNamespace, epochs: int) -> list[float]:
    """The learning rate of the first and of the last step of each epoch, which are the same."""
    assert type(call.optimizer).__name__ == "Adam" and int(call.optimizer.iterations) == 0
    schedule, steps = call.optimizer._learning_rate, call.steps_per_epoch
    first, last = ([float(schedule(epoch * steps + i)) for epoch in range(epochs)] for i in (0, steps - 1))
    assert first == last
    return first
