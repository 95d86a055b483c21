"""The networks of shufflebits with fewer blocks, which are alike: a training is compiled in half the time."""

import contextlib
from collections.abc import Iterator
from unittest import mock

from shufflebits import model
from shufflebits.attacks import training, victim
from tests.common.project_trainings import backbone


@contextlib.contextmanager
def small_networks() -> Iterator[None]:
    """Inside, images are of 32 × 32 pixels; generator and discriminator have a block, and backbones two."""
    with (
        mock.patch.object(model, "_GENERATOR", (128,)),
        mock.patch.object(model, "_DISCRIMINATOR", (128,)),
        mock.patch.object(training, "build_backbone", lambda *_: backbone()),
        mock.patch.object(victim, "build_backbone", lambda *_: backbone()),
    ):
        yield
