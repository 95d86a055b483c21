"""A generator and a discriminator that learn in turns, in a form that `fit` trains on any number of devices."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from common import distribution

from .gradient_steps import GradientSteps


class AdversarialTraining(GradientSteps):
    """Least-squares adversarial training (Mao et al. 2017) of a conditional generator that has a loss of its own too.

    Each step takes two batches in one, of which the discriminator learns from every second sample and the generator
    from the others: the two learn on alternate batches, no step depends on a count, and a batch that is split over
    replicas is split as one that is not. The discriminator's targets are 1 for true samples and 0 for generated
    ones, and its loss is the mean over both. Each network works for the other one's step in inference mode: batch
    normalization takes its moving statistics there and leaves them alone.

    NOTE(paper): in the text both networks learn from each batch; alternate batches, and the generator's inference mode,
    are those of the author's program.

    Args:
        pairs: dictionary of inputs -> dictionary of `sample`, what is generated, `truth`, what it should be, and
            `difference`, whose mean square is the generator's own loss.
        discriminator: [samples, conditions] -> (B, 1).
        condition: name of the input that both networks are given.
        weight: of the adversarial loss, added to the generator's own.
    """

    def __init__(self, pairs: keras.Model, discriminator: keras.Model, condition: str, weight: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.pairs, self.discriminator, self.condition, self.weight = pairs, discriminator, condition, weight
        self._means = [keras.metrics.Mean(name) for name in ("loss", "difference", "adversarial", "discriminator")]
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        return self.pairs(inputs, training=training)

    def compile(self, optimizer: keras.optimizers.Optimizer, discriminator_optimizer: keras.optimizers.Optimizer):
        """Both optimizers get their variables here, so that a checkpoint has them."""
        super().compile(optimizer, jit_compile=distribution.jit())
        self.discriminator_optimizer = discriminator_optimizer
        optimizer.build(self.pairs.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self._means

    def learn(self, data: Any) -> dict[str, Any]:
        inputs = keras.utils.unpack_x_y_sample_weight(data)[0]
        judged = self._discriminator_step({name: value[::2] for name, value in inputs.items()})
        losses = self._generator_step({name: value[1::2] for name, value in inputs.items()})
        for mean, value in zip(self._means, (*losses, judged)):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self._means}

    def _discriminator_step(self, inputs: dict[str, Any]) -> Any:
        outputs = self.pairs(inputs, training=False)
        condition = inputs[self.condition]
        samples = ops.concatenate([outputs["truth"], ops.stop_gradient(outputs["sample"])], axis=0)

        def losses() -> list[Any]:
            scores = self.discriminator([samples, ops.concatenate([condition, condition], axis=0)], training=True)
            true, generated = ops.split(scores, 2, axis=0)
            return [(ops.mean(ops.square(true - 1)) + ops.mean(ops.square(generated))) / 2]

        return self.minimize(losses, self.discriminator.trainable_variables, self.discriminator_optimizer)[0]

    def _generator_step(self, inputs: dict[str, Any]) -> Sequence[Any]:
        def losses() -> list[Any]:
            outputs = self.pairs(inputs, training=True)
            scores = self.discriminator([outputs["sample"], inputs[self.condition]], training=False)
            difference, adversarial = ops.mean(ops.square(outputs["difference"])), ops.mean(ops.square(scores - 1))
            return [difference + self.weight * adversarial, difference, adversarial]

        return self.minimize(losses, self.pairs.trainable_variables, self.optimizer)
