"""The command line of the codec: its files, what it prints, and what it refuses."""

import sys

import cv2
import numpy as np
import pytest

from neural_compression import codec as command
from neural_compression.codec import encode
from neural_compression.networks.codec_file import load
from tests.neural_compression.small_codec import picture


@pytest.fixture
def loaded(codec, codec_path, monkeypatch):
    """The codec of the tests is read from its file once."""
    monkeypatch.setattr(command, "load", lambda path: codec if path == codec_path else load(path))


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["codec", *map(str, arguments)])
    command.main()


def test_command_line(codec, codec_path, loaded, tmp_path, monkeypatch, capsys):
    image, model = picture(60, 90), ("--model", codec_path)
    png, file, out = tmp_path / "in.png", tmp_path / "a.nbc", tmp_path / "out.png"
    cv2.imwrite(str(png), image[..., ::-1])
    run(monkeypatch, "encode", png, file, "--network", 1, *model)
    data, encoded = encode(codec, image, network=1)
    assert file.read_bytes() == data
    printed = capsys.readouterr().out
    assert f"{len(data)} bytes, {encoded.bits_per_pixel:.4f} bits per pixel, PSNR {encoded.psnr:.2f} dB" in printed
    assert "0 % with 8 bits, 100 % with 16 bits, 0 % with 24 bits" in printed
    run(monkeypatch, "decode", file, out, *model)
    np.testing.assert_array_equal(cv2.imread(str(out))[..., ::-1], encoded.reconstruction)
    assert "90 × 60 pixels" in capsys.readouterr().out
    run(monkeypatch, "info", file, *model)
    printed = capsys.readouterr().out
    assert f"{len(data)} bytes, {encoded.bits_per_pixel:.4f} bits per pixel" in printed and "mode context" in printed
    assert "bits: 176 header, 8 networks, 96 codes" in printed and "100 % with 16 bits" in printed
    for ships, shares in ((codec_path, True), (tmp_path / "none.npz", False)):
        monkeypatch.setattr(command, "MODEL", ships)
        run(monkeypatch, "info", file)
        assert ("100 % with 16 bits" in capsys.readouterr().out) == shares
    gray = tmp_path / "gray.png"
    cv2.imwrite(str(gray), picture(40, 40, channels=0))
    run(monkeypatch, "encode", gray, file, "--overwrite", "--target-psnr", 6, "--selection", "publication", *model)
    run(monkeypatch, "decode", file, out, "--overwrite", *model)
    assert cv2.imread(str(out), cv2.IMREAD_UNCHANGED).shape == (40, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nbc", "gray.png", "in.png", "out.png"]


def test_command_line_aims_at_the_rate_of_comparisons(codec, codec_path, loaded, tmp_path, monkeypatch):
    options, png = [], tmp_path / "in.png"
    cv2.imwrite(str(png), picture(40, 40))
    encoded = encode(codec, picture(40, 40), network=0)
    monkeypatch.setattr(command, "encode", lambda codec, image, **given: options.append(given) or encoded)
    for arguments in ((), ("--target-bpp", 0.4), ("--target-psnr", 30, "--mode", "publication", "--optimize", "code")):
        run(monkeypatch, "encode", png, tmp_path / "a.nbc", "--overwrite", "--model", codec_path, *arguments)
    plain = {"target_psnr": None, "target_bpp": None, "network": None}
    plain |= {"selection": "lagrangian", "optimize": "off", "mode": "context"}
    assert options == [
        plain | {"target_bpp": 0.15},
        plain | {"target_bpp": 0.4},
        plain | {"target_psnr": 30, "mode": "publication", "optimize": "code"},
    ]


def test_command_line_refuses_in_a_sentence(codec_path, loaded, tmp_path, monkeypatch):
    model = ("--model", codec_path)
    png, file = tmp_path / "in.png", tmp_path / "a.nbc"
    cv2.imwrite(str(png), picture(40, 40))
    run(monkeypatch, "encode", png, file, "--network", 0, *model)
    before = file.read_bytes()
    cv2.imwrite(str(tmp_path / "alpha.png"), picture(9, 9, channels=4))
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((9, 9, 3), np.uint16))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.png").write_bytes(png.read_bytes()[:60])
    (tmp_path / "cut.nbc").write_bytes(before[:-3])
    monkeypatch.setattr(command, "MODEL", tmp_path / "shipped.npz")
    for arguments, sentence in (
        (("encode", png, file, *model), "a.nbc exists; pass --overwrite"),
        (("encode", tmp_path / "none.png", tmp_path / "b", *model), "none.png cannot be read"),
        (("encode", tmp_path / "text.png", tmp_path / "b", *model), "text.png cannot be read"),
        (("encode", tmp_path / "cut.png", tmp_path / "b", *model), "cut.png cannot be read"),
        (("encode", tmp_path / "alpha.png", tmp_path / "b", *model), "alpha.png has an alpha channel"),
        (("encode", tmp_path / "deep.png", tmp_path / "b", *model), "deep.png has uint16"),
        (("encode", png, tmp_path / "no" / "b", *model), "its folder does not exist"),
        (("encode", png, file, "--overwrite", "--target-bpp", 90, *model), "nearest that this image can have"),
        (("encode", png, tmp_path / "b", "--model", tmp_path / "none.npz"), "There is no trained codec"),
        (("encode", png, tmp_path / "b", "--model", tmp_path / "shipped.npz"), "No codec ships here"),
        (("decode", file, tmp_path / "b.xyz", *model), "suffix of no image format"),
        (("decode", file, png, *model), "in.png exists; pass --overwrite"),
        (("decode", file, tmp_path / "no" / "b.png", *model), "its folder does not exist"),
        (("decode", tmp_path / "none", tmp_path / "b.png", *model), "none cannot be read"),
        (("decode", tmp_path / "cut.nbc", tmp_path / "b.png", *model), "damaged or cut short"),
        (("info", tmp_path / "cut.nbc"), "damaged or cut short"),
    ):
        with pytest.raises(ValueError, match=sentence):
            run(monkeypatch, *arguments)
    assert file.read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".", "b"))]
