"""The publication's learning rate at the steps where it changes."""

import keras
import numpy as np
import pytest

from common.schedules import WarmUpAndDrops

PAPER = WarmUpAndDrops(2e-4, steps_per_epoch=200, warmup_epochs=10, drop_epochs=(40, 70))


@pytest.mark.parametrize(
    "epoch, rate",
    [(0, 2e-6), (5, 1.01e-4), (9, 1.802e-4), (10, 2e-4), (39, 2e-4), (40, 2e-5), (69, 2e-5), (70, 2e-6), (199, 2e-6)],
)
def test_rate_of_each_epoch(epoch, rate):
    for step in (epoch * 200, epoch * 200 + 199):  # constant within an epoch
        np.testing.assert_allclose(PAPER(step), rate, rtol=1e-5)


def test_without_warm_up_it_starts_at_the_peak():
    schedule = WarmUpAndDrops(0.1, steps_per_epoch=3, warmup_epochs=0, drop_epochs=(), floor=0.5)
    np.testing.assert_allclose([schedule(0), schedule(300)], 0.1)


def test_the_warm_up_may_begin_higher_than_the_schedule_ends():
    schedule = WarmUpAndDrops(0.5, steps_per_epoch=3, warmup_epochs=4, drop_epochs=(10, 20, 30), start=0.1)
    np.testing.assert_allclose([schedule(0), schedule(12), schedule(90)], [0.05, 0.5, 0.005], rtol=1e-6)


def test_saves_with_its_settings():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(PAPER))
    assert again.get_config() == PAPER.get_config()
