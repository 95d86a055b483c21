"""A codec beside classical ones on a set of images, and what is kept of it."""

import sys
from dataclasses import asdict

import cv2
import numpy as np
import pytest

from neural_compression import classical, codec, compare, evaluate, results
from neural_compression.rate_distortion import Point, bd_rate
from tests.neural_compression.small_codec import picture, save_codec


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("codec") / "codec.npz"
    return path, save_codec(path)


IMAGES = [picture(96, 160, 1), picture(70, 64, 2)]


def test_report_of_a_folder(trained, tmp_path, monkeypatch, capsys):
    path, model = trained
    for number, image in enumerate(IMAGES):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
    out = tmp_path / "out"
    arguments = [str(tmp_path), "--model", str(path), "--out", str(out), "--optimise", "off"]
    monkeypatch.setattr(sys, "argv", ["compare", *arguments])
    compare.main()
    text = (out / "report.md").read_text()
    assert "| ours " in text
    assert text.split("\n\nReport")[0].split("## ")[1].split("\n\n![")[0] in capsys.readouterr().out
    for name in results.FIGURES:
        assert min(cv2.imread(str(out / "figures" / name)).shape[:2]) > 100
    assert len(list(out.glob("classical-*.json"))) == 1


def test_the_shipped_codec_is_evaluated_where_no_run_is(trained, tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(evaluate, "MODEL", trained[0])
    monkeypatch.setattr(compare, "compare", lambda *arguments: called.append(arguments))
    monkeypatch.setattr(sys, "argv", ["evaluate", "--runs-dir", str(tmp_path)])
    evaluate.main()
    path, images, folder, how = called[0]
    assert path == trained[0] and [image.shape for image in images] == [(427, 640, 3)] * 2
    assert folder == tmp_path / "neural_compression/comparison" and how == "code"
    assert "the codec that ships with the repository" in capsys.readouterr().out


def test_points_at_a_rate_are_those_of_files(trained):
    _, model = trained
    attempts = compare.attempts_at(model, IMAGES)
    found = compare.at_rate(attempts, 0.2)
    networks = compare.chosen(attempts, found.setting)
    sizes = [len(a.file(n)) for a, n in zip(attempts, networks)]
    pixels = sum(image[..., 0].size for image in IMAGES)
    assert found.bits_per_pixel == 8 * sum(sizes) / pixels <= 0.2
    decoded = [codec.decode(model, a.file(n)) for a, n in zip(attempts, networks)]
    error = sum(np.square(np.float64(a) - b).sum() for a, b in zip(IMAGES, decoded)) / (3 * pixels)
    assert found.dataset_psnr == pytest.approx(10 * np.log10(255**2 / error))
    rates = [p.bits_per_pixel for p in compare.curve(attempts)]
    assert rates == sorted(rates)


def test_optimised_codes_are_better_at_the_rate(trained):
    pytest.importorskip("tensorflow")  # the initial weights of other backends are others
    _, model = trained
    before = compare.at_rate(compare.attempts_at(model, IMAGES), 0.2)
    after = compare.optimised_at_rate(compare.attempts_at(model, IMAGES), 0.2, "code", before.setting)
    assert after.bits_per_pixel <= 0.2 and after.dataset_psnr > before.dataset_psnr


def test_classical_codecs_keep_to_the_rates_that_they_reach(tmp_path):
    image = picture(96, 128, 3)
    jpeg = classical.installed()[0]["JPEG"]
    points = classical.points_at(jpeg, [image], (0.01, 1.0, 1.5))
    assert points == [classical.at_rate(jpeg, [image], rate).interpolated for rate in (1.0, 1.5)]
    curves = compare.classical_curves([image], tmp_path)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    assert compare.classical_curves([image], tmp_path) == curves and kept.stat().st_mtime_ns == written
    compare.classical_curves([image[:64]], tmp_path)  # other images, another file
    assert len(list(tmp_path.iterdir())) == 2


def test_comparison_is_sorted_and_has_the_rate_difference():
    def line(offset):
        return [Point(None, rate, offset + 10 * np.log10(rate), 0.0) for rate in (0.12, results.TARGET_BPP, 0.18, 0.22)]

    theirs, ours = line(40.0), line(41.0)
    record = {"at_rate": asdict(ours[1]), "curve": [asdict(p) for p in ours], "optimised": {"code": asdict(ours[2])}}
    text = results.comparison_table([record], {"JPEG": [asdict(p) for p in theirs], "slow": []})
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()[2:]]
    assert [row[0] for row in rows] == ["JPEG", "ours", "ours, codes optimized"]
    assert rows[0][-1] == f"{bd_rate(theirs, ours):.0f}" == "-21"  # 1 dB by this line is a factor of 10^0.1
    few = results.comparison_table([record], {"JPEG": [asdict(theirs[1])]})
    assert few.splitlines()[2].split("|")[-2].strip() == "–"
