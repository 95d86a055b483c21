"""What each backend says to each strategy."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from common import distribution, workers

BACKEND = keras.backend.backend()
NO_MULTI_WORKER = (
    "Strategy 'multi_worker' needs TensorFlow, but the backend is jax, which trains on the devices of one process; "
    "use --strategy mirrored, or set KERAS_BACKEND=tensorflow."
)
ONE_DEVICE = (
    "Strategy '{}' needs {}, but the backend is torch, which trains on one device; use --strategy one, or set "
    "KERAS_BACKEND=tensorflow."
)


@pytest.fixture
def gpus(monkeypatch):
    """Function that gives this machine so many GPUs and two CPU devices; PyTorch uses one device in any case."""

    def make(count):
        kinds = {"GPU": [f"GPU:{i}" for i in range(count)], "CPU": ["CPU:0", "CPU:1"]}
        if BACKEND == "tensorflow":
            everything = [name for names in kinds.values() for name in names]
            monkeypatch.setattr(
                distribution.tf.config,
                "list_logical_devices",
                lambda kind=None: [SimpleNamespace(name=name) for name in kinds.get(kind, everything)],
            )
        monkeypatch.setattr(keras.distribution, "list_devices", lambda: kinds["GPU"] or kinds["CPU"])

    return make


@pytest.fixture
def named(monkeypatch):
    """Strategies are their names or the names of their devices."""
    monkeypatch.setattr(distribution, "_mirrored", lambda names: names)
    monkeypatch.setattr(distribution, "_one", lambda: "one")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    if BACKEND == "tensorflow":
        monkeypatch.setattr(workers, "strategy", lambda config, wait: "workers")


def test_auto_is_what_the_machine_and_the_backend_allow(gpus, named, monkeypatch):
    """Several GPUs are mirrored, one is one device, and TensorFlow's cluster comes first; CPUs only if requested."""
    for count, auto, mirrored in (
        (0, "one", ("CPU:0", "CPU:1")),
        (1, "one", None),
        (2, ("GPU:0", "GPU:1"), ("GPU:0", "GPU:1")),
    ):
        gpus(count)
        if BACKEND == "torch":
            auto, mirrored = "one", None
        assert (distribution.strategy("auto"), distribution.strategy("one")) == (auto, "one")
        assert distribution.evaluation_strategy("auto") == auto and distribution.evaluation_strategy("one") == "one"
        assert distribution.evaluation_strategy("mirrored") == (mirrored or "one")
        if mirrored:
            assert distribution.strategy("mirrored") == mirrored
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert distribution.strategy("auto") == auto
    task = {"type": "worker", "index": 0}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["localhost:1"]}, "task": task}))
    assert distribution.strategy("auto") == ("workers" if BACKEND == "tensorflow" else auto)
    assert distribution.evaluation_strategy("auto") == ("one" if BACKEND == "tensorflow" else auto)
    assert distribution.evaluation_strategy("multi_worker") == "one"
    if BACKEND == "tensorflow":
        assert distribution.strategy("multi_worker") == "workers"
        assert distribution.strategy("mirrored") == ("GPU:0", "GPU:1")


def test_impossible_strategies_are_refused(gpus, named):
    gpus(1)
    refused = {
        "mirrored": "Strategy 'mirrored' needs at least two devices of one kind, got ['GPU:0']. Use --strategy one, or "
        "make more GPUs visible.",
        "multi_worker": "Strategy 'multi_worker' needs a cluster: set TF_CONFIG on each worker, or start with srun "
        "under SLURM. For this machine alone use --strategy mirrored.",
        "all": "Unknown strategy 'all'; expected 'auto', 'one', 'mirrored' or 'multi_worker'.",
    }
    if BACKEND == "jax":
        refused["multi_worker"] = NO_MULTI_WORKER
    if BACKEND == "torch":
        refused["mirrored"] = ONE_DEVICE.format("mirrored", "TensorFlow or JAX")
        refused["multi_worker"] = ONE_DEVICE.format("multi_worker", "TensorFlow")
    for kind, sentence in refused.items():
        with pytest.raises(ValueError) as error:
            distribution.strategy(kind)
        assert str(error.value) == sentence


def test_one_device_is_all_that_this_process_has():
    """A run may be evaluated where there is less than it was trained on."""
    for kind in ("auto", "one", "mirrored", "multi_worker"):
        used = distribution.evaluation_strategy(kind)
        assert used.num_replicas_in_sync == 1 and distribution.is_chief(used)
    rows = keras.ops.convert_to_tensor(np.ones((2, 3)))
    assert distribution.gathered(rows) is rows and float(distribution.scale_loss(keras.ops.sum(rows))) == 6
    with used.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    assert distribution.strategy_of(model).num_replicas_in_sync == 1


def test_projects_of_one_process_refuse_several():
    with pytest.raises(
        ValueError,
        match="shufflebits trains in one process, and this is one of several",
    ):
        distribution.need_one_process(SimpleNamespace(cluster_resolver=object()), "shufflebits")
    distribution.need_one_process(distribution.strategy("one"), "shufflebits")


@pytest.mark.parametrize(
    ("task", "workers", "has_chief", "writes"),
    [
        ((None, None), 0, False, True),
        (("chief", 0), 2, True, True),
        (("worker", 0), 2, True, False),
        (("worker", 0), 2, False, True),
        (("worker", 1), 2, False, False),
        (("evaluator", 0), 2, False, False),
    ],
)
def test_one_process_writes(task, workers, has_chief, writes):
    cluster = {"worker": ["w"] * workers} | ({"chief": ["c"]} if has_chief else {})
    spec = SimpleNamespace(as_dict=lambda: cluster)
    resolver = SimpleNamespace(task_type=task[0], task_id=task[1], cluster_spec=lambda: spec)
    assert distribution.is_chief(SimpleNamespace(cluster_resolver=resolver)) == writes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "JSONDecodeError"),
        ('{"cluster": ', "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"cluster": {"worker": ["localhost:1"]}}', r"KeyError\('task'\)"),
        ('{"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 1}}', "IndexError"),
        ('{"cluster": {"worker": ["localhost:1"]}, "task": {"type": "chief", "index": 0}}', r"KeyError\('chief'\)"),
        ('{"cluster": {"worker": ["localhost"]}, "task": {"type": "worker", "index": 0}}', "'localhost' has no port"),
    ],
)
def test_a_malformed_cluster_is_refused(monkeypatch, text, reason):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match=rf"TF_CONFIG must be JSON such as .* got .*{reason}.*; correct it, or unset"):
        workers.cluster()
