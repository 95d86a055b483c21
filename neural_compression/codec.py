"""Images to files `.nbc` of few bytes, and back.

python -m PROJECT.codec encode IMAGE FILE [--target-psnr 30 | --target-bpp 0.15]
python -m PROJECT.codec decode FILE IMAGE
python -m PROJECT.codec info FILE

«-» in place of a path is stdin or stdout. None of this loads a framework, unless codes are optimized.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from common.experiments.config import run_command
from common.files import replacing

from . import image_files
from .bitstream import container
from .coding import Encoded, decode, encode, networks_of
from .config import MODEL, Optimize, Selection
from .encoder.block_versions import Mode
from .image_files import STANDARD
from .networks.codec_file import TrainedCodec, identity, load

__all__ = ["MODEL", "Encoded", "decode", "encode"]

DEFAULT_BPP = 0.15  # about where the publication compares codecs


@dataclass(frozen=True)
class Encode:
    """Writes the file of an image; a target that no file can meet is met as nearly as one can."""

    image: tyro.conf.Positional[Path]  # 8 bits a sample, without transparency; - is stdin
    file: tyro.conf.Positional[Path]  # to write; - is stdout
    model: Path = MODEL  # trained codec
    target_psnr: float | None = None  # dB that the decoded image has at least
    target_bpp: float | None = None  # bits per pixel that the file takes at most; 0.15 if no target is given
    network: int | None = None  # code all blocks with this network, from 0 on
    selection: Selection = "lagrangian"  # how each block's network is chosen
    optimize: Optimize = "off"  # change the codes of blocks, which takes minutes
    mode: Mode = "context"  # how codes are written
    escape: bool = True  # code blocks without a network where that is better
    overwrite: bool = False  # replace a file that is there

    def run(self) -> None:
        _check_output(self.file, self.overwrite, self.image, self.model)
        codec, (image, notes), begin = _load(self.model), image_files.read_pixels(self.image), time.perf_counter()
        options = {
            name: getattr(self, name)
            for name in ("target_psnr", "target_bpp", "network", "selection", "optimize", "mode", "escape")
        }
        if self.target_psnr is None and self.target_bpp is None and self.network is None:
            options["target_bpp"] = DEFAULT_BPP
        data, encoded = encode(codec, image, **options)
        quality = f"PSNR {encoded.psnr:.2f} dB" if encoded.psnr < np.inf else "without any error"
        results = [
            f"{self.file}: {len(data)} bytes, {encoded.bits_per_pixel:.4f} bits per pixel, {quality}, "
            f"{time.perf_counter() - begin:.1f} s",
            *([encoded.missed] if encoded.missed else []),
            _shares(codec.code_lengths, encoded.networks),
        ]
        _write(self.file, data)
        _say(self.file, *notes, f"{'; '.join(results)}.")


@dataclass(frozen=True)
class Decode:
    """Writes the image of a file, in the format of its suffix."""

    file: tyro.conf.Positional[Path]  # that encode wrote; - is stdin
    image: tyro.conf.Positional[Path]  # to write; - is stdout, as PNG
    model: Path = MODEL  # the codec that encoded it
    overwrite: bool = False  # replace an image that is there

    def run(self) -> None:
        _check_output(self.image, self.overwrite, self.file, self.model)
        image_files.check_format(self.image)
        data, codec, begin = image_files.read_bytes(self.file), _load(self.model), time.perf_counter()
        image = decode(codec, data)
        if self.image == STANDARD:
            _write(self.image, image_files.png(image))
        else:
            with replacing(self.image) as temporary:
                image_files.write_pixels(temporary, image)
        height, width = image.shape[:2]
        _say(self.image, f"{self.image}: {width} × {height} pixels, {time.perf_counter() - begin:.1f} s.")


@dataclass(frozen=True)
class Info:
    """Prints what a file holds; the share of each network needs the codec."""

    file: tyro.conf.Positional[Path]  # that encode wrote; - is stdin
    model: Path | None = None  # the codec that encoded it; default: the shipped one, if there is one

    def run(self) -> None:
        data = image_files.read_bytes(self.file)
        parts = container.unpack(data)
        pixels = parts.height * parts.width
        sizes = len(parts.indicators), len(parts.image_code), len(parts.escape or b"")
        print(
            f"{self.file}: {parts.width} × {parts.height} pixels, {'gray' if parts.gray else 'RGB'}, mode {parts.mode}"
        )
        print(f"{len(data)} bytes, {8 * len(data) / pixels:.4f} bits per pixel, model {parts.fingerprint.hex()}")
        print(
            f"bits: {8 * (len(data) - sum(sizes))} header, {8 * sizes[0]} networks, {8 * sizes[1]} codes, "
            f"{8 * sizes[2]} escape blocks"
        )
        if self.model is None and not MODEL.exists():
            return
        code_lengths, fingerprint = identity(self.model or MODEL)
        container.unpack(data, fingerprint)
        print(_shares(code_lengths, networks_of(code_lengths, parts)))


def _shares(code_lengths: Sequence[int], networks: np.ndarray) -> str:
    number = len(code_lengths)
    shares = np.bincount(np.minimum(networks, number).ravel(), minlength=number + 1) / networks.size
    texts = [f"{100 * share:.0f} % with {length} bits" for share, length in zip(shares, code_lengths)]
    return f"blocks: {', '.join([*texts, f'{100 * shares[number]:.0f} % without a network'])}"


def _load(path: Path) -> TrainedCodec:
    if path == MODEL and not path.exists():
        raise ValueError(f"No codec ships here, as {path} does not exist; pass --model, the file of a trained codec.")
    return load(path)


def _check_output(path: Path, overwrite: bool, *inputs: Path) -> None:
    """Before anything that takes long."""
    if path == STANDARD:
        return
    if not path.parent.is_dir():
        raise ValueError(f"{path} cannot be written, as its folder does not exist; make it, or choose another.")
    if not path.exists():
        return
    if not path.is_file():  # a folder, or a device, whose place a file would take
        raise ValueError(f"{path} exists and is no regular file; choose another path, or - for stdout.")
    if any(other.exists() and path.samefile(other) for other in inputs):  # by a link or another spelling too
        raise ValueError(f"{path} is read by this very command, so it cannot be replaced; choose another path.")
    if not overwrite:
        raise ValueError(f"{path} exists; pass --overwrite to replace a file, or choose another path.")


def _write(path: Path, data: bytes) -> None:
    if path == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def _say(output: Path, *sentences: str) -> None:
    """On stderr where stdout has the data."""
    print(*sentences, sep="\n", file=sys.stderr if output == STANDARD else sys.stdout)


def main() -> None:
    """Command line."""
    tyro.cli(Encode | Decode | Info).run()


if __name__ == "__main__":
    run_command(main)
