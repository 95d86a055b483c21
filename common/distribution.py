"""Where a model trains: one device, all devices of this machine, or several machines.

JAX has `keras.distribution.DataParallel` (`jax_devices`): its arrays are global, so losses, statistics and random
numbers are those of the whole batch wherever its rows lie. TensorFlow has `tf.distribute`, whose replicas see their own
share: losses written by hand (`scale_loss`) or over pairs of samples (`gathered`) say so, and `keras_workarounds`
does the rest. PyTorch trains on one device.
"""

import contextlib
import functools
import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import keras

from common import workers
from common.jax_devices import DataParallel

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    from tensorflow.python.framework.config import disable_op_determinism, is_op_determinism_enabled

_BLOCKS = threading.Lock()
_inside = 0  # how many threads, and blocks within blocks, are in `deterministic_kernels`
_were_deterministic = False  # before the first of them


class Strategy(Protocol):
    """What this repository uses of `tf.distribute.Strategy`."""

    @property
    def num_replicas_in_sync(self) -> int: ...

    @property
    def cluster_resolver(self) -> Any: ...

    def scope(self) -> contextlib.AbstractContextManager: ...


class OneDevice:
    """The strategy of one device on JAX and PyTorch."""

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
    if keras.backend.backend() == "jax":
        return keras.distribution.list_devices()
    return [str(keras.ops.convert_to_tensor(0).device)]


