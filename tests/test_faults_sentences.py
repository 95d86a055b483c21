"""A disk that is full or read-only, memory that is used up, no GPU: one sentence each, and nothing is lost."""

import errno
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from common import distribution
from common.datasets.batches import endless
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.config import run_command
from common.files import temporary_name, write_json
from tests.children import ROOT
from tests.common.experiments.test_training import STEPS, batches, compiled_model, fit, weights

# Mounts are those of a new namespace: they need no rights outside of it, and are gone with the process.
NAMESPACE = ("unshare", "--mount", "--map-root-user")
CONTINUES = "What was finished is saved, and the same command continues from it once there is room."
ON_A_SMALL_DISK = """
import pathlib, subprocess, sys
from common.experiments.config import run_command
from tests.children import leave_graphs_unoptimized
from tests.common.experiments.test_training import fit

leave_graphs_unoptimized()  # as in the test's process, whose numbers are compared
disk, size, copy = sys.argv[1:]
for mount in (f"-t tmpfs -o size={size} none", "-o remount,ro", "-o remount,rw,size=9m"):
    subprocess.run(["mount", *mount.split(), disk], check=True)
    try:
        run_command(lambda: fit(pathlib.Path(disk), 3))
    except SystemExit as stopped:
        print(stopped)
    print(sorted(path.name for path in pathlib.Path(disk).iterdir()))
subprocess.run(["cp", "-r", disk, copy], check=True)
"""


def arrays(path):
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files}


def test_full_and_read_only_disk(tmp_path):
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]).returncode:
        pytest.skip("needs Linux, and the right to mount in a namespace")
    whole, disk, copy = (tmp_path / name for name in ("whole", "disk", "copy"))
    fit(whole, 3)
    disk.mkdir()
    files_of_an_epoch = [whole / name for name in ("checkpoint/state.npz", BEST_WEIGHTS)]
    # Of one epoch, and the reserve that is required: not enough for the second.
    size = sum(path.stat().st_size for path in files_of_an_epoch) + 2**20
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", ON_A_SMALL_DISK, disk, str(size), copy],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    full, files, locked, *after = done.stdout.splitlines()
    assert full == f"{disk}/best.weights.h5 could not be written: the disk is full. {CONTINUES}", done.stderr
    events = f"{disk}/tensorboard/events.out.tfevents.0"
    assert locked.startswith(f"{events} could not be written: the disk is read-only. Choose another folder")
    assert files.startswith("['best.weights.h5', 'checkpoint', 'log.csv'")  # and no temporary ones
    assert after == [files, files]
    assert arrays(copy / "checkpoint/state.npz") == arrays(files_of_an_epoch[0])
    assert (copy / "log.csv").read_text() == (whole / "log.csv").read_text()


def test_full_device_is_named_by_the_file(tmp_path):
    path = tmp_path / "report.json"
    write_json(path, "old")
    temporary_name(path).symlink_to("/dev/full")
    with pytest.raises(SystemExit, match=f"{path} could not be written: the disk is full.*the same command continues"):
        run_command(lambda: write_json(path, "new"))
    assert path.read_text() == '"old"\n' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "/runs/a could not be opened: permission denied. Change its permissions, or choose another"),
        (errno.EDQUOT, "/runs/a could not be written: your share of the disk is used up. What was finished is saved"),
    ],
)
def test_other_reasons_not_to_write(number, message):
    def refused():
        raise OSError(number, os.strerror(number), "/runs/a")

    with pytest.raises(SystemExit, match=message):
        run_command(refused)


def test_missing_file_keeps_its_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        run_command((tmp_path / "a").read_text)


OUT_OF_MEMORY = (
    "^MemoryError: Training of net ran out of memory in epoch 2 with batches of 8. The state after epoch 1 is"
)
# Of Python, and of TensorFlow, PyTorch and JAX, whichever is installed.
FULL_MEMORY = [
    MemoryError(),
    type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor with shape[64,256]"),
    type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 64 bytes."),
]


class Fault(keras.callbacks.Callback):
    """Raises an error in the second epoch."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise self.error


def no_batch(first_epoch):
    raise MemoryError


def test_batch_too_large_for_memory(tmp_path):
    for error in FULL_MEMORY:
        with pytest.raises(SystemExit, match=OUT_OF_MEMORY + ".*lower --batch-size"):
            run_command(lambda error=error: fit(tmp_path / "net", 3, callbacks=[Fault(error)]))
    with pytest.raises(SystemExit, match="ran out of memory in epoch 2 with its batches. The state after epoch 1 is"):
        run_command(lambda: fit(tmp_path / "net", 3, data=no_batch))
    resumed, _ = fit(tmp_path / "net", 3)
    whole, _ = fit(tmp_path / "whole", 3)
    np.testing.assert_array_equal(weights(resumed), weights(whole))


def test_other_errors_keep_their_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="^singular$"):
        run_command(lambda: fit(tmp_path / "net", 3, callbacks=[Fault(RuntimeError("singular"))]))


@pytest.mark.slow  # TensorFlow waits ten seconds for memory
@pytest.mark.tensorflow
def test_tensorflow_out_of_memory(tmp_path):
    import tensorflow as tf

    class Large(keras.losses.Loss):
        """Of more memory than there is in the second step of the second epoch."""

        def call(self, y_true, y_pred):
            length = tf.where(y_true[0, 0] > 1e6, tf.constant(2**46, tf.int64), 1)
            return tf.reduce_mean(tf.square(y_pred - y_true)) + 0 * tf.reduce_max(tf.fill([length], y_pred[0, 0]))

    def spoiled(first_epoch):
        whole = batches(0)

        def load(epoch, step):
            x, y = whole[epoch * STEPS + step]
            return x, y + np.float32(2e6 * ((epoch, step) == (1, 1)))

        return endless(load, STEPS, first_epoch)

    model = compiled_model()
    model.compile("sgd", Large())
    with pytest.raises(SystemExit, match=OUT_OF_MEMORY):
        run_command(lambda: fit(tmp_path / "net", 3, model, data=spoiled))


def test_missing_gpu(monkeypatch, capsys):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(distribution, "devices", lambda: ["/device:CPU:0"])
    assert distribution.strategy("one").num_replicas_in_sync == 1
    assert capsys.readouterr().err == f"No GPU is visible to {keras.backend.backend()}: this trains on the CPU.\n"
    monkeypatch.setattr(distribution, "devices", lambda: ["/device:CPU:0", "/device:GPU:0"])
    distribution.strategy("one")
    assert capsys.readouterr().err == ""
