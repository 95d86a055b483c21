"""Whole files: what was encoded is decoded bit by bit, targets are met, and nothing else is taken for a file."""

import struct
import time
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_compression.bitstream import container
from neural_compression.bitstream.bit_model import BitModel
from neural_compression.codec import decode, encode
from neural_compression.encoder import block_versions
from neural_compression.encoder.rate_control import quality_for
from neural_compression.encoder.session import EncodeSession
from neural_compression.evaluation.rate_distortion import dataset_psnr, squared_error
from tests.neural_compression.small_codec import picture, save_codec


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return save_codec(tmp_path_factory.mktemp("plain") / "codec.npz", deblocking=False)


def check(codec, image, **options):
    data, encoded = encode(codec, image, **options)
    decoded = decode(codec, data)
    assert decoded.dtype == np.uint8 and decoded.shape == image.shape
    np.testing.assert_array_equal(decoded, encoded.reconstruction)
    assert encoded.bits_per_pixel == 8 * len(data) / (image.shape[0] * image.shape[1])
    if image.ndim == 3:
        assert encoded.psnr == dataset_psnr([squared_error(image, decoded)], [image.size])
    return data, encoded


@pytest.mark.parametrize("mode", ["context", "publication"])
@pytest.mark.parametrize("size", [(1, 1), (31, 33), (32, 32), (100, 70)])
def test_files_come_back(codec, mode, size):
    for channels in (0, 3):
        image = picture(*size, channels=channels)
        _, encoded = check(codec, image, network=2, mode=mode)
        assert (encoded.networks == 2).all()
        check(codec, image, target_psnr=7.0, selection="publication", mode=mode)


@settings(deadline=None, max_examples=12)
@given(height=st.integers(1, 140), width=st.integers(1, 140), seed=st.integers(0, 99), gray=st.booleans())
def test_any_size_comes_back(codec, height, width, seed, gray):
    image = picture(height, width, seed, 0 if gray else 3)
    check(codec, image, network=seed % 3, mode=("context", "publication")[seed % 2])


@pytest.mark.parametrize("selection", ["lagrangian", "publication"])
@pytest.mark.parametrize("mode", ["context", "publication"])
def test_the_file_has_the_target_rate(plain, selection, mode):
    image = picture(380, 420)
    low, high = (check(plain, image, network=n, mode=mode)[1].bits_per_pixel for n in (0, 2))
    target = (low + high) / 2
    _, encoded = check(plain, image, target_bpp=target, selection=selection, mode=mode, escape=False)
    assert len(np.unique(encoded.networks)) > 1
    assert 0.97 * target <= encoded.bits_per_pixel <= target


def test_the_size_of_a_file_is_known_before_it_is_written(plain):
    image = picture(380, 420)
    codes = EncodeSession(plain, image, "context").versions.codes
    shares = [np.clip(c.mean((0, 1)), 0.01, 0.99) for c in codes]
    biases = [np.rint(64 * np.log(share / (1 - share))).astype(int) for share in shares]
    bits = [BitModel(*np.zeros((3, len(bias), len(bias)), int), bias) for bias in biases]
    session = EncodeSession(replace(plain, bit_models=bits), image, "context")
    networks = np.random.default_rng(0).integers(0, 3, codes[0].shape[:2]).astype(np.uint8)
    size = session.expected(networks) * image[..., 0].size / 8
    assert size - 1 <= len(session.file(networks)) <= size + 8


def test_the_lagrangian_choice_beats_the_publications_at_one_rate(plain):
    image = picture(380, 420)
    rate = np.mean([encode(plain, image, network=n)[1].bits_per_pixel for n in (0, 2)])
    other = encode(plain, image, target_bpp=rate, selection="publication")[1]
    ours = encode(plain, image, target_bpp=1.01 * other.bits_per_pixel, escape=False)[1]
    assert ours.bits_per_pixel <= 1.01 * other.bits_per_pixel and ours.psnr > other.psnr


