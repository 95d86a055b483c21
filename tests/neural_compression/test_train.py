"""Training one tiny network with all its stages, a kill in the midst of it, and what each setting changes."""

import shutil
import signal
from dataclasses import replace
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from common import distribution
from neural_compression import codec
from neural_compression import train as training_program
from neural_compression.config import PRESETS, Trial
from neural_compression.data import Photographs, read
from neural_compression.model import build
from neural_compression.networks.codec_file import CODEC, SETTINGS, load
from neural_compression.train import train, train_networks, train_trial
from tests.helpers import run_python
from tests.resuming import assert_same_checkpoints

SMOKE = replace(
    PRESETS["smoke"][1],
    name="run",
    code_lengths=(8,),
    binarization="noise",
    alternate=True,
    expert_epochs=1,
    decoder_epochs=1,
    target_psnr=8.0,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = replace(SMOKE, runs_dir=tmp_path_factory.mktemp("runs"))
    return train(config), config


# Of the last pass of each stage of the first network, from seed 0. A change of these is a change of results.
GOLDEN_LOSSES = {
    "tensorflow": {".": 0.10902, "expert": 0.09472, "decoder": 0.09466},
    "jax": {".": 0.11229, "expert": 0.09645, "decoder": 0.09636},
    "torch": {".": 0.11259, "expert": 0.09732, "decoder": 0.09722},
}[keras.backend.backend()]


def test_golden_training_log(run):
    folder = run[0] / "seed0/bits8"
    losses = {stage: pd.read_csv(folder / stage / "log.csv")["loss"].iloc[-1] for stage in (".", "expert", "decoder")}
    print(losses)
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=5e-3)


def test_stages_have_their_passes(run):
    folder = run[0] / "seed0/bits8"
    passes = {stage: len(pd.read_csv(folder / stage / "log.csv")) for stage in (".", "expert", "decoder")}
    assert passes == {".": 2, "expert": 2, "decoder": 1}  # a joint pass and one of the decoder, twice


KILLED = """
import os, signal
from common.experiments.config import parse
from neural_compression.config import PRESETS
from neural_compression.networks import training_stages
from neural_compression.train import train

class KillInSecondPass(training_stages.Passes):
    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch)
        self.number = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.number == 1 and batch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

training_stages.Passes = KillInSecondPass
train(parse(PRESETS))
"""


def test_killed_in_the_midst_of_a_stage_it_ends_with_the_same_codec(run, tmp_path):
    """The first stage is done, and of the second the joint pass: the one of the decoder alone is under way.

    The resumed training knows that by the number of the pass.
    """
    whole, config = run
    place = tmp_path / "neural_compression/run"
    stage = place / "seed0/bits8"
    shutil.copytree(whole / "seed0/bits8", stage, ignore=shutil.ignore_patterns("expert", "decoder"))
    shutil.copy(whole / "config.json", place)
    settings = ["smoke", "--name", "run", "--runs-dir", str(tmp_path), "--code-lengths", "8", "--binarization", "noise"]
    settings += ["--alternate", "--expert-epochs", "1", "--decoder-epochs", "1", "--target-psnr", "8"]
    run_python("-c", KILLED, *settings, status=-signal.SIGKILL)
    assert len(pd.read_csv(stage / "expert/log.csv")) == 1 and not (place / "seed0" / CODEC).exists()
    resumed = train(replace(config, runs_dir=tmp_path))
    assert load(resumed / "seed0" / CODEC).fingerprint == load(whole / "seed0" / CODEC).fingerprint
    assert_same_checkpoints(resumed / "seed0/bits8", whole / "seed0/bits8", ".", "expert", "decoder")