def _devices_of_one_kind() -> list[str]:
    """Those of `devices()` that a batch can be split over: the GPUs, or the CPU devices where there is no GPU."""
    if keras.backend.backend() != "tensorflow":
        return devices()
    gpus, cpus = (tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU"))
    return [device.name for device in gpus or cpus]


def _all_are_cpus(names: Sequence[str]) -> bool:
    return all("cpu" in name.lower() for name in names)


@contextlib.contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Inside, TensorFlow computes the same each time; other backends on CPUs do anyway. Afterwards it is as before.

    Models that are trained inside trace a function each, which TensorFlow takes for one traced again and again: it does
    not warn of that inside.
    """
    global _inside, _were_deterministic
    if keras.backend.backend() != "tensorflow":
        yield
        return
    with _BLOCKS:
        _inside += 1
        if _inside == 1:
            _were_deterministic = is_op_determinism_enabled()
            tf.config.experimental.enable_op_determinism()
            tf.get_logger().addFilter(_is_no_retracing)
    try:
        yield
    finally:
        with _BLOCKS:
            _inside -= 1
            if _inside == 0:
                tf.get_logger().removeFilter(_is_no_retracing)
                if not _were_deterministic:
                    disable_op_determinism()


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "tf.function retracing" not in record.getMessage()


def jit() -> bool:
    """The `jit_compile` of a training: JAX runs one operation after the other without it, and is ten times slower.

    TensorFlow has graphs of its own; XLA is slower than they are on CPUs, and Keras has none with deterministic
    kernels.
    """
    return keras.backend.backend() == "jax"


def strategy(kind: str = "auto", wait: int = 60) -> Strategy:
    """The strategy to build, compile and fit a model under.

    With several workers this must be the first thing that a process asks of TensorFlow.

    Args:
        kind: "one" device; "mirrored" over all GPUs, or over all CPU devices if there is no GPU (TensorFlow's
            logical ones, or those of XLA_FLAGS=--xla_force_host_platform_device_count on JAX); "multi_worker" over
            the cluster that `TF_CONFIG` or SLURM describes; "auto" is "multi_worker" on TensorFlow if there is one with
            several processes, "mirrored" if there are several GPUs, else "one".
        wait: seconds to wait for the other workers of "multi_worker".

    Raises:
        ValueError: unknown kind, one device for "mirrored", no cluster for "multi_worker", workers that do not come, or
            the backend cannot: JAX trains on the devices of one process, and PyTorch on one device.
    """
    if kind not in ("auto", "one", "mirrored", "multi_worker"):
        raise ValueError(f"Unknown strategy {kind!r}; expected 'auto', 'one', 'mirrored' or 'multi_worker'.")
    _need_backend_of(kind)
    if kind == "auto":
        kind = "multi_worker" if _is_in_cluster() else "mirrored" if _has_several_gpus() else "one"
    if kind == "one":
        if _all_are_cpus(devices()):  # whoever has a GPU and waits for hours would like to know that it is not used
            print(f"No GPU is visible to {keras.backend.backend()}: this trains on the CPU.", file=sys.stderr)
        return _one()
    if kind == "mirrored":
        names = _devices_of_one_kind()
        if len(names) < 2:
            raise ValueError(
                f"Strategy 'mirrored' needs at least two devices of one kind, got {names}. "
                "Use --strategy one, or make more GPUs visible."
            )
        return _mirrored(tuple(names))
    if (cluster := workers.cluster()) is not None:
        return workers.strategy(cluster, wait)
    raise ValueError(
        "Strategy 'multi_worker' needs a cluster: set TF_CONFIG on each worker, or start with srun "
        "under SLURM. For this machine alone use --strategy mirrored."
    )


def _need_backend_of(kind: str) -> None:
    """Raises ValueError if the backend has no such strategy."""
    backend = keras.backend.backend()
    if kind == "multi_worker" and backend == "jax":
        raise ValueError(
            "Strategy 'multi_worker' needs TensorFlow, but the backend is jax, which trains on the devices of one "
            "process; use --strategy mirrored, or set KERAS_BACKEND=tensorflow."
        )
    if kind in ("mirrored", "multi_worker") and backend == "torch":
        raise ValueError(
            f"Strategy {kind!r} needs TensorFlow{' or JAX' * (kind == 'mirrored')}, but the backend is torch, which "
            "trains on one device; use --strategy one, or set KERAS_BACKEND=tensorflow."
        )


def _is_in_cluster() -> bool:
    several = "TF_CONFIG" in os.environ or workers.tasks_of_slurm() > 1
    return keras.backend.backend() == "tensorflow" and several


def _has_several_gpus() -> bool:
    names = _devices_of_one_kind()
    return len(names) > 1 and not _all_are_cpus(names)


def _one() -> Strategy:
    return tf.distribute.get_strategy() if keras.backend.backend() == "tensorflow" else OneDevice()


@functools.cache
def _mirrored(names: tuple[str, ...]) -> Strategy:
    """One for all of a process: TensorFlow mixes up what the replicas of two of them exchange (2.21)."""
    if keras.backend.backend() == "jax":
        return DataParallel(devices=list(names))
    return tf.distribute.MirroredStrategy(names)


def evaluation_strategy(kind: str) -> Strategy:
    """The strategy to evaluate a run under that trained under `strategy(kind)`.

    That is the same, but one device for "multi_worker", as one process evaluates, and where there are no others.
    """
    several = kind == "mirrored" and len(_devices_of_one_kind()) > 1
    several |= kind == "auto" and not _is_in_cluster() and _has_several_gpus()
    return strategy("mirrored") if several else _one()


def need_one_process(used: Strategy, what: str) -> None:
    """Raises ValueError, which says what it is that several processes cannot share, if the strategy has several."""
    if used.cluster_resolver is not None:
        raise ValueError(
            f"{what} trains in one process, and this is one of several that would train together: start one alone, as "
            "srun --ntasks=1 does, or pass --strategy one or mirrored."
        )


def strategy_of(model: keras.Model) -> Strategy:
    """The strategy that a model was built under."""
    if keras.backend.backend() == "jax" and any(len(v.value.sharding.device_set) > 1 for v in model.variables):
        return strategy("mirrored")
    return getattr(model, "distribute_strategy", OneDevice())


def scope_of(model: keras.Model) -> contextlib.AbstractContextManager:
    """To call Keras' `fit` and `predict` in, for a model that may have been built under a strategy of several devices.

    On TensorFlow they enter its scope themselves, and leave it for callbacks, which write files in one of several
    processes: a variable that is made in it waits for the others.
    """
    return strategy_of(model).scope() if keras.backend.backend() == "jax" else contextlib.nullcontext()


def is_chief(used: Strategy) -> bool:
    """Whether this process writes the files of the run."""
    resolver = used.cluster_resolver
    if resolver is None or resolver.task_type in (None, "chief"):
        return True
    first = resolver.task_type == "worker" and resolver.task_id == 0
    return first and not resolver.cluster_spec().as_dict().get("chief")


def scale_loss(loss: Any) -> Any:
    """Divides a loss computed by hand in a training step by the number of replicas.

    Gradients are summed over replicas, so a mean over the local batch would otherwise train with
    `num_replicas` times the learning rate while the displayed loss looks right. `keras.losses` and
    `add_loss` are scaled by Keras itself. On JAX a batch is the global one, whose mean needs no scaling.
    """
    if keras.backend.backend() != "tensorflow":
        return loss
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def replica() -> tuple[Any, int]:
    """This replica's number from 0 on, and how many there are; 0 and 1 outside of a replica's step, and on JAX."""
    context = tf.distribute.get_replica_context() if keras.backend.backend() == "tensorflow" else None
    return (0, 1) if context is None else (context.replica_id_in_sync_group, context.num_replicas_in_sync)


def gathered(rows: Any) -> Any:
    """The rows of all replicas, (G, ...) from this one's (B, ...), in the replicas' order, for a loss over pairs.

    Each replica is to compute the whole loss, whose gradient by its own rows it then knows without the others. That is
    passed back times the number of replicas, because Keras divides a loss by it. The same rows come back from one
    replica, outside of a replica's step, as when Keras builds a model, and on JAX, where they are those of all devices.
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
