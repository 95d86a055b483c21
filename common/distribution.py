"""Where a model trains: one device, all devices of this machine, or several machines.

NOTE: `keras.distribution` trains on one plain variable under TensorFlow without an error, so
`tf.distribute` is used. Its traps are handled here once: losses written by hand (`scale_loss`), equal
random numbers on all replicas (`replica_seed`), and `Model.fit` under several workers
(`enable_multi_worker`).
"""

import os
from typing import Any

import keras
import tensorflow as tf

Strategy = tf.distribute.Strategy


def strategy(kind: str = "auto") -> tf.distribute.Strategy:
    """The strategy to build, compile and fit a model under.

    With several workers this must be the first thing that a process asks of TensorFlow.

    Args:
        kind: "one" device; "mirrored" over all GPUs, or over all logical CPU devices if there is no
            GPU; "multi_worker" over the cluster that `TF_CONFIG` or SLURM describes; "auto" is
            "multi_worker" if `TF_CONFIG` is set, "mirrored" if there are several GPUs, else "one".

    Raises:
        ValueError: unknown kind, one device for "mirrored", no cluster for "multi_worker".
    """
    if kind == "auto" and "TF_CONFIG" in os.environ:
        kind = "multi_worker"
    if kind == "auto":
        kind = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"
    if kind == "one":
        return tf.distribute.get_strategy()
    if kind == "mirrored":
        gpus, cpus = (tf.config.list_logical_devices(name) for name in ("GPU", "CPU"))
        devices = [device.name for device in gpus or cpus]
        if len(devices) < 2:
            raise ValueError(
                f"Strategy 'mirrored' needs at least two devices of one kind, found {devices}. "
                "Use --strategy one, or make more GPUs visible."
            )
        return tf.distribute.MirroredStrategy(devices)
    if kind == "multi_worker":
        if "TF_CONFIG" in os.environ:
            return tf.distribute.MultiWorkerMirroredStrategy()
        if "SLURM_JOB_ID" in os.environ:
            resolver = tf.distribute.cluster_resolver.SlurmClusterResolver()
            return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
        raise ValueError(
            "Strategy 'multi_worker' needs a cluster: set TF_CONFIG on each worker, or start under "
            "SLURM. For this machine alone use --strategy mirrored."
        )
    raise ValueError(f"Unknown strategy {kind!r}; expected 'auto', 'one', 'mirrored' or 'multi_worker'.")


def is_chief(used: tf.distribute.Strategy) -> bool:
    """Whether this process writes the files of the run."""
    resolver = used.cluster_resolver
    return (
        resolver is None
        or resolver.task_type in (None, "chief")
        or (
            resolver.task_type == "worker"
            and resolver.task_id == 0
            and not resolver.cluster_spec().as_dict().get("chief")
        )
    )


def scale_loss(loss: tf.Tensor) -> tf.Tensor:
    """Divides a loss computed by hand in a training step by the number of replicas.

    Gradients are summed over replicas, so a mean over the local batch would otherwise train with
    `num_replicas` times the learning rate while the displayed loss looks right. `keras.losses` and
    `add_loss` are scaled by Keras itself.
    """
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """Folds the replica's number into a stateless seed of shape (2,), so that replicas draw differently."""
    context = tf.distribute.get_replica_context()
    return tf.random.experimental.stateless_fold_in(
        tf.cast(seed, tf.int32), tf.cast(context.replica_id_in_sync_group, tf.int32)
    )


def enable_multi_worker(model: keras.Model) -> None:
    """Makes `model.fit` work under `MultiWorkerMirroredStrategy`; no effect under other strategies.

    Keras 3.15 fails there in two places (keras issue 20585): the symbolic build reduces a batch of
    per-replica values as if it were a tensor, and logs are reduced along an axis that scalars lack.
    """
    if isinstance(model.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
        # The mixin adds methods and no state, so the class can change under a finished model.
        kind = type(model)
        model.__class__ = type(kind.__name__, (_MultiWorkerSteps, kind), {})


class _MultiWorkerSteps:
    """The two methods of a Keras model that differ under several workers."""

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None:
            batch = next(iter(iterator))[2]
            local = self.distribute_strategy.experimental_local_results
            data_batch = keras.tree.map_structure(lambda value: local(value)[0], next(batch))
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=data_batch)

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