def test_networks_that_learned_in_mixed_precision_code_in_float32(tmp_path, monkeypatch):
    """With the weights that they have then."""
    trained = []
    monkeypatch.setattr(training_program, "train_network", lambda config, trial, model, *_: trained.append(model))
    config = replace(SMOKE, precision="mixed_bfloat16", code_lengths=(8, 16))
    networks = train_networks(config, Trial(0), np.zeros(0), distribution.strategy("one"), tmp_path)
    for network, model in zip(networks, trained, strict=True):
        inner = [part.decoder.get_layer("up1").compute_dtype for part in (network, model)]
        assert inner == ["float32", "bfloat16"]
        for a, b in zip(network.training_model.get_weights(), model.training_model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


class Stages:
    """In place of the stages of a training: what each is called with."""

    network = SimpleNamespace(encoder="encoder", decoder="decoder")
    joint = SimpleNamespace(networks=[network], training_model=lambda rate_weight: ("joint", rate_weight))

    def __init__(self, monkeypatch):
        self.calls = {}
        for name, result in (
            ("train_networks", [self.network]),
            ("train_pyramid", None),
            ("deblocking_pairs", "pairs"),
            ("fit", None),
            ("fit_bit_models", ["bits"]),
        ):
            monkeypatch.setattr(training_program, name, self.stage(name, result))
        monkeypatch.setattr(training_program.pyramid, "fitted", self.stage("fitted", self.joint))
        monkeypatch.setattr(training_program.codec_file, "save", self.stage("save", None))

    def stage(self, name, result):
        def record(*arguments):
            self.calls[name] = arguments
            return result

        return record


CLOSED_FORM = {"closed_form": True, "width": 5, "rate_weight": 0.2, "deblocking_width": 3}
CLOSED_FORM |= {"expert_epochs": 0, "decoder_epochs": 0}
PHOTOGRAPHS = Photographs([np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype="uint8")], [])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"half_overlapping": False, "precision": "mixed_bfloat16"},
        {"deblocking_epochs": 0},
        CLOSED_FORM,
        {**CLOSED_FORM, "epochs": 0},
    ],
)
def test_settings_of_a_training(monkeypatch, tmp_path, changes):
    stages, config = Stages(monkeypatch), replace(SMOKE, deblocking_epochs=7, target_psnr=29.0)
    config, strategy = replace(config, **changes), distribution.strategy("one")
    train_trial(config, Trial(4), PHOTOGRAPHS, strategy, tmp_path)
    if config.closed_form:
        blocks, *rest = stages.calls["fitted"]
        assert rest == [5, (8,)] and "train_networks" not in stages.calls
        expected = (config, Trial(4), ("joint", 0.2), blocks, tmp_path / "pyramid")
        assert stages.calls.get("train_pyramid") == (expected if config.epochs else None)
    else:
        *rest, blocks, used, folder = stages.calls["train_networks"]
        assert rest == [config, Trial(4)] and used is strategy and folder == tmp_path and "fitted" not in stages.calls
    assert len(blocks) == (3 * 5 if config.half_overlapping else 2 * 3)
    # Long codes count the first 128 bits of a neighbor, and their deblocking network sees no choice of networks.
    neighbors, target = (128, None) if config.closed_form else (None, 29.0)
    assert stages.calls["fit_bit_models"] == ([Stages.network], PHOTOGRAPHS.training, neighbors)
    path, settings, parts, bits, deblocking = stages.calls["save"]
    assert path == tmp_path / "codec.npz" and settings == {name: getattr(config, name) for name in SETTINGS}
    assert parts == [("encoder", "decoder")] and bits == ["bits"]
    if not config.deblocking_epochs:
        assert deblocking is None and "fit" not in stages.calls
        return
    assert stages.calls["deblocking_pairs"] == ([Stages.network], PHOTOGRAPHS.training, target)
    assert stages.calls["fit"] == (config, Trial(4), deblocking, "pairs", tmp_path / "deblocking", 7)
    assert deblocking.get_layer("down0_conv1").filters == config.deblocking_width
    assert deblocking.get_layer("bottom_conv1").dtype_policy.name == config.precision
    assert {deblocking.get_layer(name).compute_dtype for name in ("change", "deblocked")} == {"float32"}


