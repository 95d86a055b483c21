"""The codec that ships, on images that no network has learned: flat colors, text, drawings, noise, odd sizes."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from neural_compression import codec as command
from neural_compression.bitstream.entropy import decode_codes, encode_codes
from neural_compression.codec import decode, encode
from neural_compression.networks.codec_file import load
from tests.neural_compression.small_codec import picture


@pytest.fixture(scope="module")
def shipped():
    return load(command.MODEL)


def coded(codec, image, **options):
    data, encoded = encode(codec, image, **options)
    np.testing.assert_array_equal(decode(codec, data), encoded.reconstruction)
    return data, encoded


def webp(image, psnr):
    """Bytes of the smallest WebP file with at least this PSNR, of every fifth quality."""
    for quality in range(0, 101, 5):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "WEBP", quality=quality, method=6)
        error = np.square(np.asarray(Image.open(stream).convert("RGB")).astype(float) - image).mean()
        if error <= 255**2 * 10 ** (-psnr / 10):
            return stream.tell()
    return np.inf


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255), (0, 0, 0), (255, 255, 255)])
def test_flat_colors_come_back(shipped, color):
    data, encoded = coded(shipped, np.full((70, 90, 3), color, np.uint8), target_bpp=0.15)
    assert encoded.psnr >= 40 and len(data) < 50


@pytest.mark.parametrize("line", [cv2.LINE_8, cv2.LINE_AA])
def test_text_takes_no_more_than_webp(shipped, line):
    image = np.full((128, 256, 3), 255, np.uint8)
    for row, text in enumerate(("Black text", "on white")):
        cv2.putText(image, text, (10, 50 + 50 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2, line)
    data, encoded = coded(shipped, image, target_psnr=37.0)
    assert encoded.psnr >= 37 and len(data) <= webp(image, 37.0)


def test_drawings_and_gradients(shipped):
    image = np.full((128, 192, 3), 255, np.uint8)
    for i in range(6):
        cv2.line(image, (5, 20 * i), (180, 120 - 15 * i), (20 * i, 0, 255 - 20 * i), 1 + i % 3, cv2.LINE_AA)
    data, encoded = coded(shipped, image, target_psnr=37.0)
    assert encoded.psnr >= 37 and len(data) <= webp(image, 37.0)
    y, x = np.mgrid[:128, :192]
    gradient = np.stack([y, x, 255 - y], -1).astype(np.uint8)
    data, encoded = coded(shipped, gradient, target_psnr=40.0)
    assert encoded.psnr >= 40 and len(data) <= webp(gradient, 40.0)


@pytest.mark.parametrize("kind", ["noise", "photograph"])
def test_a_high_rate_is_used(shipped, kind):
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    image = noise if kind == "noise" else picture(128, 128)
    data, encoded = coded(shipped, image, target_bpp=1.0)
    assert encoded.missed == "" and 0.9 <= encoded.bits_per_pixel <= 1
    assert encoded.psnr > coded(shipped, image, target_bpp=1.0, escape=False)[1].psnr


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (33, 31)])
def test_odd_sizes(shipped, size):
    for image in (picture(*size), picture(*size, channels=0), np.full(size, 255, np.uint8)):
        for options in ({"target_bpp": 0.15}, {"target_psnr": 30.0}):
            _, encoded = coded(shipped, image, **options)
            if "target_psnr" in options:
                assert encoded.psnr >= 30 and encoded.missed == ""
            else:
                assert encoded.bits_per_pixel <= 0.15 or encoded.missed.startswith("the smallest file takes ")


@pytest.mark.parametrize("mode", ["context", "publication"])
def test_escape_blocks_among_others(shipped, mode):
    """A part of a photograph is red: its blocks are exact, and the deblocking network leaves them so."""
    image = picture(96, 128)
    image[32:64, 32:96] = (255, 0, 0)
    _, encoded = coded(shipped, image, target_bpp=0.15, mode=mode)
    assert (encoded.networks[1, 1:3] >= len(shipped.code_lengths)).all()
    assert (encoded.reconstruction[32:64, 32:96] == (255, 0, 0)).all()
    plain = coded(shipped, image, target_bpp=0.15, mode=mode, escape=False)[1]
    assert (plain.networks < len(shipped.code_lengths)).all() and encoded.psnr > plain.psnr + 3


def test_blocks_without_a_code_take_no_bits(shipped):
    """And are none of their neighbors' kind."""
    random = np.random.default_rng(0)
    length, number = shipped.code_lengths[0], len(shipped.code_lengths)
    networks = np.array([[0, number, 0]], np.uint8)
    codes = random.integers(0, 2, (1, 3, length)).astype(np.uint8)
    codes[0, 1] = 0
    data = encode_codes(shipped.bit_models, networks, codes)
    again = decode_codes(shipped.bit_models, networks, data)
    np.testing.assert_array_equal(again[..., :length], codes)
    nothing = np.full((1, 3), number, np.uint8)
    assert encode_codes(shipped.bit_models, nothing, 0 * codes) == b""
    assert not decode_codes(shipped.bit_models, nothing, b"").any()


def test_damaged_escape_blocks_are_refused_or_decode_to_something(shipped):
    """With checksums that fit."""
    image = picture(64, 96)
    image[:, :50] = (0, 255, 0)
    data, random, refused = encode(shipped, image, target_bpp=0.5)[0], np.random.default_rng(0), 0
    for _ in range(60):
        content = bytearray(data[:-4])
        content[int(random.integers(12, len(content)))] = random.integers(256)
        try:
            decode(shipped, bytes(content) + struct.pack("<I", zlib.crc32(content)), max_pixels=2**16)
        except ValueError as error:
            refused += 1
            assert str(error).endswith(".") and "\n" not in str(error)
    assert 0 < refused < 60
