"""A codec and classical ones on a set of images, and what is cached of it."""

import sys
from pathlib import Path

import cv2

from neural_compression import evaluate
from neural_compression.evaluation import classical, compare
from neural_compression.tables import FIGURES
from tests.neural_compression.small_codec import picture

JPEG = classical.installed()[0]["JPEG"]
IMAGES = [picture(96, 160, 1), picture(70, 64, 2)]


def test_report_of_a_folder(codec_path, one_classical_codec, tmp_path, monkeypatch, capsys):
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


def test_command_line_compares_what_ships_unless_told_otherwise(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(compare, "compare", lambda *arguments: called.append(arguments))
    monkeypatch.setattr(compare, "read_photographs", lambda folder: folder)
    for arguments in ([], [str(tmp_path), "--model", "a.npz", "--out", "out", "--optimize", "encoder"]):
        monkeypatch.setattr(sys, "argv", ["compare", *arguments])
        compare.main()
    shipped = Path(compare.__file__).parents[1] / "weights/shipped.npz"
    assert called == [
        (shipped, None, Path("runs/comparison"), "code"),
        (Path("a.npz"), tmp_path, Path("out"), "encoder"),
    ]


def test_classical_codecs_have_points_at_the_rates_that_they_reach(tmp_path):
    image = picture(96, 128, 3)
    points = classical.points_at(JPEG, [image], (0.01, 1.0, 1.5))
    assert points == [classical.at_rate(JPEG, [image], rate).interpolated for rate in (1.0, 1.5)]
    curves = classical.curves([image], tmp_path)
    (cached,) = tmp_path.iterdir()
    written = cached.stat().st_mtime_ns
    assert classical.curves([image], tmp_path) == curves and cached.stat().st_mtime_ns == written
    classical.curves([image[:64]], tmp_path)  # other images, another file
    assert len(list(tmp_path.iterdir())) == 2
