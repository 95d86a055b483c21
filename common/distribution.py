"""Where a model trains: one device, all devices of this machine, or several machines.

NOTE: `keras.distribution` trains on one plain variable under TensorFlow without an error, so
`tf.distribute` is used. Its traps are handled here once: losses written by hand (`scale_loss`) or over pairs
of samples (`gathered`), statistics of a replica's own share, and `Model.fit` under several workers (`adapt`).
Other backends train on one device.
"""

import contextlib
import functools
import json
import os
import sys
import threading
from collections.abc import Iterable
from typing import Any, Protocol

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Each model of a run traces functions of its own, which TensorFlow takes for one function traced again and again.
    tf.get_logger().addFilter(lambda record: "tf.function retracing" not in record.getMessage())


class Strategy(Protocol):
    """What this repository uses of `tf.distribute.Strategy`."""

    @property
    def num_replicas_in_sync(self) -> int: ...

    @property
    def cluster_resolver(self) -> Any: ...

    def scope(self) -> contextlib.AbstractContextManager: ...


class OneDevice:
    """The strategy of backends without `tf.distribute`."""

    num_replicas_in_sync = 1
    cluster_resolver = None

    def scope(self) -> contextlib.AbstractContextManager:
        """Does nothing."""
        return contextlib.nullcontext()


def need_tensorflow(what: str) -> None:
    """Raises ValueError, which says what it is that needs TensorFlow, if that is not the backend."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(f"{what} needs TensorFlow, but the backend is {backend}; set KERAS_BACKEND=tensorflow.")


def devices() -> list[str]:
    """Names of the devices that this process can train on."""
    if keras.backend.backend() == "tensorflow":
        return [device.name for device in tf.config.list_logical_devices()]
    return [str(keras.ops.convert_to_tensor(0).device)]


def use_deterministic_kernels() -> None:
    """For the rest of this process; those of other backends on CPUs are deterministic anyway."""
    if keras.backend.backend() == "tensorflow":
        tf.config.experimental.enable_op_determinism()


def jit() -> bool:
    """The `jit_compile` of a training: JAX runs one operation after the other without it, and is ten times slower.

    TensorFlow has graphs of its own; XLA is slower than they are on CPUs, and Keras has none with deterministic
    kernels.
    """
    return keras.backend.backend() == "jax"


def strategy(kind: str = "auto") -> Strategy:
    """The strategy to build, compile and fit a model under.

    With several workers this must be the first thing that a process asks of TensorFlow.

    Args:
        kind: "one" device; "mirrored" over all GPUs, or over all logical CPU devices if there is no
            GPU; "multi_worker" over the cluster that `TF_CONFIG` or SLURM describes; "auto" is
            "multi_worker" if `TF_CONFIG` is set, "mirrored" if there are several GPUs, else "one".

    Raises:
        ValueError: unknown kind, one device for "mirrored", no cluster for "multi_worker", either of these two on
            another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow" and kind in ("auto", "one"):
        _warn_of_cpu()
        return OneDevice()
    need_tensorflow(f"--strategy {kind}")
    if kind == "auto" and "TF_CONFIG" in os.environ:
        kind = "multi_worker"
    if kind == "auto":
        kind = "mirrored" if len(tf.config.list_logical_devices("GPU")) > 1 else "one"
    if kind == "one":
        _warn_of_cpu()
        return tf.distribute.get_strategy()
    if kind == "mirrored":
        gpus, cpus = (tf.config.list_logical_devices(name) for name in ("GPU", "CPU"))
        devices = [device.name for device in gpus or cpus]
        if len(devices) < 2:
            raise ValueError(
                f"Strategy 'mirrored' needs at least two devices of one kind, got {devices}. "
                "Use --strategy one, or make more GPUs visible."
            )
        return _mirrored(tuple(devices))
    if kind == "multi_worker":
        if "TF_CONFIG" not in os.environ and "SLURM_STEP_NUM_TASKS" in os.environ:
            os.environ["TF_CONFIG"] = _cluster_of_slurm(int(os.environ["SLURM_STEP_NUM_TASKS"]))
        if "TF_CONFIG" in os.environ:
            return tf.distribute.MultiWorkerMirroredStrategy()
        raise ValueError(
            "Strategy 'multi_worker' needs a cluster: set TF_CONFIG on each worker, or start with srun "
            "under SLURM. For this machine alone use --strategy mirrored."
        )
    raise ValueError(f"Unknown strategy {kind!r}; expected 'auto', 'one', 'mirrored' or 'multi_worker'.")


def _cluster_of_slurm(tasks: int) -> str:
    """`TF_CONFIG` of a task of `srun`.

    TensorFlow's resolver gives addresses only: with its numbers of GPUs it fails on nodes without any, and binds those
    that SLURM has bound. The numbers given here spare it a call of nvidia-smi.
    """
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
    )
    cluster = resolver.cluster_spec().as_dict()
    return json.dumps({"cluster": cluster, "task": {"type": resolver.task_type, "index": resolver.task_id}})


@functools.cache
def _mirrored(names: tuple[str, ...]) -> Strategy:
    """One for all of a process: TensorFlow mixes up what the replicas of two of them exchange (2.21)."""
    return tf.distribute.MirroredStrategy(names)


