"""Classical codecs as their files, and the bisection to a rate."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from sklearn.datasets import load_sample_image

from neural_compression.evaluation.classical import Codec, at_rate, heif_container, installed, points_at

CODECS, _ = installed()


@pytest.fixture(scope="module")
def images():
    """Two crops of different, odd sizes."""
    photograph = load_sample_image("china.jpg")
    return [photograph[:127, :191], photograph[200:296, 300:433]]


def counting(container=lambda file: 0):
    """A codec whose file is `setting` bytes and whose every sample is 1 off; it counts its calls."""
    calls = []

    def encode(image, setting):
        calls.append(setting)
        return bytes([len(image)]) * setting

    def decode(file):
        return np.full((file[0], 8, 3), 101, "uint8")

    return Codec("counting", range(1, 1001), encode, decode, container), calls


def test_bisection_by_hand():
    """Two images of 64 pixels: s bytes each are s / 8 bits per pixel, so 2.5 lies at 20 and 2.51 between 20 and 21."""
    codec, calls = counting()
    flat = [np.full((8, 8, 3), 100, "uint8")] * 2
    bracket = at_rate(codec, flat, 2.51)
    assert (bracket.below.setting, bracket.above.setting) == (20, 21)
    assert (bracket.below.bits_per_pixel, bracket.above.bits_per_pixel) == (2.5, 2.625)
    assert bracket.interpolated.bits_per_pixel == 2.51 and bracket.interpolated.setting is None
    assert bracket.interpolated.dataset_psnr == pytest.approx(20 * np.log10(255))
    assert len(calls) <= 2 * 10 and len(calls) == 2 * len(set(calls))  # each setting once: log2 of a thousand
    assert at_rate(codec, flat, 2.5).below.setting == 20  # "not above" allows equality
    lighter, _ = counting(container=lambda file: 10)
    assert at_rate(lighter, flat, 2.5).below.setting == 30


def test_unreachable_rates_are_named():
    codec, _ = counting()
    flat = [np.full((8, 8, 3), 100, "uint8")]
    with pytest.raises(ValueError, match="counting does not reach 0.1 bits .* lowest setting 1 gives 0.1250; choose"):
        at_rate(codec, flat, 0.1)
    with pytest.raises(ValueError, match="does not reach 125 bits .* its highest setting 1000 gives 125.0000"):
        at_rate(codec, flat, 125)


@pytest.mark.parametrize("name", CODECS)
def test_neighbors_bracket_the_target(name, images, tmp_path):
    """Their points are those of the files, by Pillow from real ones, image by image."""
    codec = CODECS[name]
    bracket = at_rate(codec, images, 0.6)
    assert bracket.below.bits_per_pixel <= 0.6 < bracket.above.bits_per_pixel
    places = [codec.settings.index(p.setting) for p in (bracket.below, bracket.above)]
    assert places[1] - places[0] == 1
    assert bracket.below.dataset_psnr <= bracket.interpolated.dataset_psnr <= bracket.above.dataset_psnr
    for neighbor in (bracket.below, bracket.above):
        assert_point_of_the_files(neighbor, codec, images, tmp_path / "file")


def assert_point_of_the_files(point, codec, images, path):
    size, errors = 0, []
    for image in images:
        path.write_bytes(codec.encode(image, point.setting))
        size += path.stat().st_size - codec.container(path.read_bytes())
        if "HEVC" in codec.name:
            decoded = codec.decode(path.read_bytes())
        else:
            with Image.open(path) as file:
                assert file.mode == "RGB" and file.size == image.shape[1::-1]
                decoded = np.asarray(file)
        errors.append(np.sum((image / 1.0 - decoded) ** 2))
    samples = [image.size for image in images]
    assert point.bits_per_pixel == 8 * size / (sum(samples) / 3)
    assert point.dataset_psnr == pytest.approx(20 * np.log10(255) - 10 * np.log10(sum(errors) / sum(samples)))
    assert point.mean_psnr == pytest.approx(np.mean(20 * np.log10(255) - 10 * np.log10(np.divide(errors, samples))))


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("shape", [(1, 1), (33, 7)])
def test_small_and_odd_sizes(name, shape, images):
    image = images[0][: shape[0], : shape[1]]
    assert CODECS[name].decode(CODECS[name].encode(image, CODECS[name].settings[-1])).shape == image.shape


def test_jpeg_is_the_recipe(images, tmp_path):
    """4:2:0 and optimized Huffman tables, not progressive."""
    path = tmp_path / "a.jpg"
    Image.fromarray(images[0]).save(path, quality=40, optimize=True, subsampling=2)
    assert CODECS["JPEG"].encode(images[0], 40) == path.read_bytes()
    with Image.open(path) as file:
        assert [layer[1:3] for layer in file.layer] == [(2, 2), (1, 1), (1, 1)] and "progressive" not in file.info


@pytest.mark.parametrize(
    "name, settings, setting, file_format, options",
    [
        ("WebP", range(101), 30, "WEBP", {"quality": 30, "method": 6}),
        (
            "JPEG 2000",
            range(2000, 0, -1),
            50,
            "JPEG2000",
            {"quality_layers": [50], "quality_mode": "rates", "irreversible": True, "mct": 1},
        ),
        ("AVIF", range(101), 30, "AVIF", {"quality": 30, "speed": 6, "subsampling": "4:2:0"}),
        (
            "AVIF 4:4:4, tuned",
            range(101),
            30,
            "AVIF",
            {"quality": 30, "speed": 4, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}},
        ),
    ],
)
def test_other_codecs_are_their_recipes(images, tmp_path, name, settings, setting, file_format, options):
    if name not in CODECS:
        pytest.skip(f"this Pillow has no {name}")
    assert CODECS[name].settings == settings and CODECS["JPEG"].settings == range(1, 96)
    path, image = tmp_path / "a", images[0][:64, :64]
    Image.fromarray(image).save(path, file_format, **options)
    assert CODECS[name].encode(image, setting) == path.read_bytes()


def test_codecs_with_the_same_files_write_each_once(images):
    """Half of a file of s bytes counts for the second: 8 s and 4 s bits for 64 pixels, so 2 bits are at 16 and 32."""
    codec, calls = counting()
    other = replace(codec, name="half", container=lambda file: len(file) // 2)
    points = points_at({"whole": codec, "half": other}, [np.full((8, 8, 3), 100, "uint8")], (0.01, 2.0))
    assert {name: [p.bits_per_pixel for p in line] for name, line in points.items()} == {"whole": [2.0], "half": [2.0]}
    assert {16, 32} < set(calls) and len(calls) == len(set(calls))


@pytest.mark.skipif("JPEG XL" not in CODECS, reason="pillow-jxl-plugin is not installed")
def test_jpeg_xl_is_its_recipe(images, tmp_path):
    image, path = images[0][:64, :64], tmp_path / "a.jxl"
    Image.fromarray(image).save(path, quality=30, effort=9)
    assert CODECS["JPEG XL"].encode(image, 30) == path.read_bytes() and CODECS["JPEG XL"].settings == range(100)


@pytest.mark.skipif("HEVC intra" not in CODECS, reason="pillow-heif is not installed")
def test_hevc_is_its_recipe(images, tmp_path):
    import pillow_heif

    image, path = images[0][:64, :64], tmp_path / "a.heif"
    parameters = {"preset": "slow", "tune": "psnr"}
    pillow_heif.from_pillow(Image.fromarray(image)).save(path, quality=30, chroma=420, enc_params=parameters)
    assert CODECS["HEVC intra"].encode(image, 30) == path.read_bytes() and CODECS["HEVC intra"].settings == range(101)


def test_container_of_a_heif_file():
    """Boxes of 12 and 8 bytes, and one `mdat` whose 5 of 13 bytes are the coded image."""
    boxes = b"\0\0\0\x0cftypmif1" + b"\0\0\0\x08free" + b"\0\0\0\x0dmdatimage"
    assert heif_container(boxes) == 12 + 8 + 8
    for damaged in (boxes[:-1], boxes[:-13] + b"\0\0\0\x07mdatimage"):
        with pytest.raises(ValueError, match="Expected a HEIF file of boxes, got a box b'mdat' of .* at byte 20 of"):
            heif_container(damaged)


@pytest.mark.skipif("HEVC intra" not in CODECS, reason="pillow-heif is not installed")
def test_container_is_all_that_two_variants_differ_by(images):
    whole, bare = (CODECS[name] for name in ("HEVC intra", "HEVC intra, no container"))
    for image in images:
        file = whole.encode(image, 30)
        assert bare.encode(image, 30) == file and whole.container(file) == 0 and 350 < bare.container(file) < 450
        np.testing.assert_array_equal(whole.decode(file), bare.decode(file))


def test_missing_codecs_are_left_out_with_a_sentence(monkeypatch):
    monkeypatch.setattr(features, "check", lambda feature: feature not in ("avif", "jpg_2000"))
    for module in ("pillow_jxl", "pillow_heif"):
        monkeypatch.setitem(sys.modules, module, None)
    codecs, missing = installed()
    assert list(codecs) == ["JPEG", "WebP"]
    assert missing == [
        "JPEG 2000 left out: this Pillow was built without jpg_2000; install its wheel from PyPI.",
        "AVIF and AVIF 4:4:4, tuned left out: this Pillow was built without avif; install its wheel from PyPI.",
        "JPEG XL left out: pillow-jxl-plugin is not installed; install requirements-codecs.txt.",
        "HEVC intra left out: pillow-heif is not installed; install requirements-codecs.txt.",
    ]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "Expected at least one image to code, got none"),
        ([np.zeros((4, 4, 3), "uint8"), np.zeros((4, 4), "uint8")], "got \\(4, 4\\) uint8 as number 1; convert"),
        ([np.zeros((4, 4, 3))], "got \\(4, 4, 3\\) float64 as number 0"),
    ],
)
def test_bad_input_is_named(images, message):
    with pytest.raises(ValueError, match=message):
        at_rate(CODECS["JPEG"], images, 5)


@pytest.mark.real_data
@pytest.mark.skipif("IMAGE_EMBEDDINGS_DATA" not in os.environ, reason="IMAGE_EMBEDDINGS_DATA is not set")
def test_kodak():
    """The neighbors at 0.148 bits per pixel, and the PSNRs that the README compares with."""
    paths = sorted((Path(os.environ["IMAGE_EMBEDDINGS_DATA"]) / "kodak").glob("*.png"))
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    assert sum(image.size for image in images) == 24 * 768 * 512 * 3
    bracket = at_rate(CODECS["JPEG"], images, 0.148)
    assert (bracket.below.setting, bracket.above.setting) == (5, 6)
    assert bracket.below.bits_per_pixel == pytest.approx(0.1408, abs=1e-3)
    assert bracket.interpolated.dataset_psnr == pytest.approx(23.86, abs=0.1)
    assert bracket.interpolated.mean_psnr == pytest.approx(24.13, abs=0.1)
    ratio = at_rate(CODECS["JPEG 2000"], images, 0.150).below
    assert ratio.setting == pytest.approx(160, abs=2)  # 24 bits a pixel by 0.150
    assert ratio.dataset_psnr == pytest.approx(26.2, abs=0.1)
