"""What Keras 3.15 needs so that `Model.fit` computes the same on several replicas of TensorFlow, and on PyTorch.

`keras.distribution` trains on one plain variable under TensorFlow without an error, so `tf.distribute` is used there.
"""

import functools
import threading
from collections.abc import Iterable
from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
elif keras.backend.backend() == "torch":
    import torch


def adapt(model: keras.Model) -> None:
    """Makes `model.fit` on several replicas, and on PyTorch, what it is on one of TensorFlow; no effect there.

    Batch normalization takes the statistics of the whole batch; Keras' default are those of each replica's share, of
    which it keeps the first replica's moving ones.

    What layers add to the loss is stored for each replica apart. Keras 3.15 has one list for all of them, whose threads
    take turns where they wait for each other, as in that batch normalization, and clear or take each other's.

    Each sample counts alike, however many of a batch a replica has. Keras takes the mean over each replica's share.

    The symbolic build takes one replica's share of a batch. Keras 3.15 adds up all shares, as if they were tensors of
    one shape; under `MultiWorkerMirroredStrategy` that fails in any case (keras issue 20585), and so do logs, which are
    reduced there along an axis that scalars lack.

    On PyTorch each variable becomes a parameter of the module that a model is. Keras 3.15 registers them by their
    paths, and so one of several with the same path, as in a cloned network; the gradients of the others were never
    set to zero and grew from step to step.
    """
    if keras.backend.backend() == "torch":
        model._track_variables = functools.partial(_register_variables, model)  # `fit` calls it as well
        model._track_variables()
    if keras.backend.backend() != "tensorflow":
        return
    used = model.distribute_strategy
    if used.num_replicas_in_sync > 1 and not isinstance(model.compute_loss, functools.partial):
        model.compute_loss = functools.partial(_loss_of_share, model, model.compute_loss)
        model._maybe_symbolic_build = functools.partial(_build_by_one_share, model)
    for layer in model._flatten_layers() if used.num_replicas_in_sync > 1 else ():
        layer._losses = _LossesOfThread()
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    several = isinstance(used, tf.distribute.MultiWorkerMirroredStrategy)
    if several and not isinstance(model, _MultiWorkerSteps):  # a model may be fitted in two stages
        # The mixin adds methods and no state, so the class can change under a finished model.
        kind = type(model)
        model.__class__ = type(kind.__name__, (_MultiWorkerSteps, kind), {})


def _build_by_one_share(model: keras.Model, iterator: Any = None, data_batch: Any = None) -> None:
    """Keras' symbolic build by a replica's share of a batch; its own adds the shares up, which may differ in size."""
    if iterator is not None:
        batch = next(iter(iterator))[2]
        local = model.distribute_strategy.experimental_local_results
        data_batch = keras.tree.map_structure(lambda value: local(value)[0], next(batch))
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=data_batch)


def _loss_of_share(
    model: keras.Model, compute_loss: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, training: bool = True
) -> Any:
    """The loss of a replica, whose gradient counts as much as the replica has of the batch.

    That of what layers add is the same on each. A loss over pairs of all replicas is whole on each, so it needs equally
    large shares, as batches of P identities give.
    """
    loss = compute_loss(x, y, y_pred, sample_weight, training=training)
    context = tf.distribute.get_replica_context()
    if context is None or not training:  # Keras builds a model
        return loss
    rows = tf.cast(tf.shape(keras.tree.flatten(x)[0])[0], loss.dtype)
    share = rows * context.num_replicas_in_sync / context.all_reduce("SUM", rows)  # 1 where all have as many
    of_samples = loss - sum(model._aggregate_additional_loss(added) for added in model.losses)
    return loss + (share - 1) * (of_samples - tf.stop_gradient(of_samples))  # its value is what is logged


def _register_variables(model: keras.Model) -> None:
    values = {str(number): variable.value for number, variable in enumerate(model.variables)}
    model._torch_params = torch.nn.ParameterDict(values)


class _LossesOfThread(threading.local):
    """What Keras does with a layer's list of losses, with a list for each thread."""

    def __init__(self) -> None:  # in each thread that uses it
        self._losses: list[Any] = []

    def extend(self, losses: Iterable[Any]) -> None:
        self._losses.extend(losses)

    def clear(self) -> None:
        self._losses.clear()

    def __getitem__(self, index: slice) -> list[Any]:
        return self._losses[index]


class _MultiWorkerSteps:
    """The methods of a Keras model that differ under several workers."""

    distribute_strategy: Any
    train_function: Any
    test_function: Any
    train_step: Any
    test_step: Any

    def make_train_function(self, force: bool = False) -> None:
        if self.train_function is None or force:
            self.train_function = self._reduced(self.train_step)

    def make_test_function(self, force: bool = False) -> None:
        if self.test_function is None or force:
            self.test_function = self._reduced(self.test_step)

    def _reduced(self, step: Any) -> Any:
        used = self.distribute_strategy

        @tf.function
        def run(iterator):
            logs = used.run(step, args=(next(iterator),))
            return {name: used.reduce("MEAN", value, axis=None) for name, value in logs.items()}

        return run