def evaluation_strategy(kind: str) -> Strategy:
    """The strategy to evaluate a run under that trained under `strategy(kind)`.

    That is the same, but one device for "multi_worker", as one process evaluates, and where a machine has no others.
    """
    if keras.backend.backend() != "tensorflow":
        return OneDevice()
    several = kind == "auto" and "TF_CONFIG" not in os.environ or kind == "mirrored"
    devices = tf.config.list_logical_devices("GPU")
    if kind == "mirrored" and not devices:
        devices = tf.config.list_logical_devices("CPU")
    return strategy("mirrored") if several and len(devices) > 1 else tf.distribute.get_strategy()


def need_one_process(used: Strategy, what: str) -> None:
    """Raises ValueError, which says what it is that several processes cannot share, if the strategy has several."""
    if used.cluster_resolver is not None:
        raise ValueError(f"{what} trains in one process; use --strategy one or mirrored instead of multi_worker.")


def _warn_of_cpu() -> None:
    """Whoever has a GPU and waits for hours would like to know that it is not used."""
    if all("cpu" in name.lower() for name in devices()):
        print(f"No GPU is visible to {keras.backend.backend()}: this trains on the CPU.", file=sys.stderr)


def strategy_of(model: keras.Model) -> Strategy:
    """The strategy that a model was built under."""
    return getattr(model, "distribute_strategy", OneDevice())


def is_chief(used: Strategy) -> bool:
    """Whether this process writes the files of the run."""
    resolver = used.cluster_resolver
    if resolver is None or resolver.task_type in (None, "chief"):
        return True
    first = resolver.task_type == "worker" and resolver.task_id == 0
    return first and not resolver.cluster_spec().as_dict().get("chief")


def scale_loss(loss: "tf.Tensor") -> "tf.Tensor":
    """Divides a loss computed by hand in a training step by the number of replicas.

    Gradients are summed over replicas, so a mean over the local batch would otherwise train with
    `num_replicas` times the learning rate while the displayed loss looks right. `keras.losses` and
    `add_loss` are scaled by Keras itself.
    """
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def gathered(rows: Any) -> Any:
    """The rows of all replicas, (G, ...) from this one's (B, ...), in the replicas' order, for a loss over pairs.

    Each replica is to compute the whole loss, whose gradient by its own rows it then knows without the others. That is
    passed back times the number of replicas, because Keras divides a loss by it. The same rows come back from one
    replica, and outside of a replica's step, as when Keras builds a model.
    """
    context = tf.distribute.get_replica_context() if keras.backend.backend() == "tensorflow" else None
    if context is None or context.num_replicas_in_sync == 1:
        return rows
    counts = context.all_gather(tf.shape(rows)[:1], axis=0)  # (replicas,)
    first = tf.reduce_sum(counts[: context.replica_id_in_sync_group])

    @tf.custom_gradient
    def gather(own):
        def gradient(upstream):
            return context.num_replicas_in_sync * tf.convert_to_tensor(upstream)[first : first + tf.shape(own)[0]]

        return context.all_gather(own, axis=0), gradient

    return gather(rows)


def adapt(model: keras.Model) -> None:
    """Makes `model.fit` on several replicas what it is on one, and on PyTorch what it is elsewhere.

    Batch normalization takes the statistics of the whole batch; Keras' default are those of each replica's share, of
    which it keeps the first replica's moving ones.

    What layers add to the loss is stored for each replica apart. Keras 3.15 has one list for all of them, whose threads
    take turns where they wait for each other, as in that batch normalization, and clear or take each other's.

    `fit` works under `MultiWorkerMirroredStrategy`. Keras 3.15 fails there in two places (keras issue 20585): the
    symbolic build reduces a batch of per-replica values as if it were a tensor, and logs are reduced along an axis
    that scalars lack.
    """
    if keras.backend.backend() == "torch":
        _register_every_variable(model)
    if keras.backend.backend() != "tensorflow":
        return
    used = model.distribute_strategy
    for layer in model._flatten_layers() if used.num_replicas_in_sync > 1 else ():
        layer._losses = _LossesOfThread()
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
    several = isinstance(used, tf.distribute.MultiWorkerMirroredStrategy)
    if several and not isinstance(model, _MultiWorkerSteps):  # a model may be fitted in two stages
        # The mixin adds methods and no state, so the class can change under a finished model.
        kind = type(model)
        model.__class__ = type(kind.__name__, (_MultiWorkerSteps, kind), {})


def _register_every_variable(model: keras.Model) -> None:
    """Makes each variable a parameter of the PyTorch module that a model is.

    Keras 3.15 registers them by their paths, and so one of several with the same path, as in a cloned network. The
    others' gradients were never set to zero: they grew from step to step.
    """
    import torch

    named = {str(number): variable.value for number, variable in enumerate(model.variables)}
    model._torch_params = torch.nn.ParameterDict(named)


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
    """The two methods of a Keras model that differ under several workers."""

    distribute_strategy: Any
    train_function: Any
    test_function: Any
    train_step: Any
    test_step: Any
    _symbolic_build: Any

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
