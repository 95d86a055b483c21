"""Trainings run in processes of their own, because the devices are fixed when TensorFlow starts."""

import json
import os
import socket
from types import SimpleNamespace

import numpy as np
import pytest

from common import distribution
from tests.common.project_trainings import TRAININGS
from tests.helpers import run_python, start_python

pytest.importorskip("tensorflow")

SCRIPT = "tests/common/distribution_script.py"


@pytest.fixture(scope="module")
def result_of(tmp_path_factory):
    """Function from a task of the script to its arrays; all tasks have run in one process with two devices."""
    folder = tmp_path_factory.mktemp("distribution")
    run_python(SCRIPT, str(folder), "all")

    def read(task):
        with np.load(folder / f"{task}.npz") as file:
            return dict(file)

    return read


@pytest.mark.parametrize("task", ["train", "adaptive"])
def test_two_devices_equal_one(result_of, task):
    one, two = (result_of(f"{task}_{kind}") for kind in ("one", "mirrored"))
    assert one["replicas"] == 1 and two["replicas"] == 2
    np.testing.assert_allclose(two["weights"], one["weights"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-6)


@pytest.mark.parametrize("name", TRAININGS)
def test_every_project_trains_on_two_devices_as_on_one(result_of, name):
    runs = [result_of(f"projects_{kind}") for kind in ("one", "mirrored")]
    one, two = ({key: run[f"{name}_{key}"] for key in ("loss", "weights", "before")} for run in runs)
    assert runs[1][f"{name}_replicas"] == 2
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    # Adam divides by the size of a gradient: where that is almost zero, the last bits of a sum, which differ between
    # processors, move one weight of thousands a little.
    off = np.abs(two["weights"] - one["weights"])
    assert np.mean(off > 1e-5) < 1e-3 and off.max() < 1e-4
    assert np.abs(one["weights"] - one["before"]).max() > 1e-3 and one["loss"][-1] != one["loss"][0]


def test_losses_over_pairs_see_the_samples_of_all_replicas(result_of):
    """Each class is on both replicas, which have unequal parts."""
    outputs = result_of("pairs")
    names = [name.removesuffix("_one") for name in outputs if name.endswith("_one")]
    assert names == ["batch_hard_triplet_soft", "batch_hard_triplet_0.3", "lifted_structured_1.0"]
    for name in names:
        one, two = (outputs[f"{name}_{kind}_gradient"] for kind in ("one", "mirrored"))
        np.testing.assert_allclose(outputs[f"{name}_mirrored"], outputs[f"{name}_one"].repeat(2), rtol=1e-6)
        np.testing.assert_allclose(two, one, atol=1e-6, rtol=0)


def test_images_are_embedded_in_order_on_two_devices(result_of):
    """The last of 65 images is alone in its batch."""
    outputs = result_of("embeddings")
    assert outputs.pop("one_replicas") == 1 and outputs.pop("mirrored_replicas") == 2
    names = [name.removeprefix("one_") for name in outputs if name.startswith("one_")]
    assert names == [
        "adaptive_l2_double", "flipreid_single", "flipreid_double", "vehicles_embedding", "vehicles_color_logits",
    ]  # fmt: skip
    for name in names:
        one, two = outputs[f"one_{name}"], outputs[f"mirrored_{name}"]
        assert len(one) == 65 and len(np.unique(one, axis=0)) == 65
        np.testing.assert_allclose(two, one, atol=1e-5, rtol=0)


def test_two_processes_equal_one(result_of, tmp_path):
    one = result_of("train_one")
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("localhost", 0))
    workers = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    folders = [tmp_path / "0", tmp_path / "1"]
    processes = []
    for index, folder in enumerate(folders):
        folder.mkdir()
        cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        # Both are given the same run folder, as on a shared file system: the first one writes.
        arguments = (SCRIPT, str(folder), "worker", str(tmp_path / "shared"))
        processes.append(start_python(*arguments, TF_CONFIG=json.dumps(cluster), LOGICAL_CPUS="1"))
    for process in processes:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, out + err
    first, second = (dict(np.load(folder / "worker.npz")) for folder in folders)
    assert first["replicas"] == 2
    np.testing.assert_array_equal(first["weights"], second["weights"])
    np.testing.assert_array_equal(first["loss"], second["loss"])
    np.testing.assert_allclose(first["weights"], one["weights"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(first["loss"], one["loss"], rtol=1e-6)
    assert (tmp_path / "shared/checkpoint/state.npz").exists()


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
    assert distribution.is_chief(distribution.OneDevice())


def test_auto_is_what_the_machine_allows(monkeypatch):
    """Several GPUs are mirrored, one is one device, and a cluster comes first; CPUs only if they are asked for."""
    kinds = {"GPU": 0, "CPU": 2}
    monkeypatch.setattr(
        distribution.tf.config,
        "list_logical_devices",
        lambda kind=None: [
            SimpleNamespace(name=f"{name}:{i}") for name in kinds for i in range(kinds[name]) if kind in (None, name)
        ],
    )
    monkeypatch.setattr(distribution, "_mirrored", lambda names: names)
    monkeypatch.setattr(distribution.tf.distribute, "get_strategy", lambda: "one")
    monkeypatch.setattr(distribution.tf.distribute, "MultiWorkerMirroredStrategy", lambda: "workers")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for gpus, auto, mirrored, one in (
        (0, "one", ("CPU:0", "CPU:1"), "one"),
        (1, "one", None, "one"),
        (2, ("GPU:0", "GPU:1"), ("GPU:0", "GPU:1"), "one"),
    ):
        kinds["GPU"] = gpus
        assert (distribution.strategy("auto"), distribution.strategy("one")) == (auto, one)
        assert distribution.evaluation_strategy("auto") == auto and distribution.evaluation_strategy("one") == one
        assert distribution.evaluation_strategy("mirrored") == (mirrored or one)
        if mirrored:
            assert distribution.strategy("mirrored") == mirrored
        else:
            with pytest.raises(ValueError, match=r"'mirrored' needs at least two devices of one kind, got \['GPU:0'\]"):
                distribution.strategy("mirrored")
    monkeypatch.setenv("TF_CONFIG", "{}")
    assert distribution.strategy("auto") == distribution.strategy("multi_worker") == "workers"
    assert distribution.strategy("mirrored") == ("GPU:0", "GPU:1")
    assert distribution.evaluation_strategy("auto") == distribution.evaluation_strategy("multi_worker") == "one"


def test_tasks_of_slurm_know_each_other(monkeypatch):
    monkeypatch.setattr(distribution.tf.distribute, "MultiWorkerMirroredStrategy", lambda: "made")
    names = ("NODELIST", "NUM_TASKS", "TASKS_PER_NODE")
    values = dict(zip((f"SLURM_STEP_{name}" for name in names), ("node[1-2]", "4", "2(x2)")))
    monkeypatch.setenv("TF_CONFIG", "")
    for name, value in (values | {"SLURM_PROCID": "2"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TF_CONFIG")
    assert distribution.strategy("multi_worker") == "made"
    tf_config = json.loads(os.environ["TF_CONFIG"])
    assert tf_config["cluster"] == {"worker": ["node1:8888", "node1:8889", "node2:8888", "node2:8889"]}
    assert tf_config["task"] == {"type": "worker", "index": 2}


def test_loss_by_hand_is_doubled_on_two_replicas_unless_scaled(result_of):
    outputs = result_of("gradient")
    np.testing.assert_allclose(outputs["mirrored_unscaled"], 2 * outputs["one"], rtol=1e-6)
    np.testing.assert_allclose(outputs["mirrored_scaled"], outputs["one"], rtol=1e-6)


def test_replicas_draw_the_same_noise(result_of):
    outputs = result_of("noise")
    np.testing.assert_array_equal(*outputs["same_seed"])
    np.testing.assert_array_equal(*outputs["dropout"])


def test_batch_normalization_keeps_the_first_replicas_statistics_unless_synchronized(result_of):
    # Replica 0 sees zeros, replica 1 twos; the moving mean starts at 0 and moves by half.
    outputs = result_of("statistics")
    np.testing.assert_allclose(outputs["local"], 0.0)
    np.testing.assert_allclose(outputs["synchronized"], 0.5)


def test_impossible_strategies_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    with pytest.raises(ValueError, match="'mirrored' needs at least two devices of one kind, got"):
        distribution.strategy("mirrored")
    with pytest.raises(ValueError, match="'multi_worker' needs a cluster: set TF_CONFIG"):
        distribution.strategy("multi_worker")
    with pytest.raises(ValueError, match="Unknown strategy 'all'; expected 'auto'"):
        distribution.strategy("all")
    assert distribution.strategy("auto").num_replicas_in_sync == 1
    with pytest.raises(ValueError, match="shufflebits trains in one process; use --strategy one or mirrored"):
        distribution.need_one_process(SimpleNamespace(cluster_resolver=object()), "shufflebits")
    distribution.need_one_process(distribution.strategy("one"), "shufflebits")
    for kind in ("auto", "one", "mirrored", "multi_worker"):  # a run may be evaluated where there is less
        assert distribution.evaluation_strategy(kind).num_replicas_in_sync == 1
