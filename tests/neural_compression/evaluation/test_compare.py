"""A codec and classical ones on a set of images, and what is cached of it."""

import sys

import cv2
import numpy as np
import pytest

from neural_compression import evaluate
from neural_compression.codec import decode
from neural_compression.evaluation import classical, compare
from neural_compression.tables import FIGURES
from tests.neural_compression.small_codec import picture

IMAGES = [picture(96, 160, 1), picture(70, 64, 2)]


def test_report_of_a_folder(codec_path, tmp_path, monkeypatch, capsys):
    for number, image in enumerate(IMAGES):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
    out = tmp_path / "out"
    arguments = [str(tmp_path), "--model", str(codec_path), "--out", str(out), "--optimize", "off"]
    monkeypatch.setattr(sys, "argv", ["compare", *arguments])
    compare.main()
    text = (out / "report.md").read_text()
    assert "| ours " in text
    assert text.split("\n\nReport")[0].split("## ")[1].split("\n\n![")[0] in capsys.readouterr().out
    for name in FIGURES:
        assert min(cv2.imread(str(out / "figures" / name)).shape[:2]) > 100
    assert len(list(out.glob("classical-*.json"))) == 1


def test_the_shipped_codec_is_evaluated_where_no_run_is(codec_path, tmp_path, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(evaluate, "MODEL", codec_path)
    monkeypatch.setattr(evaluate, "compare", lambda *arguments: called.append(arguments))
    monkeypatch.setattr(sys, "argv", ["evaluate", "--runs-dir", str(tmp_path)])
    evaluate.main()
    path, images, folder, how = called[0]
    assert path == codec_path and [image.shape for image in images] == [(427, 640, 3)] * 2
    assert folder == tmp_path / "neural_compression/comparison" and how == "code"
    assert "the codec that ships with the repository" in capsys.readouterr().out


def test_points_at_a_rate_are_those_of_files(codec):
    sessions = compare.sessions_for(codec, IMAGES)
    point = compare.at_rate(sessions, 0.2)
    networks = compare.chosen(sessions, point.setting)
    sizes = [len(s.file(n)) for s, n in zip(sessions, networks)]
    pixels = sum(image[..., 0].size for image in IMAGES)
    assert point.bits_per_pixel == 8 * sum(sizes) / pixels <= 0.2
    decoded = [decode(codec, s.file(n)) for s, n in zip(sessions, networks)]
    error = sum(np.square(np.float64(a) - b).sum() for a, b in zip(IMAGES, decoded)) / (3 * pixels)
    assert point.dataset_psnr == pytest.approx(10 * np.log10(255**2 / error))
    rates = [p.bits_per_pixel for p in compare.curve(sessions)]
    assert rates == sorted(rates)


def test_optimized_codes_are_better_at_the_rate(codec):
    pytest.importorskip("tensorflow")  # the initial weights of other backends are others
    before = compare.at_rate(compare.sessions_for(codec, IMAGES), 0.2)
    after = compare.optimized_at_rate(compare.sessions_for(codec, IMAGES), 0.2, "code", before.setting)
    assert after.bits_per_pixel <= 0.2 and after.dataset_psnr > before.dataset_psnr


def test_classical_codecs_have_points_at_the_rates_that_they_reach(tmp_path):
    image = picture(96, 128, 3)
    jpeg = classical.installed()[0]["JPEG"]
    points = classical.points_at(jpeg, [image], (0.01, 1.0, 1.5))
    assert points == [classical.at_rate(jpeg, [image], rate).interpolated for rate in (1.0, 1.5)]
    curves = classical.curves([image], tmp_path)
    (cached,) = tmp_path.iterdir()
    written = cached.stat().st_mtime_ns
    assert classical.curves([image], tmp_path) == curves and cached.stat().st_mtime_ns == written
    classical.curves([image[:64]], tmp_path)  # other images, another file
    assert len(list(tmp_path.iterdir())) == 2
