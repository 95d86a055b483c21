"""Training, resuming and evaluating two tiny networks on the photographs that scikit-learn ships."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from common import distribution
from common.experiments.entry import Results
from common.report.tables import published
from neural_compression import codec, evaluate, tables
from neural_compression import train as training_program
from neural_compression.config import PRESETS, Trial
from neural_compression.data import read
from neural_compression.model import build
from neural_compression.networks.codec_file import CODEC, load
from neural_compression.train import train, train_networks
from tests.helpers import assert_figures
from tests.resuming import stopping

SMOKE = replace(
    PRESETS["smoke"][1],
    name="run",
    binarization="noise",
    alternate=True,
    chain=1,
    expert_epochs=1,
    decoder_epochs=1,
    target_psnr=8.0,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory, one_classical_codec):
    config = replace(SMOKE, runs_dir=tmp_path_factory.mktemp("runs"))
    folder = train(config)
    evaluate.evaluate(folder)
    return folder, config


# Of the last pass of each stage of the first network, from seed 0. A change of these is a change of results.
GOLDEN_LOSSES = {".": 0.10620, "expert": 0.08877, "decoder": 0.08638}


def test_golden_training_log(run):
    pytest.importorskip("tensorflow")  # the initial weights of other backends are others
    folder = run[0] / "seed0/bits8"
    losses = {stage: pd.read_csv(folder / stage / "log.csv")["loss"].iloc[-1] for stage in (".", "expert", "decoder")}
    print(losses)
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=5e-3)


def test_stages_have_their_passes(run):
    folder = run[0] / "seed0/bits8"
    passes = {stage: len(pd.read_csv(folder / stage / "log.csv")) for stage in (".", "expert", "decoder")}
    assert passes == {".": 2, "expert": 2, "decoder": 1}  # a joint pass and one of the decoder, twice


def test_stopped_between_passes_it_ends_with_the_same_codec(run, tmp_path):
    """The first network is done, and of the second the pass of the decoder alone comes next.

    The resumed training knows that by the number of the pass.
    """
    whole, config = run
    config = replace(config, runs_dir=tmp_path)
    place = tmp_path / "neural_compression/run"
    shutil.copytree(whole / "seed0/bits8", place / "seed0/bits8")
    shutil.copy(whole / "config.json", place)
    with stopping(lambda folder: folder.name == "bits16", after_epochs=1) as fitted:
        train(config)
    assert fitted == ["bits8", "expert", "decoder", "bits16"]
    resumed = load(train(config) / "seed0" / CODEC)
    expected = load(whole / "seed0" / CODEC)
    assert resumed.fingerprint == expected.fingerprint


def test_rounds_of_a_chain_begin_with_the_weights_of_the_network_before(tmp_path, monkeypatch):
    """In place of a training, one is added to the last weights of a network."""
    places, first = [], []

    def add_one(config, trial, model, blocks, folder):
        weights = model.decoder.get_layer("pixels").bias  # as long in every network
        first.append(np.asarray(weights).copy())
        weights.assign_add(np.ones(3, "float32"))
        places.append(folder.relative_to(tmp_path).as_posix())

    monkeypatch.setattr(training_program, "train_network", add_one)
    strategy = distribution.strategy("one")
    networks = train_networks(replace(SMOKE, chain=2), Trial(0), np.zeros(0), strategy, tmp_path)
    assert places == ["earlier1/bits8", "earlier1/bits16", "bits8", "bits16"]
    np.testing.assert_array_equal(first, [[0] * 3, [1] * 3, [2] * 3, [3] * 3])
    assert [network.encoder.output_shape[1] for network in networks] == [8, 16]  # those of the last round
    first.clear()
    train_networks(replace(SMOKE, chain=0), Trial(0), np.zeros(0), strategy, tmp_path)
    np.testing.assert_array_equal(first, np.zeros((2, 3)))


def test_codec_holds_the_trained_networks(run):
    folder, config = run
    trained = load(folder / "seed0" / CODEC)
    model = build(config, Trial(0), 8)
    model.training_model.load_weights(folder / "seed0/bits8/decoder/best.weights.h5")
    blocks = np.random.default_rng(0).random((3, 32, 32, 3), dtype="float32")
    np.testing.assert_allclose(trained.encoders[0](blocks), model.encoder(blocks), atol=2e-3)  # float16
    codes = np.rint(np.asarray(model.encoder(blocks)))
    np.testing.assert_allclose(trained.decoders[0](codes), model.decoder(codes), atol=2e-3)
    assert trained.code_lengths == (8, 16) and trained.deblocking is not None
    image = read(config)[1][0]
    data, encoded = codec.encode(trained, image, network=1)
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
    with pytest.raises(ValueError, match="other.npz has another version of the format, expected 2"):
        load(tmp_path / "other.npz")
    np.savez(tmp_path / "foreign.npz", weights=np.zeros(3))
    with pytest.raises(ValueError, match="foreign.npz is no trained codec, or damaged"):
        load(tmp_path / "foreign.npz")


def test_numbers_are_those_of_files_and_decoded_images(run):
    folder, config = run
    images = read(config)[1]
    trained = load(folder / "seed0" / CODEC)
    record = json.loads((folder / "seed0" / evaluate.METRICS).read_text())
    for mode in ("publication", "context"):
        files = [codec.encode(trained, image, network=1, mode=mode)[0] for image in images]
        decoded = [codec.decode(trained, data) for data in files]
        error = np.mean(np.concatenate([np.square(np.float64(a) - b).ravel() for a, b in zip(images, decoded)]))
        point = record["networks"]["16"][mode]
        assert point["dataset_psnr"] == pytest.approx(20 * np.log10(255) - 10 * np.log10(error))  # Eq. 2 (pub)
        pixels = sum(image[..., 0].size for image in images)
        assert point["bits_per_pixel"] == pytest.approx(8 * sum(map(len, files)) / pixels)
    assert record["at_rate"]["bits_per_pixel"] <= evaluate.TARGET_BPP
    rates = [point["bits_per_pixel"] for point in record["curve"]]
    assert rates == sorted(rates)


def test_report_has_its_tables_and_figures(run):
    folder, _ = run
    text = (folder / "report.md").read_text()
    assert "16 bits for each block" in text and "| JPEG 2000 " in text and "one λ for all photographs" in text
    assert_figures(folder, "loss", "rate_distortion", "crops", "networks")


def test_finished_trainings_are_not_done_again(run, monkeypatch):
    folder, config = run
    monkeypatch.setattr(training_program, "train_network", None)
    monkeypatch.setattr(evaluate, "measured", None)
    monkeypatch.setattr(evaluate, "draw_codec", lambda *_: {})
    assert train(config) == folder
    assert len(evaluate.evaluate(folder)) == 1


def test_publishing_writes_the_numbers_and_the_readme(run, tmp_path, monkeypatch):
    folder, trained_config = run
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    monkeypatch.setattr(tables, "HERE", tmp_path)
    record = json.loads((folder / "seed0" / evaluate.METRICS).read_text())
    record["networks"] = {"216": record["networks"]["16"]}
    config = replace(PRESETS["narrow_baseline"][1], name="narrow_baseline")
    tables.publish(Results(folder, config, read(trained_config), 1, [Trial(0)], [record], evaluate.Arguments()))
    text = (tmp_path / "README.md").read_text()
    row = [cell.strip() for cell in next(line for line in text.splitlines() if "`baseline`" in line).split("|")[1:-1]]
    point = record["networks"]["216"]["publication"]
    assert row[2:4] == ["27.055", "0.151"] and row[4:6] == ["not run", "–"]
    assert row[6:] == [f"{point['dataset_psnr']:.2f}", f"{point['bits_per_pixel']:.3f}"]
    assert "data_dir" not in published(tmp_path)["narrow_baseline"]["config"]


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="scale makes photographs smaller, expected at most 1, got 2"):
        replace(SMOKE, scale=2.0)
    with pytest.raises(ValueError, match="code_lengths must be above zero and increase"):
        replace(SMOKE, code_lengths=(16, 8))
    with pytest.raises(ValueError, match="epochs must be above zero"):
        replace(SMOKE, epochs=0)