@pytest.mark.parametrize("deblocking", [False, True])
def test_the_image_has_the_target_psnr(codec, plain, deblocking):
    image, used = picture(200, 230), codec if deblocking else plain
    target = np.mean([encode(used, image, target_bpp=rate, escape=False)[1].psnr for rate in (1e-3, 9.0)])
    _, encoded = check(used, image, target_psnr=target, escape=False)
    assert target <= encoded.psnr < target + 0.3


def test_a_file_is_written_whatever_the_target(codec):
    """The smallest one above a ceiling, the best one below a floor; a ceiling far above is met."""
    image = picture(64, 64)
    ends = [check(codec, image, target_bpp=rate, escape=False)[1] for rate in (1e-3, 9.0)]
    assert ends[0].bits_per_pixel < ends[1].bits_per_pixel and ends[1].missed == ""
    rate = f"{ends[0].bits_per_pixel:.4g}"
    assert ends[0].missed == f"the smallest file takes {rate} bits per pixel, above the 0.001 that it may have"
    _, best = check(codec, image, target_psnr=60.0, escape=False)
    assert best.missed == f"the best file has {best.psnr:.2f} dB, below the 60 that it should have"
    assert check(codec, image, target_psnr=50.0)[1].missed == ""  # with escape blocks
    assert check(codec, image, target_psnr=1.0)[1].missed == check(codec, image, network=1)[1].missed == ""


def test_optimized_codes_are_better(plain, monkeypatch):
    monkeypatch.setattr(block_versions, "STEPS", 5)
    image = picture(64, 64)
    before = check(plain, image, network=1)[1].psnr
    for how in ("code", "encoder"):
        assert check(plain, image, network=1, optimize=how)[1].psnr > before


@pytest.mark.parametrize("mode", ["context", "publication"])
def test_optimized_codes_are_chosen_by_what_they_take(plain, monkeypatch, mode):
    """In place of an optimization, all bits become 0. Written in another way, they take other bits."""
    monkeypatch.setattr(block_versions, "search_codes", lambda *arguments: np.zeros(arguments[3].shape, np.uint8))
    session = EncodeSession(plain, picture(64, 50), "context").with_mode(mode)
    session.optimize(0.0, "code", None)
    networks = np.array([[0, 1], [1, 2]], np.uint8)
    zeros = [np.full((4, length), -1, np.int8) for length in (8, 16, 24)]
    none = [0 * own for own in zeros]
    alone = [m.costs(own, no, no)[0] for m, own, no in zip(plain.bit_models, zeros, none)]
    if mode == "publication":  # one share of changes, none of them seen: 1 / 2 of (4 K + 1) bits
        alone = [-length * np.log2(1 - 0.5 / (4 * length + 1)) for length in (8, 16, 24)]
    bits = alone[0] + 2 * alone[1] + alone[2]  # no two neighbors have the same network
    header = len(session.file(networks)) - len(container.unpack(session.file(networks)).image_code)
    assert session.expected(networks) * 64 * 50 == pytest.approx(8 * header + bits)


@pytest.mark.parametrize(
    "options, weight, only",
    [
        ({"network": 1}, 0.0, 1),
        ({"target_psnr": 7.0, "selection": "publication"}, 0.0, None),
        ({"target_bpp": 0.02}, "of the target", None),
        ({"target_bpp": 9.0}, np.exp(-5), None),  # out of reach before, perhaps not with the optimized codes
        ({"target_bpp": 1e-6}, np.exp(25), None),
    ],
)
def test_optimization_weighs_bits_as_the_choice_does(plain, monkeypatch, options, weight, only):
    class OptimizedError(Exception):
        pass

    def optimize(self, *arguments):
        calls.append(arguments)
        raise OptimizedError

    image, calls = picture(200, 230), []
    if weight == "of the target":
        session = EncodeSession(plain, image, "context")
        weight = float(np.exp(quality_for(session, "lagrangian", None, 0.02)))
    monkeypatch.setattr(EncodeSession, "optimize", optimize)
    for how in ("code", "encoder"):
        with pytest.raises(OptimizedError):
            encode(plain, image, optimize=how, escape=False, **options)
    assert calls == [(pytest.approx(weight), how, only) for how in ("code", "encoder")]
    if options.get("target_bpp", 0.02) == 0.02:
        encode(plain, image, **options)  # "off" optimizes nothing


