"""The publication's learning rate at the steps where it changes."""

import keras
import numpy as np
import pytest

from common.schedules import WarmUpAndDrops

PAPER = WarmUpAndDrops(2e-4, steps_per_epoch=200, warmup_epochs=10, drop_epochs=(40, 70))


@pytest.mark.parametrize(
    "epoch, rate",
    # Epoch 5 has 2e-6 + 1.98e-4 · 5/9; the peak is reached at epoch 9, the last of the warm-up.
    [(0, 2e-6), (5, 1.12e-4), (8, 1.78e-4), (9, 2e-4), (39, 2e-4), (40, 2e-5), (69, 2e-5), (70, 2e-6), (199, 2e-6)],
)
def test_rate_of_each_epoch(epoch, rate):
    for step in (epoch * 200, epoch * 200 + 199):  # constant within an epoch
        np.testing.assert_allclose(PAPER(step), rate, rtol=1e-5)


def test_rates_of_all_steps_sum_to_that_of_the_authors_program():
    """200 · (10 · (2e-6 + 2e-4) / 2 + 30 · 2e-4 + 30 · 2e-5 + 130 · 2e-6) = 1.574 over 40,000 steps."""
    rates = keras.ops.convert_to_numpy(PAPER(np.arange(0, 40_000, 200)))
    np.testing.assert_allclose(200 * np.sum(rates), 1.574, rtol=1e-6)


def test_a_warm_up_of_two_epochs_is_the_lowest_rate_and_the_peak():
    schedule = WarmUpAndDrops(1.0, steps_per_epoch=1, warmup_epochs=2, drop_epochs=())
    np.testing.assert_allclose([schedule(step) for step in range(3)], [0.01, 1, 1])
    one = WarmUpAndDrops(1.0, steps_per_epoch=1, warmup_epochs=1, drop_epochs=())
    np.testing.assert_allclose([one(step) for step in range(2)], [0.01, 1])


def test_without_warm_up_it_starts_at_the_peak():
    schedule = WarmUpAndDrops(0.1, steps_per_epoch=3, warmup_epochs=0, drop_epochs=(), floor=0.5)
    np.testing.assert_allclose([schedule(0), schedule(300)], 0.1)


def test_the_warm_up_may_begin_higher_than_the_schedule_ends():
    schedule = WarmUpAndDrops(0.5, steps_per_epoch=3, warmup_epochs=4, drop_epochs=(10, 20, 30), start=0.1)
    np.testing.assert_allclose([schedule(0), schedule(12), schedule(90)], [0.05, 0.5, 0.005], rtol=1e-6)


def test_saves_with_its_settings():
    settings = {
        "peak": 0.3,
        "steps_per_epoch": 4,
        "warmup_epochs": 3,
        "drop_epochs": (5, 7),
        "floor": 0.2,
        "start": 0.4,
    }
    schedule = WarmUpAndDrops(**settings)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert {**again.get_config(), "drop_epochs": tuple(again.get_config()["drop_epochs"])} == settings
    rates = [float(again(4 * epoch)) for epoch in range(8)]
    np.testing.assert_allclose(rates, [0.12, 0.21, 0.3, 0.3, 0.3, 0.06, 0.06, 0.06], rtol=1e-6)  # a fifth at least
