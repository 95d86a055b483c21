"""Resume of `training.fit` after a kill at any moment, and its best weights."""

import contextlib
import io
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from tensorboardX.proto.event_pb2 import Event

from common.datasets.batches import endless
from common.experiments import training
from common.experiments.checkpoint import BEST_WEIGHTS, epochs_done, is_due, is_finished
from tests.common.experiments.test_training import fit, weights
from tests.helpers import run_python


def events(folder):
    """Tag, step and value of each record, by the format: a length and bytes, with a checksum after each."""
    (path,), values = (folder / "tensorboard").iterdir(), []
    data = path.read_bytes()
    while data:
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        values += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    return values


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Weights, log and best weights of four epochs that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    model, log = fit(folder, 4)
    last = weights(model)
    model.load_weights(folder / BEST_WEIGHTS)
    return last, log, weights(model)


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path, whole):
    fit(tmp_path, 2)
    (tmp_path / "log.csv").unlink()  # as a kill leaves it that comes before the log is written
    parts, log = fit(tmp_path, 4)  # dropout's seeds, Adam's moments, the order: all go on
    np.testing.assert_array_equal(weights(parts), whole[0])
    pd.testing.assert_frame_equal(log, whole[1])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "log.csv"), whole[1])
    assert list(log.columns) == ["epoch", "loss"] and log["epoch"].tolist() == [1, 2, 3, 4]
    assert events(tmp_path) == [("loss", epoch, pytest.approx(loss)) for epoch, loss in enumerate(log["loss"], 1)]


def test_finished_training_is_not_touched_again(tmp_path):
    assert epochs_done(tmp_path) == 0
    first, log = fit(tmp_path, 2)
    assert epochs_done(tmp_path) == 2
    done = [is_finished(SimpleNamespace(epochs=epochs), None, None, tmp_path) for epochs in (1, 2, 3)]
    assert done == [True, True, False]
    again, log_again = fit(tmp_path, 2)
    np.testing.assert_array_equal(weights(first), weights(again))
    pd.testing.assert_frame_equal(log, log_again)


def test_best_weights_are_the_first_of_the_lowest_loss(tmp_path):
    class Spoil(keras.callbacks.Callback):
        history = []

        def on_epoch_end(self, epoch, logs=None):
            logs["loss"] = [3.0, 1.0, 2.0, 1.0][epoch]
            self.history.append(weights(self.model))

    spoil = Spoil()
    model, _ = fit(tmp_path, 4, callbacks=[spoil])
    assert not np.array_equal(weights(model), spoil.history[1])
    model.load_weights(tmp_path / BEST_WEIGHTS)
    np.testing.assert_array_equal(weights(model), spoil.history[1])


class LogScores(keras.callbacks.Callback):
    """A score after every second epoch and the last; of epochs 2, 4, 6 and 7 the second is the best."""

    scores = {2: 0.5, 4: 0.8, 6: 0.7, 7: 0.75}

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in self.scores:
            logs["score"] = self.scores[epoch + 1]


CHOSEN = {"monitor": "score", "mode": "max", "monitor_every": 2}


@pytest.mark.parametrize("stopped_after", [3, 4])
def test_best_weights_are_those_of_the_highest_score_also_when_resumed(tmp_path, stopped_after, whole):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == stopped_after:
                raise SystemExit

    with pytest.raises(SystemExit):
        fit(tmp_path / "net", 7, callbacks=[LogScores(), Stop()], **CHOSEN)
    model, log = fit(tmp_path / "net", 7, callbacks=[LogScores()], **CHOSEN)
    assert log["score"].tolist()[1::2] == [0.5, 0.8, 0.7] and log["score"].count() == 4
    model.load_weights(tmp_path / "net" / BEST_WEIGHTS)
    np.testing.assert_array_equal(weights(model), whole[0])


def test_a_score_that_is_due_and_not_logged_is_named(tmp_path):
    with pytest.raises(ValueError, match="monitor 'score' is not logged; logged are"):
        fit(tmp_path, 7, **CHOSEN)
    assert len(pd.read_csv(tmp_path / "log.csv")) == 1  # the first epoch without a score is fine, the second is not


@pytest.mark.parametrize(
    ("every", "epochs", "due"), [(10, 25, [9, 19, 24]), (10, 20, [9, 19]), (3, 2, [1]), (1, 3, [0, 1, 2]), (0, 3, [])]
)
def test_what_happens_now_and_then_happens_at_the_end_too(every, epochs, due):
    assert [epoch for epoch in range(epochs) if is_due(epoch, every, epochs)] == due


