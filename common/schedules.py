"""Learning rates as functions of the step, so that a resumed training goes on with the right one."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="common")
class WarmUpAndDrops(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly over the first epochs, is divided by ten at given epochs; constant within an epoch.

    Args:
        peak: the rate after the warm-up.
        steps_per_epoch: batches in an epoch.
        warmup_epochs: n; epoch e of them has first + (peak - first) · e / (n - 1), e from 0: the last has the peak.
        drop_epochs: from each of them on the rate is a tenth of what it was.
        floor: the lowest rate, as a share of the peak.
        start: the rate with which the warm-up begins, as a share of the peak; None is `floor`.
    """

    def __init__(
        self,
        peak: float,
        steps_per_epoch: int,
        warmup_epochs: int,
        drop_epochs,
        floor: float = 0.01,
        start: float | None = None,
    ):
        self.peak, self.steps_per_epoch, self.warmup_epochs = peak, steps_per_epoch, warmup_epochs
        self.drop_epochs, self.floor, self.start = tuple(drop_epochs), floor, floor if start is None else start

    def __call__(self, step):
        # Steps are whole numbers below 2^24, so float32 divides them exactly enough for the floor.
        epoch = ops.floor(ops.cast(step, "float32") / self.steps_per_epoch)
        lowest = self.floor * self.peak
        first = self.start * self.peak
        rising = first + (self.peak - first) * epoch / max(self.warmup_epochs - 1, 1)
        drops = sum(ops.cast(epoch >= drop, "float32") for drop in self.drop_epochs)
        falling = ops.maximum(self.peak * ops.power(0.1, drops), lowest)
        return ops.where(epoch < self.warmup_epochs, rising, falling)

    def get_config(self):
        names = ("peak", "steps_per_epoch", "warmup_epochs", "drop_epochs", "floor", "start")
        return {name: getattr(self, name) for name in names}