@pytest.mark.parametrize(
    ("image", "options", "sentence"),
    [
        (np.zeros((4, 4, 3), np.uint16), {}, "8 bits a sample are coded, the image has uint16; convert"),
        (np.zeros((4, 4, 4), np.uint8), {}, "the image has an alpha channel; remove it"),
        (np.zeros((4, 0, 3), np.uint8), {}, r"must be \(H, W, 3\) or \(H, W\), the image has \(4, 0, 3\)"),
        (np.zeros(4, np.uint8), {}, r"the image has \(4,\)"),
        (np.zeros((1, 65536), np.uint8), {}, "Height and width must be from 1 to 65535"),
        (None, {"network": 1.0}, "network must be a whole number from 0 to 2, got 1.0"),
        (None, {"network": 3}, r"network .* from 0 to 2, got 3; the code lengths are \(8, 16, 24\)"),
        (None, {"target_bpp": 0.1}, "takes one of .* got target_bpp and network; pass one"),
        (None, {"network": None}, "got none; pass one"),
        (None, {"network": None, "target_psnr": float("nan")}, "target_psnr must be a number above zero, got nan"),
        (None, {"mode": "zip"}, "mode must be one of .*context.*, got 'zip'; choose one"),
        (None, {"optimize": "all"}, "optimize must be one of"),
        (None, {"selection": "best"}, "selection must be one of"),
    ],
)
def test_bad_input_is_named(codec, image, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        encode(codec, picture(8, 8) if image is None else image, **{"network": 0, **options})


def test_foreign_and_damaged_files_are_refused(codec, plain):
    data = encode(codec, picture(100, 70), network=1)[0]
    other_version = data[:3] + b"\1" + data[4:]
    for bad, sentence in (
        (b"", "The file is empty; write it again"),
        (b"\x89PNG\r\n\x1a\n" + bytes(80), "that pack wrote"),
        (other_version, "version 2 are read, got version 1"),
        (data[:-1], "damaged or cut short"),
        (data[:12], "ends within its header"),
        (data[:30] + bytes([data[30] ^ 4]) + data[31:], "damaged"),
        (encode(plain, picture(9, 9), network=0)[0], "needs model"),
    ):
        with pytest.raises(ValueError, match=sentence) as caught:
            decode(codec, bad)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["context", "publication"])
def test_mutated_files_raise_nothing_but_value_errors(codec, mode):
    """Half of them with a checksum that fits, as a forger would."""
    random, (data, _) = (
        np.random.default_rng(5),
        encode(codec, picture(150, 130), target_psnr=6.0, mode=mode, selection="publication"),
    )
    refused = 0
    for i in range(300):
        content = bytearray(data[:-4])
        for _ in range(random.integers(1, 4)):
            kind, at = random.integers(3), int(random.integers(len(content)))
            if kind == 0:
                content[at] = random.integers(256)
            elif kind == 1:
                del content[at : at + random.integers(1, 9)]
            else:
                content[at:at] = random.bytes(random.integers(1, 9))
        bad = bytes(content) + (struct.pack("<I", zlib.crc32(content)) if i % 2 else data[-4:])
        begin = time.process_time()
        try:
            image = decode(codec, bad, max_pixels=2**18)
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert image.dtype == np.uint8
        assert time.process_time() - begin < 3
    assert refused >= 150
