"""Several devices on JAX: `keras.distribution.DataParallel` of Keras 3.15, with what it lacks."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras

if keras.backend.backend() == "jax":
    from keras.src.backend.jax import trainer


class DataParallel(keras.distribution.DataParallel):
    """The strategy of several devices on JAX: each has all variables, and its share of the rows of a batch."""

    cluster_resolver = None

    @property
    def num_replicas_in_sync(self) -> int:
        """Number of devices."""
        return self.num_model_replicas

    def get_data_layout(self, data_shape: Sequence[int]) -> keras.distribution.TensorLayout:
        """Of an array of a batch; a batch that the devices do not divide, as the last of an epoch, is whole on each."""
        if data_shape[0] % self.num_model_replicas:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)
        return super().get_data_layout(data_shape)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Inside, variables are made on all devices, and `fit`, `evaluate` and `predict` deal batches out to them.

        NOTE: Keras 3.15 takes the layout of the first batch for all, and compiles a function for those variables that
        are trainable the first time. Here each batch has its layout, and all variables have the same.
        """

        def batches(iterator: Any, distribution: Any) -> Iterator[Any]:
            return map(trainer._distribute_data, iterator.data_adapter.get_jax_iterator())

        whole = keras.distribution.TensorLayout([], self.device_mesh).backend_layout
        with (
            _replaced(trainer.JAXEpochIterator, "_get_distributed_iterator", batches),
            _replaced(trainer.JAXTrainer, "_get_state_sharding_spec", lambda model: (whole,) * 4),
            super().scope(),
        ):
            yield


@contextlib.contextmanager
def _replaced(owner: type, name: str, method: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, method)
    try:
        yield
    finally:
        setattr(owner, name, before)
