"""Training steps with several optimizers, written once for all backends."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from common.distribution import scale_loss

_BACKEND = keras.backend.backend()
if _BACKEND == "tensorflow":
    import tensorflow as tf
elif _BACKEND == "jax":
    import jax
else:
    import torch


class GradientSteps(keras.Model):
    """A model whose training step is `learn`, in which `minimize` is called as often as there is something to learn.

    All optimizers besides `optimizer` must be attributes, built in `compile`.
    """

    def learn(self, data: Any) -> dict[str, Any]:
        """One batch -> the logs; to be written by who derives from this."""
        raise NotImplementedError

    def minimize(
        self,
        losses: Callable[[], Sequence[Any]],
        variables: Sequence[keras.Variable],
        optimizer: keras.optimizers.Optimizer,
    ) -> Sequence[Any]:
        """One step of the optimizer along the gradient of the first of the losses.

        A layer may assign to one of the variables meanwhile, as spectral normalization does: the gradient is by the new
        value, and the step starts from it.

        Args:
            losses: () -> scalars, means over the batch.
            variables: what is learned.
            optimizer: built for these.

        Returns:
            The losses.
        """
        if _BACKEND == "tensorflow":
            with tf.GradientTape() as tape:
                values = losses()
                scaled = scale_loss(values[0])
            optimizer.apply(tape.gradient(scaled, variables), variables)
            return values
        if _BACKEND == "torch":
            values = losses()
            gradients = torch.autograd.grad(values[0], [variable.value for variable in variables])
            with torch.no_grad():
                optimizer.apply(gradients, variables)
            return [value.detach() for value in values]
        return self._minimize_on_jax(losses, variables, optimizer)

    def train_step(self, *arguments: Any) -> Any:
        """Keras' own: data -> logs; on JAX, where nothing may have state, (state, data) -> (logs, state)."""
        if _BACKEND != "jax":
            return self.learn(*arguments)
        state, data = arguments
        groups = self._state()
        mapping = [pair for group, values in zip(groups, state) for pair in zip(group, values)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            logs = self.learn(data)
        return logs, tuple([scope.get_current_value(variable) for variable in group] for group in groups)

    def _minimize_on_jax(
        self,
        losses: Callable[[], Sequence[Any]],
        variables: Sequence[keras.Variable],
        optimizer: keras.optimizers.Optimizer,
    ) -> Sequence[Any]:
        every = [variable for group in self._state() for variable in group]
        current = [(variable, variable.value) for variable in every]

        def pure(learned: list[Any]) -> tuple[Any, tuple[Sequence[Any], list[Any]]]:
            with _Assignments(current, variables, learned) as scope:
                values = losses()
            return values[0], (values, [scope.get_current_value(variable) for variable in every])

        step = jax.value_and_grad(pure, has_aux=True)
        (_, (values, assigned)), gradients = step([variable.value for variable in variables])
        for variable, value in zip(every, assigned):
            variable.assign(value)
        optimizer.apply(gradients, variables)
        return values

    def _state(self) -> tuple[list[keras.Variable], ...]:
        """In the order in which Keras hands it to a training step on JAX."""
        return (
            self.trainable_variables,
            self.non_trainable_variables,
            self.optimizer.variables,
            self.metrics_variables,
        )

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """Those of the layers, and of the other optimizers, which Keras does not hand to a training step otherwise."""
        optimizers = [value for value in vars(self).values() if isinstance(value, keras.optimizers.Optimizer)]
        others = [optimizer for optimizer in optimizers if optimizer is not getattr(self, "optimizer", None)]
        return [*super().non_trainable_variables, *(v for optimizer in others for v in optimizer.variables)]


class _Assignments(keras.StatelessScope):
    """Variables have the given values inside; the gradient by a learned one is by what it was last assigned."""

    def __init__(self, current: Sequence[Any], variables: Sequence[keras.Variable], learned: Sequence[Any]):
        super().__init__(state_mapping=[*current, *zip(variables, learned)])
        self._learned = {id(variable): value for variable, value in zip(variables, learned)}

    def add_update(self, update: tuple[keras.Variable, Any]) -> None:
        variable, value = update
        if id(variable) in self._learned:
            learned = self._learned[id(variable)]
            value = jax.lax.stop_gradient(value) + (learned - jax.lax.stop_gradient(learned))
        super().add_update((variable, value))