def test_killed_and_continued_equals_uninterrupted(tmp_path, whole):
    """By SIGKILL, in the second of three steps of the third epoch."""
    script = (
        "import os, pathlib, signal, sys, keras\n"
        "from tests.common.experiments.test_training import fit\n"
        "class Kill(keras.callbacks.Callback):\n"
        "    def on_epoch_begin(self, epoch, logs=None): self.epoch = epoch\n"
        "    def on_train_batch_end(self, batch, logs=None):\n"
        "        if (self.epoch, batch) == (2, 1): os.kill(os.getpid(), signal.SIGKILL)\n"
        "fit(pathlib.Path(sys.argv[1]), 4, callbacks=[Kill()])\n"
    )
    run_python("-c", script, str(tmp_path), status=-signal.SIGKILL)
    assert len(pd.read_csv(tmp_path / "log.csv")) == 2
    continued, log = fit(tmp_path, 4)
    np.testing.assert_array_equal(weights(continued), whole[0])
    pd.testing.assert_frame_equal(log, whole[1])


@pytest.mark.parametrize("name", [BEST_WEIGHTS, "state.npz", "log.csv"])
def test_stopped_at_any_of_the_writes_of_an_epoch_equals_uninterrupted(tmp_path, monkeypatch, whole, name):
    """A file of the second epoch is written and about to take its place: until then the old one is there."""
    path = tmp_path / ("checkpoint" if name == "state.npz" else "") / name
    replace, seen, first = os.replace, [], []

    def stop_at_the_second(temporary, target):
        if target == path:
            seen.append(path.read_bytes() if path.exists() else None)
            if len(seen) == 2:
                assert seen == [None, first[0]] and Path(temporary).stat().st_size > 0
                raise KeyboardInterrupt
        replace(temporary, target)
        if target == path:
            first.append(path.read_bytes())

    monkeypatch.setattr(os, "replace", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, 4)
    assert path.read_bytes() == first[0]
    continued, log = fit(tmp_path, 4)
    np.testing.assert_array_equal(weights(continued), whole[0])
    pd.testing.assert_frame_equal(log, whole[1])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "log.csv"), whole[1])
    continued.load_weights(tmp_path / BEST_WEIGHTS)
    np.testing.assert_array_equal(weights(continued), whole[2])


def test_reader_that_holds_the_old_files_reads_them_whole(tmp_path):
    """While a training goes on: npz and HDF5 files are read piece by piece."""
    fit(tmp_path, 1)
    files = [tmp_path / name for name in ("checkpoint/state.npz", BEST_WEIGHTS, "log.csv")]
    before = [path.read_bytes() for path in files]
    with contextlib.ExitStack() as held:
        opened = [held.enter_context(open(path, "rb")) for path in files]
        state = held.enter_context(np.load(files[0]))
        fit(tmp_path, 3)
        assert [file.read() for file in opened] == before
        old = {name: state[name] for name in state.files}
    assert all(path.read_bytes() != content for path, content in zip(files, before))
    with np.load(io.BytesIO(before[0])) as expected:
        assert old.keys() == set(expected.files)
        for name in expected.files:
            np.testing.assert_array_equal(old[name], expected[name])


def test_damaged_and_foreign_checkpoints_are_named(tmp_path):
    fit(tmp_path, 1)
    state = tmp_path / "checkpoint/state.npz"
    content = state.read_bytes()
    state.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="state.npz is damaged.*Remove .* to start that training over"):
        fit(tmp_path, 2)
    state.write_bytes(content)
    x = keras.Input((6,))
    other = keras.Model(x, keras.layers.Dense(6)(x))
    other.compile("adam", "mse")
    with pytest.raises(ValueError, match="belongs to another model: it has .* variables"):
        fit(tmp_path, 2, model=other)


def test_folders_are_made(tmp_path):
    fit(tmp_path / "new/net", 1)
    assert (tmp_path / "new/net/log.csv").is_file()


def test_unknown_monitor_is_named(tmp_path):
    with pytest.raises(ValueError, match="monitor 'val_loss' is not logged; logged are \\['epoch', 'loss'\\]"):
        fit(tmp_path, 1, monitor="val_loss")


def test_cloned_networks_learn_on_every_backend(tmp_path):
    """Keras on PyTorch sets the gradient of one of several variables of the same path to zero, and the others' grow."""
    inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    clone, inputs = keras.models.clone_model(inner), keras.Input((2,))
    clone.name = "clone"
    model = keras.Model(inputs, keras.layers.Concatenate()([inner(inputs), clone(inputs)]))
    model.compile(keras.optimizers.SGD(0.5), "mse")
    batches = endless(lambda epoch, step: (np.float32([[1, 0]]), np.float32([[1, 1]])), 3)
    training.fit(model, lambda epoch: batches, steps_per_epoch=3, epochs=1, folder=tmp_path)
    # The slope of the mean square of two is (w - 1): each step halves what is left, 1 - 1/2 - 1/4 - 1/8.
    np.testing.assert_allclose([weight[0, 0] for weight in model.get_weights()], [7 / 8, 7 / 8])
