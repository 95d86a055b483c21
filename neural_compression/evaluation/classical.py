"""The codecs that a learned one is judged against: JPEG, JPEG XL, JPEG 2000, WebP, AVIF and HEVC intra, as their files.

All come with Pillow but JPEG XL and HEVC intra, the successor of BPG, whose wheel bundles x265 (GPL-2): they are in
requirements-codecs.txt, apart from the others.
"""

import bisect
import contextlib
import functools
import hashlib
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features
from tqdm import tqdm

from common.experiments.identity import cached_json

from ..paper_results import TARGET_BPP
from .rate_distortion import Point, interpolated, point

_RATES = (0.03, 0.06, 0.12, TARGET_BPP, 0.18, 0.25, 0.4, 0.65, 1.0)  # bits per pixel, of the points of `curves`


def _no_container(file: bytes) -> int:
    return 0


@dataclass(frozen=True)
class Codec:
    """A codec whose rate follows from one integer.

    Args:
        name: for tables and legends.
        settings: the integers it knows, from its lowest rate to its highest.
        encode: image (H, W, 3) uint8 RGB, setting -> the whole file.
        decode: file -> image (H, W, 3) uint8 RGB.
        container: file -> its bytes that do not count towards the rate.
    """

    name: str
    settings: range
    encode: Callable[[np.ndarray, int], bytes]
    decode: Callable[[bytes], np.ndarray]
    container: Callable[[bytes], int] = _no_container


@dataclass(frozen=True)
class Bracket:
    """A codec around a rate.

    Args:
        below: the highest setting whose rate is not above the target.
        above: the next setting.
        interpolated: between the two at exactly the target.
    """

    below: Point
    above: Point
    interpolated: Point


def installed() -> tuple[dict[str, Codec], list[str]]:
    """Codecs by name, and a sentence for each that this computer lacks."""
    codecs, missing = [], []
    for feature, makers in _PILLOW.items():
        if features.check(feature):
            codecs += [make() for make in makers]
        else:
            names = " and ".join(make().name for make in makers)
            missing.append(f"{names} left out: this Pillow was built without {feature}; install its wheel from PyPI.")
    try:
        import pillow_jxl  # noqa: F401, teaches Pillow the format
    except ImportError:
        missing.append("JPEG XL left out: pillow-jxl-plugin is not installed; install requirements-codecs.txt.")
    else:
        codecs.append(_jpeg_xl())
    try:
        import pillow_heif
    except ImportError:
        missing.append("HEVC intra left out: pillow-heif is not installed; install requirements-codecs.txt.")
    else:
        codecs += _hevc(pillow_heif)
    return {codec.name: codec for codec in codecs}, missing


def at_rate(codec: Codec, images: Sequence[np.ndarray], bits_per_pixel: float) -> Bracket:
    """The two neighboring settings around a rate over all images, by bisection, and the point between them.

    Where the rate does not rise with every setting, the two are still neighbors on both sides of the target.

    Args:
        codec: to measure.
        images: (H, W, 3) uint8 RGB, sizes may differ.
        bits_per_pixel: target.

    Raises:
        ValueError: no images, one that is not such an array, or a rate that the codec does not reach.
    """
    _check(images)
    return _bracket(codec, images, bits_per_pixel, functools.cache(lambda setting: _encoded(codec, images, setting)))


def points_at(
    codecs: Mapping[str, Codec], images: Sequence[np.ndarray], rates: Sequence[float]
) -> dict[str, list[Point]]:
    """Codec -> the points of its curve at exactly those of the rates, in bits per pixel, that it reaches."""
    _check(images)
    # Codecs that differ in what counts of a file share the files.
    files = {c.encode: functools.cache(functools.partial(_encoded, c, images)) for c in codecs.values()}
    points: dict[str, list[Point]] = {name: [] for name in codecs}
    for (name, codec), rate in itertools.product(codecs.items(), rates):
        with contextlib.suppress(ValueError):
            points[name].append(_bracket(codec, images, rate, files[codec.encode]).interpolated)
    return points


