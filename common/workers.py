"""Several processes that train one model on TensorFlow: who they are, how they wait for each other, and who is lost."""

import contextlib
import faulthandler
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def cluster() -> dict[str, Any] | None:
    """What `TF_CONFIG` says, or would say of the tasks of `srun`, for which it is set; None without both.

    Raises:
        ValueError: it is no JSON, or names no process of its own.
    """
    if "TF_CONFIG" not in os.environ and tasks_of_slurm():
        os.environ["TF_CONFIG"] = json.dumps(_cluster_of_slurm(tasks_of_slurm()))
    if "TF_CONFIG" not in os.environ:
        return None
    try:
        config = json.loads(os.environ["TF_CONFIG"])
        own = config["cluster"][config["task"]["type"]][config["task"]["index"]]
        if not re.fullmatch(r".+:\d+", own):
            raise ValueError(f"{own!r} has no port")
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", '
            f'"index": 0}}}}, got {os.environ["TF_CONFIG"][:200]!r} ({error!r}); correct it, or unset it to train on '
            "this machine alone."
        ) from None
    return config


def tasks_of_slurm() -> int:
    """Number of tasks that `srun` has started, this one among them; 0 without it."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", 0))


def strategy(config: Mapping[str, Any], wait: int) -> Any:
    """`MultiWorkerMirroredStrategy` once all processes are there; those of one machine share its GPUs.

    Args:
        config: what `TF_CONFIG` says.
        wait: seconds to wait for the others.

    Raises:
        ValueError: they do not come, or cannot share the GPUs.
    """
    cluster, task = config["cluster"], config["task"]
    names = [*cluster.get("chief", ()), *cluster.get("worker", ())]
    hosts = [name.rpartition(":")[0] for name in names]
    own = cluster[task["type"]][task["index"]]
    here = [name for name, host in zip(names, hosts) if host == own.rpartition(":")[0]]
    gpus = tf.config.list_physical_devices("GPU")
    if len(here) > 1 and len(gpus) > 1:  # one task per GPU, unless SLURM shows each its own
        if len(gpus) % len(here):
            raise ValueError(
                f"{len(here)} tasks on one machine cannot share its {len(gpus)} GPUs; start one task on each machine, "
                "which takes all of them, or one for each GPU."
            )
        tf.config.set_visible_devices(gpus[here.index(own) :: len(here)], "GPU")
    others = f"{', '.join(names)}, of which this one is {own}"

    print(
        f"Waiting {wait} s at most (--worker-wait) for the workers {others}. If this ends here, not all have come, "
        "or a port is in use: stop all that are left and start all again.",
        file=sys.stderr,
        flush=True,
    )
    # TensorFlow (2.21) would wait for an hour, deaf to signals and with no turn for other threads of Python.
    with open(os.devnull, "w") as nowhere, naming_lost_workers(f"waits for the workers {others}"):
        faulthandler.dump_traceback_later(wait, exit=True, file=nowhere)
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        finally:
            faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def naming_lost_workers(doing: str) -> Iterator[None]:
    """Inside, what TensorFlow raises when a worker ends, or never comes, becomes one sentence.

    Raises:
        ValueError: a worker is gone.
    """
    try:
        yield
    except Exception as error:
        # An occupied port is unknown, and a peer that ended unavailable.
        kinds = ("UnavailableError", "AbortedError", "DeadlineExceededError", "UnknownError", "CancelledError")
        if type(error).__name__ not in kinds:
            raise
        match = re.search(r"aborted by: (.*)", str(error))  # below the trace of a graph
        reason = (match[1] if match else str(error).strip().partition("\n")[0])[:200]
        raise ValueError(
            f"This process {doing}: another one has ended or does not answer, or a port is in use ({reason}). Stop all "
            "that are left and start all again; they go on from the last whole epoch."
        ) from None


def _cluster_of_slurm(tasks: int) -> dict[str, Any]:
    """`TF_CONFIG` of a task of `srun`.

    TensorFlow's resolver gives addresses only: with its numbers of GPUs it fails on nodes without any, and binds those
    that SLURM has bound. The numbers given here spare it a call of nvidia-smi.
    """
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
    )
    cluster = resolver.cluster_spec().as_dict()
    return {"cluster": cluster, "task": {"type": resolver.task_type, "index": resolver.task_id}}
