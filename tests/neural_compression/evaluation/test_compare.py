"""A codec and classical ones on a set of images, and what is cached of it."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tyro

from neural_compression import evaluate
from neural_compression.config import Arguments, CompareArguments
from neural_compression.evaluation import classical, compare
from neural_compression.evaluation.rate_distortion import Point
from neural_compression.tables import FIGURES
from tests.neural_compression.small_codec import picture

JPEG = classical.installed()[0]["JPEG"]
IMAGES = [picture(96, 160, 1), picture(70, 64, 2)]


def test_report_of_a_folder(codec_path, one_classical_codec, tmp_path, capsys):
    for number, image in enumerate(IMAGES):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
    out = tmp_path / "new/out"
    compare.main(CompareArguments(tmp_path, codec_path, out, "off"))
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
    evaluate.main(Arguments(runs_dir=tmp_path))
    path, images, folder, how = called[0]
    assert path == codec_path and [image.shape for image in images] == [(427, 640, 3)] * 2
    assert folder == tmp_path / "neural_compression/comparison" and how == "code"
    assert "the codec that ships with the repository" in capsys.readouterr().out


def test_command_line_compares_what_ships_by_default(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(compare, "compare", lambda *arguments: called.append(arguments))
    monkeypatch.setattr(compare, "read_photographs", lambda folder: folder)
    for arguments in ([], [str(tmp_path), "--model", "a.npz", "--out", "out", "--optimize", "encoder"]):
        compare.main(tyro.cli(CompareArguments, args=arguments))
    shipped = Path(compare.__file__).parents[1] / "weights/shipped.npz"
    assert called == [
        (shipped, None, Path("runs/comparison"), "code"),
        (Path("a.npz"), tmp_path, Path("out"), "encoder"),
    ]


def test_crops_are_of_the_middle_of_an_image(tmp_path, monkeypatch):
    """192 pixels from a third on, in both directions, or what there is of them."""
    boxes = []
    session = SimpleNamespace(
        choose=lambda *_: np.zeros((1, 1), int),
        file=lambda _: b"",
        bits_per_pixel=lambda _: 1.0,
        decoded=lambda _: image,
        psnr=lambda _: np.inf,
    )
    monkeypatch.setattr(compare, "EncodeSession", lambda *_: session)
    monkeypatch.setattr(compare.classical, "installed", lambda: ({}, []))
    monkeypatch.setattr(compare.plots, "rate_distortion", lambda *_: None)
    monkeypatch.setattr(compare.plots, "network_map", lambda *_: None)
    monkeypatch.setattr(compare.plots, "crops", lambda path, versions, box: boxes.append(box))
    for shape in ((300, 600, 3), (600, 240, 3)):
        image = np.zeros(shape, "uint8")
        _, sliders = compare.draw(tmp_path, SimpleNamespace(code_lengths=(8,)), [image] * 3, 1.0, {}, {})
        # Two photographs of three, an original and ours of each.
        assert [slider.heading for slider in sliders] == [f"Photograph {i} before and after" for i in (1, 2)]
        assert list(sliders[0].versions) == ["original", "ours, 1.000 bpp, inf dB"]
    assert boxes == [(200, 100, 392, 292), (80, 200, 240, 392)]


def test_a_slider_shows_the_middle_of_a_large_photograph():
    image = np.arange(800 * 1000 * 3, dtype="uint32").reshape(800, 1000, 3).astype("uint8")
    slider = compare.before_and_after(3, {"original": image, "ours\n1 bpp": image + np.uint8(1)})
    assert list(slider.versions) == ["original", "ours, 1 bpp"] and slider.heading == "Photograph 3 before and after"
    np.testing.assert_array_equal(slider.versions["original"], image[144:656, 244:756])


def test_images_that_are_known_are_not_decoded_again():
    """10 bytes for 20 pixels, and an error of one in each sample; the session has no way to decode."""
    session = SimpleNamespace(file=lambda networks: bytes(10), image=np.zeros((4, 5, 3), "uint8"))
    point = compare.measured([session], [np.zeros((1, 1), "uint8")], 3.0, [np.ones((4, 5, 3), "uint8")])
    assert point == Point(3.0, 4.0, pytest.approx(20 * np.log10(255)), pytest.approx(20 * np.log10(255)))


def test_classical_codecs_have_points_at_the_rates_that_they_reach(tmp_path):
    image = picture(96, 128, 3)
    points = classical.points_at({"JPEG": JPEG}, [image], (0.01, 1.0, 1.5))
    assert points["JPEG"] == [classical.at_rate(JPEG, [image], rate).interpolated for rate in (1.0, 1.5)]
    curves = classical.curves([image], tmp_path)
    (cached,) = tmp_path.iterdir()
    written = cached.stat().st_mtime_ns
    assert classical.curves([image], tmp_path) == curves and cached.stat().st_mtime_ns == written
    classical.curves([image[:64]], tmp_path)  # other images, another file
    assert len(list(tmp_path.iterdir())) == 2


def test_equal_rates_are_those_of_each_image_alone(tmp_path):
    """No file of one image is as small as a hundredth of a bit per pixel, and none is written for another image."""
    images = [picture(96, 128, 3), picture(64, 64, 4)]
    psnrs = classical.psnrs_at({"JPEG": JPEG}, images, 1.5)["JPEG"]
    expected = [classical.at_rate(JPEG, [image], 1.5).interpolated.dataset_psnr for image in images]
    assert psnrs == [round(value, 3) for value in expected] and psnrs[0] != psnrs[1]
    assert classical.psnrs_at({"JPEG": JPEG}, images, 0.01) == {"JPEG": [None, None]}


def test_equal_rates_of_ours_are_at_most_the_rate(monkeypatch):
    """A choice of 2.4 bits per pixel, and 22.123 dB: within 2.5, and not within 2."""
    session = SimpleNamespace(
        rate=lambda networks: 1.2 * networks, psnr=lambda decoded: decoded, decoded=lambda networks: 20.12345 + networks
    )
    monkeypatch.setattr(compare, "networks_for", lambda session, selection, psnr, bpp: 2)
    assert compare.psnrs_at([session], 2.5) == [22.123]
    assert compare.psnrs_at([session], 2.0) == [None]  # even its smallest file has more
