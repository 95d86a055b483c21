"""What `tf.distribute` does with losses, noise and statistics, and several processes of it."""

import json
import os
import socket

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from common import distribution, workers
from tests.helpers import run_python, start_python

SCRIPT = "tests/common/tensorflow_replicas_script.py"


@pytest.fixture(scope="module")
def result_of(tmp_path_factory):
    """Function from a task of the script to its arrays; all tasks have run in one process with two devices."""
    folder = tmp_path_factory.mktemp("replicas")
    run_python(SCRIPT, str(folder), "all")

    def read(task):
        with np.load(folder / f"{task}.npz") as file:
            return dict(file)

    return read


def test_replicas_encrypt_under_their_own_parts_of_the_key_stream(result_of):
    """By `cryptography`: 2³¹ blocks apart."""
    outputs = result_of("cipher")
    key, nonce = (np.arange(n, dtype="<u4").tobytes() for n in (8, 3))
    for name, counter, rows in (("first", 5, 2), ("second", 5 + 2**31, 1)):
        stream = Cipher(algorithms.ChaCha20(key, counter.to_bytes(4, "little") + nonce), None).encryptor()
        assert outputs[name].tobytes() == stream.update(bytes(64 * rows))


def test_losses_over_pairs_see_the_samples_of_all_replicas(result_of):
    """Each class is on both replicas, which have unequal parts."""
    outputs = result_of("pairs")
    names = [name.removesuffix("_one") for name in outputs if name.endswith("_one")]
    assert names == ["batch_hard_triplet_soft", "batch_hard_triplet_0.3", "lifted_structured_1.0"]
    for name in names:
        one, two = (outputs[f"{name}_{kind}_gradient"] for kind in ("one", "mirrored"))
        np.testing.assert_allclose(outputs[f"{name}_mirrored"], outputs[f"{name}_one"].repeat(2), rtol=1e-6)
        np.testing.assert_allclose(two, one, atol=1e-6, rtol=0)


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


def test_tasks_of_slurm_know_each_other_and_share_gpus(monkeypatch):
    """Two tasks on each of two machines: the third has the first half of the second machine's GPUs."""
    shown, gpus = [], ["a", "b", "c", "d"]
    monkeypatch.setattr(workers.tf.distribute, "MultiWorkerMirroredStrategy", lambda: "made")
    monkeypatch.setattr(workers.tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(workers.tf.config, "set_visible_devices", lambda devices, kind: shown.append(devices))
    names = ("NODELIST", "NUM_TASKS", "TASKS_PER_NODE")
    values = dict(zip((f"SLURM_STEP_{name}" for name in names), ("node[1-2]", "4", "2(x2)")))
    monkeypatch.setenv("TF_CONFIG", "")
    for name, value in (values | {"SLURM_PROCID": "2"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TF_CONFIG")
    assert distribution.strategy("auto") == "made"
    tf_config = json.loads(os.environ["TF_CONFIG"])
    assert tf_config["cluster"] == {"worker": ["node1:8888", "node1:8889", "node2:8888", "node2:8889"]}
    assert tf_config["task"] == {"type": "worker", "index": 2}
    assert shown == [["a", "c"]]
    gpus.pop()
    with pytest.raises(ValueError, match="2 tasks on one machine cannot share its 3 GPUs; start one task on each"):
        distribution.strategy("auto")


@pytest.mark.parametrize("kind", ["UnavailableError", "DeadlineExceededError"])
def test_a_lost_worker_is_one_sentence(kind):
    error = type(kind, (Exception,), {})("Graph execution error:\nCollective ops is aborted by: task 1\nGRPC error")
    sentence = "This process trains: another one has ended.*task 1.. Stop all that are left"
    with pytest.raises(ValueError, match=sentence), workers.naming_lost_workers("trains"):
        raise error
    with pytest.raises(KeyError), workers.naming_lost_workers("trains"):
        raise KeyError


def test_workers_that_do_not_come_are_waited_for_as_long_as_is_said():
    cluster = {"cluster": {"worker": ["localhost:1", "localhost:2"]}, "task": {"type": "worker", "index": 0}}
    program = (
        "import time; from common import workers\n"
        "workers.tf.distribute.MultiWorkerMirroredStrategy = lambda: time.sleep(30)\n"
        f"workers.strategy({cluster}, 1)"
    )
    _, err = run_python("-c", program, status=1)
    assert "Waiting 1 s at most (--worker-wait) for the workers localhost:1, localhost:2, of which this one is" in err