def test_a_finished_training_is_not_done_again(run, monkeypatch):
    folder, config = run
    monkeypatch.setattr(training_program, "training_blocks", None)
    assert train(config) == folder


def test_codec_holds_the_trained_networks(run):
    folder, config = run
    trained = load(folder / "seed0" / CODEC)
    model = build(config, Trial(0), 8)
    model.training_model.load_weights(folder / "seed0/bits8/decoder/best.weights.h5")
    blocks = np.random.default_rng(0).random((3, 32, 32, 3), dtype="float32")
    np.testing.assert_allclose(trained.encoders[0](blocks), model.encoder(blocks), atol=2e-3)  # float16
    codes = np.rint(np.asarray(model.encoder(blocks)))
    np.testing.assert_allclose(trained.decoders[0](codes), model.decoder(codes), atol=2e-3)
    assert {trained.arrays[name].dtype for name in ("encoder0/0", "decoder0/0", "deblocking/0")} == {np.dtype("f2")}
    assert trained.code_lengths == (8,) and trained.deblocking is not None
    image = read(config)[1][0]
    data, encoded = codec.encode(trained, image, network=0)
    np.testing.assert_array_equal(codec.decode(trained, data), encoded.reconstruction)


def test_codecs_that_are_missing_or_damaged_are_named(run, tmp_path):
    with pytest.raises(ValueError, match="There is no trained codec .* Train one, or check the path"):
        load(tmp_path / "none.npz")
    content = (run[0] / "seed0" / CODEC).read_bytes()
    for damaged in (b"", content[:1000], b"PK" + content[:500]):
        (tmp_path / "cut.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="cut.npz is no npz file"):
            load(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", settings=np.frombuffer(b'{"version": 99}', "uint8"))
    with pytest.raises(ValueError, match="other.npz has another version of the format, expected 3"):
        load(tmp_path / "other.npz")
    np.savez(tmp_path / "foreign.npz", weights=np.zeros(3))
    with pytest.raises(ValueError, match="foreign.npz is no trained codec, or damaged"):
        load(tmp_path / "foreign.npz")


ZERO_OR_MORE = ("epochs", "entropy_weight", "rate_weight", "expert_epochs", "decoder_epochs", "deblocking_epochs")


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"scales": (0.5, 2.0)}, r"scales make photographs smaller, expected above 0 and at most 1, got \(0.5, 2.0\)"),
        ({"scales": (0.0,)}, r"scales make photographs smaller, expected above 0 and at most 1, got \(0.0,\)"),
        (
            {"closed_form": True, "code_lengths": (8, 9, 10)},
            "equal shares of a batch, got a batch_size of 128; make it",
        ),
        ({"closed_form": True, "decoder_epochs": 0}, "got expert_epochs 1 and decoder_epochs 0; leave both at 0"),
        ({"closed_form": True, "expert_epochs": 0}, "got expert_epochs 0 and decoder_epochs 1; leave both at 0"),
        ({"code_lengths": (16, 8)}, r"code_lengths must be above zero and increase, got \(16, 8\)"),
        ({"code_lengths": (0, 8)}, r"code_lengths must be above zero and increase, got \(0, 8\)"),
        ({"code_lengths": (8, 8)}, "code_lengths must be one or more different ones"),
        ({"code_lengths": (8, 4097)}, r"A code has up to 4096 bits, got code_lengths \(8, 4097\)"),
        *(
            ({name: 0}, f"{name} must be above zero, got 0")
            for name in ("width", "batch_size", "learning_rate", "deblocking_width")
        ),
        ({"epochs": 0}, "epochs must be above zero, got 0; networks that begin in closed form need none"),
        *(({name: -1}, f"{name} must be zero or more, got -1") for name in ZERO_OR_MORE),
    ],
)
def test_bad_settings_are_named(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(SMOKE, **changes)