def curves(images: Sequence[np.ndarray], folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Codec -> its points at those of nine rates that it reaches; cached in `folder` for these images."""

    def make() -> dict[str, Any]:
        codecs, missing = installed()
        for sentence in missing:
            print(sentence)
        points = points_at(codecs, images, _RATES)
        return {"codecs": {name: [asdict(p) for p in line] for name, line in points.items()}}

    return cached_json(folder / f"classical-{_digest(images)}.json", [], __name__, make)["codecs"]


def psnrs_at(
    codecs: Mapping[str, Codec], images: Sequence[np.ndarray], bits_per_pixel: float
) -> dict[str, list[float | None]]:
    """Codec -> the PSNR in dB of each image where its own file has a rate, between two settings; None if it has not."""
    psnrs: dict[str, list[float | None]] = {name: [] for name in codecs}
    for image in tqdm(images, "equal rates", unit="image", delay=2, leave=False):
        for name, points in points_at(codecs, [image], [bits_per_pixel]).items():
            psnrs[name].append(round(points[0].dataset_psnr, 3) if points else None)
    return psnrs


def equal_rates(images: Sequence[np.ndarray], folder: Path) -> dict[str, list[float | None]]:
    """Codec -> its `psnrs_at` the rate of Table 4.3; cached in `folder` for these images."""

    def make() -> dict[str, Any]:
        return {"codecs": psnrs_at(installed()[0], images, TARGET_BPP)}

    return cached_json(folder / f"equal-rates-{_digest(images)}.json", [], __name__, make)["codecs"]


def _digest(images: Sequence[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(image).tobytes() for image in images)).hexdigest()[:12]


def _bracket(
    codec: Codec, images: Sequence[np.ndarray], bits_per_pixel: float, files: Callable[[int], list[bytes]]
) -> Bracket:
    """`files` gives those of a setting; other arguments and errors as for `at_rate`."""
    pixels = sum(image.shape[0] * image.shape[1] for image in images)

    def rate(setting: int) -> float:
        return 8 * sum(len(file) - codec.container(file) for file in files(setting)) / pixels

    place = bisect.bisect_right(codec.settings, bits_per_pixel, key=rate)
    if not 0 < place < len(codec.settings):
        end, word = (codec.settings[0], "lowest") if place == 0 else (codec.settings[-1], "highest")
        raise ValueError(
            f"{codec.name} does not reach {bits_per_pixel} bits per pixel on these images: its {word} setting {end} "
            f"gives {rate(end):.4f}; choose a rate within its range."
        )
    below, above = (
        _measured(codec, images, setting, files(setting)) for setting in codec.settings[place - 1 : place + 1]
    )
    return Bracket(below, above, interpolated([below, above], bits_per_pixel))


def _check(images: Sequence[np.ndarray]) -> None:
    if len(images) == 0:
        raise ValueError("Expected at least one image to code, got none; check the folder.")
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"Expected (H, W, 3) uint8 images, got {image.shape} {image.dtype} as number {number}; convert it to "
                "8-bit RGB."
            )


def _encoded(codec: Codec, images: Sequence[np.ndarray], setting: int) -> list[bytes]:
    bar = tqdm(images, f"{codec.name}, setting {setting}", unit="image", delay=2, leave=False)
    return [codec.encode(image, setting) for image in bar]


def _measured(codec: Codec, images: Sequence[np.ndarray], setting: int, files: Sequence[bytes]) -> Point:
    return point(
        setting,
        [len(file) - codec.container(file) for file in files],
        images,
        [codec.decode(file) for file in files],
    )


def _decode(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def _pillow(name: str, file_format: str, settings: range, options: Callable[[int], Mapping[str, Any]]) -> Codec:
    """A codec of Pillow; `options` are those of `Image.save` for a setting."""

    def encode(image: np.ndarray, setting: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, file_format, **options(setting))
        return file.getvalue()

    return Codec(name, settings, encode, _decode)


def _jpeg() -> Codec:
    return _pillow("JPEG", "JPEG", range(1, 96), lambda q: {"quality": q, "optimize": True, "subsampling": "4:2:0"})


def _webp() -> Codec:
    return _pillow("WebP", "WEBP", range(101), lambda q: {"quality": q, "method": 6})


def _jpeg_2000() -> Codec:
    """Its setting is the compression ratio: 24 bits per pixel by the rate."""
    fixed = {"quality_mode": "rates", "irreversible": True, "mct": True}
    return _pillow("JPEG 2000", "JPEG2000", range(2000, 0, -1), lambda ratio: {"quality_layers": [ratio], **fixed})


def _jpeg_xl() -> Codec:
    return _pillow("JPEG XL", "JXL", range(100), lambda q: {"quality": q, "effort": 9})  # 100 is lossless


def _avif() -> Codec:
    return _pillow("AVIF", "AVIF", range(101), lambda q: {"quality": q, "speed": 6, "subsampling": "4:2:0"})


def _avif_psnr() -> Codec:
    fixed = {"speed": 4, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}}
    return _pillow("AVIF 4:4:4, tuned", "AVIF", range(101), lambda q: {"quality": q, **fixed})


# Feature by Pillow's name -> what makes its codecs.
_PILLOW = {"jpg": [_jpeg], "webp": [_webp], "jpg_2000": [_jpeg_2000], "avif": [_avif, _avif_psnr]}


def _hevc(pillow_heif: Any) -> list[Codec]:
    """HEVC intra as a HEIF file, and without the file's container, as BPG, whose header is a few bytes, would count."""

    def encode(image: np.ndarray, setting: int) -> bytes:
        file = io.BytesIO()
        parameters = {"preset": "slow", "tune": "psnr"}
        pillow_heif.from_pillow(Image.fromarray(image)).save(file, quality=setting, chroma=420, enc_params=parameters)
        return file.getvalue()

    def decode(file: bytes) -> np.ndarray:
        return np.asarray(pillow_heif.read_heif(file).to_pillow().convert("RGB"))

    codec = Codec("HEVC intra", range(101), encode, decode)
    return [codec, replace(codec, name="HEVC intra, no container", container=heif_container)]


def heif_container(file: bytes) -> int:
    """Bytes of a HEIF file around the coded image, which is what its boxes `mdat` hold.

    Raises:
        ValueError: the file does not consist of boxes.
    """
    place, content = 0, 0
    while place < len(file):
        size, kind = int.from_bytes(file[place : place + 4], "big"), file[place + 4 : place + 8]
        # Sizes 0 (to the end) and 1 (64 bits) are for files of unknown or of more than 4 GB.
        if size < 8 or place + size > len(file):
            raise ValueError(
                f"Expected a HEIF file of boxes, got a box {kind!r} of {size} bytes at byte {place} of {len(file)}; "
                "encode it again."
            )
        content += (size - 8) * (kind == b"mdat")
        place += size
    return len(file) - content
