"""The command line of the codec: its files, what it prints, and what it refuses."""

import io
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from neural_compression import codec as command
from neural_compression.codec import decode, encode
from neural_compression.networks.codec_file import load
from tests.children import ROOT
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
    assert "0 % with 8 bits, 100 % with 16 bits, 0 % with 24 bits, 0 % without a network" in printed
    run(monkeypatch, "decode", file, out, *model)
    np.testing.assert_array_equal(cv2.imread(str(out))[..., ::-1], encoded.reconstruction)
    assert "90 × 60 pixels" in capsys.readouterr().out
    run(monkeypatch, "info", file, *model)
    printed = capsys.readouterr().out
    assert f"{len(data)} bytes, {encoded.bits_per_pixel:.4f} bits per pixel" in printed and "mode context" in printed
    assert "bits: 176 header, 8 networks, 96 codes, 0 escape blocks" in printed and "100 % with 16 bits" in printed
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
    plain |= {"selection": "lagrangian", "optimize": "off", "mode": "context", "escape": True}
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
    (tmp_path / "hard.png").hardlink_to(png)
    (tmp_path / "soft.png").symlink_to(png)
    (tmp_path / "file.png").write_bytes(before)
    (tmp_path / "x").mkdir()
    pixels = png.read_bytes()
    monkeypatch.setattr(command, "MODEL", tmp_path / "shipped.npz")
    for arguments, sentence in (
        (("encode", png, file, *model), "a.nbc exists; pass --overwrite"),
        (("encode", tmp_path / "none.png", tmp_path / "b", *model), "none.png cannot be read"),
        (("encode", tmp_path / "text.png", tmp_path / "b", *model), "text.png cannot be read"),
        (("encode", tmp_path / "cut.png", tmp_path / "b", *model), "cut.png cannot be read"),
        (("encode", tmp_path / "alpha.png", tmp_path / "b", *model), "alpha.png has transparent pixels"),
        (("encode", tmp_path / "deep.png", tmp_path / "b", *model), "deep.png has more; convert"),
        (("encode", png, tmp_path / "no" / "b", *model), "its folder does not exist"),
        (("encode", png, png, "--overwrite", *model), "in.png is read by this very command, so it cannot be replaced"),
        (("encode", png, tmp_path / "hard.png", "--overwrite", *model), "hard.png is read by this very command"),
        (("encode", png, tmp_path / "soft.png", "--overwrite", *model), "soft.png is read by this very command"),
        (("encode", png, tmp_path / "x" / ".." / "in.png", "--overwrite", *model), "is read by this very command"),
        (("encode", png, codec_path, "--overwrite", *model), "is read by this very command"),
        (("decode", tmp_path / "file.png", tmp_path / "file.png", "--overwrite", *model), "is read by this very"),
        (("encode", png, "/dev/null", "--overwrite", *model), "/dev/null exists and is no regular file"),
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
    assert file.read_bytes() == before and png.read_bytes() == pixels
    assert (tmp_path / "file.png").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".", "b"))]


def test_targets_that_are_missed_are_said_in_the_same_line(codec_path, loaded, tmp_path, monkeypatch, capsys):
    png, file = tmp_path / "in.png", tmp_path / "a.nbc"
    cv2.imwrite(str(png), picture(40, 40))
    for arguments, missed in (
        (("--target-bpp", 0.01), "; the smallest file takes 0."),
        (("--target-psnr", 70), "below the 70 that it should have; blocks: "),
        ((), None),
    ):
        run(monkeypatch, "encode", png, file, "--overwrite", *arguments, "--model", codec_path)
        (line,) = capsys.readouterr().out.splitlines()
        assert file.stat().st_size > 22 and (missed is None or missed in line)


def test_what_was_converted_is_said(codec_path, loaded, tmp_path, monkeypatch, capsys):
    png = tmp_path / "in.png"
    Image.fromarray(picture(40, 40)).save(png, icc_profile=b"nothing")
    run(monkeypatch, "encode", png, tmp_path / "a.nbc", "--network", 1, "--model", codec_path)
    note, _ = capsys.readouterr().out.splitlines()
    assert note.startswith("Its color profile is left out")


def test_standard_streams(codec, codec_path, loaded, monkeypatch):
    """Images by content, PNG on the way out; what is said goes to stderr then."""
    pixels, model = picture(40, 50), ("--model", codec_path)

    def piped(data, *arguments):
        streams = [io.TextIOWrapper(io.BytesIO(given)) for given in (data, b"", b"")]
        for name, stream in zip(("stdin", "stdout", "stderr"), streams):
            monkeypatch.setattr(sys, name, stream)
        run(monkeypatch, *arguments)
        for stream in streams[1:]:
            stream.flush()
        return streams[1].buffer.getvalue(), streams[2].buffer.getvalue().decode()

    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {})):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, **options)
        data, said = piped(stream.getvalue(), "encode", "-", "-", "--network", 2, *model)
        assert data == encode(codec, pixels, network=2)[0] and f"-: {len(data)} bytes" in said
    image, said = piped(data, "decode", "-", "-", *model)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(image))), decode(codec, data))
    assert image.startswith(b"\x89PNG") and "50 × 40 pixels" in said
    printed, _ = piped(data, "info", "-", *model)
    assert b"50 \xc3\x97 40 pixels" in printed


def test_coding_loads_no_framework(tmp_path):
    """In a fresh process with the codec that ships, from the import of the command to files that are written."""
    program = (
        "import sys; from neural_compression import codec\n"
        "for arguments in sys.argv[1].split(';'):\n"
        "    sys.argv = ['codec', *arguments.split()]; codec.main()\n"
        "print('loaded', sorted({'keras', 'tensorflow', 'jax', 'torch', 'pandas'} & set(sys.modules)))"
    )
    cv2.imwrite(str(tmp_path / "in.png"), picture(40, 40))
    commands = "encode in.png a.nbc;info a.nbc;decode a.nbc out.png"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    printed = subprocess.run(
        [sys.executable, "-c", program, commands], cwd=tmp_path, env=environment, check=True, capture_output=True
    ).stdout.decode()
    assert printed.splitlines()[-1] == "loaded []" and (tmp_path / "out.png").exists()
