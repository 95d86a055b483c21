"""Training, resuming and evaluating two tiny networks on the photographs that scikit-learn ships."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest

from common import report
from neural_compression import codec, evaluate, fitting, results, trained
from neural_compression import train as training_program
from neural_compression.config import PRESETS, ROWS, SHIPPED, Trial
from neural_compression.model import build_autoencoder
from neural_compression.reconstruction import decode_blocks, encode_blocks
from neural_compression.train import CODEC, build, read, train

SMOKE = replace(
    PRESETS["smoke"][1],
    name="run",
    binarization="noise",
    alternate=True,
    expert_epochs=1,
    decoder_epochs=1,
    target_psnr=8.0,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = replace(SMOKE, runs_dir=tmp_path_factory.mktemp("runs"))
    folder = train(config)
    evaluate.evaluate(folder)
    return folder, config


# Of the last pass of each stage of the first network, from seed 0. A change of these is a change of results.
GOLDEN_LOSSES = {".": 0.10529, "expert": 0.08668, "decoder": 0.08105}


def test_golden_training_log(run):
    pytest.importorskip("tensorflow")  # the initial weights of other backends are others
    folder = run[0] / "seed0/bits8"
    found = {stage: pd.read_csv(folder / stage / "log.csv")["loss"].iloc[-1] for stage in (".", "expert", "decoder")}
    print(found)
    assert found == pytest.approx(GOLDEN_LOSSES, rel=5e-3)


def test_stages_have_their_passes(run):
    folder = run[0] / "seed0/bits8"
    passes = {stage: len(pd.read_csv(folder / stage / "log.csv")) for stage in (".", "expert", "decoder")}
    assert passes == {".": 2, "expert": 2, "decoder": 1}  # a joint pass and one of the decoder, twice


def test_stopped_between_passes_it_ends_with_the_same_codec(run, tmp_path, monkeypatch):
    """Also where the pass of the decoder alone comes next, of which the resumed training knows by its number."""
    whole, config = run
    config = replace(config, runs_dir=tmp_path)
    fit = fitting.training.fit

    def stop_after_a_pass(model, batches, *, epochs, **options):
        fit(model, batches, epochs=1, **options)
        raise SystemExit(143)

    monkeypatch.setattr(fitting.training, "fit", stop_after_a_pass)
    with pytest.raises(SystemExit):
        train(config)
    monkeypatch.undo()
    resumed = trained.load(train(config) / "seed0" / CODEC)
    expected = trained.load(whole / "seed0" / CODEC)
    assert resumed.fingerprint == expected.fingerprint


def test_codec_holds_the_trained_networks(run):
    folder, config = run
    found = trained.load(folder / "seed0" / CODEC)
    model = build(config, Trial(0), 8)
    model.training.load_weights(folder / "seed0/bits8/decoder/best.weights.h5")
    blocks = np.random.default_rng(0).random((3, 32, 32, 3), dtype="float32")
    np.testing.assert_allclose(found.encoders[0](blocks), model.encoder(blocks), atol=2e-3)  # float16
    codes = np.rint(np.asarray(model.encoder(blocks)))
    np.testing.assert_allclose(found.decoders[0](codes), model.decoder(codes), atol=2e-3)
    assert found.code_lengths == (8, 16) and found.deblocking is not None
    image = read(config)[1][0]
    data, encoded = codec.encode(found, image, network=1)
    np.testing.assert_array_equal(codec.decode(found, data), encoded.reconstruction)


def test_codecs_that_are_missing_or_damaged_are_told(run, tmp_path):
    with pytest.raises(ValueError, match="There is no trained codec .* Train one, or check the path"):
        trained.load(tmp_path / "none.npz")
    content = (run[0] / "seed0" / CODEC).read_bytes()
    for damaged in (b"", content[:1000], b"PK" + content[:500]):
        (tmp_path / "cut.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="cut.npz is no npz file"):
            trained.load(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", settings=np.frombuffer(b'{"version": 99}', "uint8"))
    with pytest.raises(ValueError, match="other.npz has another version of the format, expected 2"):
        trained.load(tmp_path / "other.npz")
    np.savez(tmp_path / "foreign.npz", weights=np.zeros(3))
    with pytest.raises(ValueError, match="foreign.npz is no trained codec, or damaged"):
        trained.load(tmp_path / "foreign.npz")


def test_numbers_are_those_of_files_and_decoded_images(run):
    folder, config = run
    images = read(config)[1]
    found = trained.load(folder / "seed0" / CODEC)
    record = json.loads((folder / "seed0" / evaluate.METRICS).read_text())
    for mode in ("publication", "context"):
        files = [codec.encode(found, image, network=1, mode=mode)[0] for image in images]
        decoded = [codec.decode(found, data) for data in files]
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
    assert "16 bits for each block" in text and "JPEG" in text and "one λ for all photographs" in text
    for name in ("loss", "rate_distortion", "crops", "networks"):
        assert cv2.imread(str(folder / f"figures/{name}.png")).shape[0] > 300


def test_finished_trainings_are_not_done_again(run, monkeypatch):
    folder, config = run
    monkeypatch.setattr(training_program, "train_network", None)
    monkeypatch.setattr(evaluate, "measured", None)
    assert train(config) == folder
    assert len(evaluate.evaluate(folder)) == 1


def test_photographs_to_judge_by_are_kept_apart(tmp_path):
    training, judged = read(SMOKE)
    assert [image.shape[1] for image in (*training, *judged)] == [240, 240, 80, 80]
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((40, 40, 3), i, "uint8"))
    training, judged = read(replace(SMOKE, data_dir=tmp_path, scale=1.0))
    assert [image[0, 0, 0] for image in judged] == [9] and len(training) == 9
    training, judged = read(replace(SMOKE, test_dir=tmp_path))
    assert len(training) == 2 and len(judged) == 10


def test_each_row_of_the_tables_is_a_preset_that_differs_by_its_part():
    assert results.PAPER.keys() == ROWS.keys()
    assert ROWS["baseline"][1].code_lengths == (216,) and ROWS["deblocking"][1].code_lengths == (64, 216, 368)
    for name, (_, config) in ROWS.items():
        assert results._row(config) == name
        assert results._row(PRESETS[f"narrow_{name}"][1]) == name
        assert (config.width, config.batch_size, config.learning_rate) == (64, 256, 1e-3)
    assert results._row(SHIPPED) is None


def test_blocks_that_a_network_is_for():
    model = build_autoencoder(8, width=2, binarization="straight_through")
    blocks = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype="uint8")
    mine = decode_blocks(model.decoder, encode_blocks(model.encoder, blocks[:2]))
    found = fitting.reaching(model, np.concatenate([blocks, mine]), 20.0)
    psnr = fitting.block_psnr(found, decode_blocks(model.decoder, encode_blocks(model.encoder, found)))
    assert len(found) and psnr.min() >= 20.0
    with pytest.raises(ValueError, match="No block of the training photographs reaches 99.0 dB with the network of 8"):
        fitting.reaching(model, blocks, 99.0)
    assert fitting.block_psnr(blocks[:1], blocks[:1] ^ 1)[0] == pytest.approx(20 * np.log10(255))


def test_publishing_keeps_the_numbers_and_writes_the_readme(run, tmp_path, monkeypatch):
    folder, _ = run
    (tmp_path / "README.md").write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    monkeypatch.setattr(results, "HERE", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.json")
    record = json.loads((folder / "seed0" / evaluate.METRICS).read_text())
    record["networks"] = {"216": record["networks"]["16"]}
    config = replace(PRESETS["narrow_baseline"][1], name="narrow_baseline")
    results.publish(config, [record], {}, folder)
    text = (tmp_path / "README.md").read_text()
    row = [cell.strip() for cell in next(line for line in text.splitlines() if "`baseline`" in line).split("|")[1:-1]]
    point = record["networks"]["216"]["publication"]
    assert row[2:4] == ["27.055", "0.151"] and row[4:6] == ["not run", "–"]
    assert row[6:] == [f"{point['dataset_psnr']:.2f}", f"{point['bits_per_pixel']:.3f}"]
    assert "data_dir" not in report.published(results.RESULTS)["narrow_baseline"]["config"]


def test_bad_settings_are_told():
    with pytest.raises(ValueError, match="scale makes photographs smaller, expected at most 1, got 2"):
        replace(SMOKE, scale=2.0)
    with pytest.raises(ValueError, match="code_lengths must be above zero and increase"):
        replace(SMOKE, code_lengths=(16, 8))
    with pytest.raises(ValueError, match="epochs must be above zero"):
        replace(SMOKE, epochs=0)
