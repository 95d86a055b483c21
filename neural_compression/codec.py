"""Images to files `.nbc` of few bytes, and back.

python -m PROJECT.codec encode IMAGE FILE [--target-psnr 30 | --target-bpp 0.15]
python -m PROJECT.codec decode FILE IMAGE
python -m PROJECT.codec info FILE

«-» in place of a path is stdin or stdout. None of this loads a framework, unless codes are optimized.
"""

import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np
import tyro

from common.experiments.config import run_command
from common.files import replacing

from . import image_files
from .bitstream import container, entropy, range_coder
from .encoder.block_versions import Mode
from .encoder.session import EncodeSession, Optimize, Selection, mean_channel, quality_for
from .image_files import STANDARD
from .networks.codec_file import TrainedCodec, load
from .networks.decode import reconstruct

MODEL = Path(__file__).with_name("weights") / "shipped.npz"
DEFAULT_BPP = 0.15  # about where the publication compares codecs


@dataclass(frozen=True)
class Encoded:
    """A coded image.

    Attributes:
        bits_per_pixel: of the whole file.
        networks: (R, C) uint8, of each block.
        target_psnr: as `encode` was given it.
        target_bpp: likewise.
    """

    bits_per_pixel: float
    networks: np.ndarray
    _session: EncodeSession
    target_psnr: float | None = None
    target_bpp: float | None = None

    @cached_property
    def _decoded(self) -> np.ndarray:
        # The decoders run only for who wants the image.
        return self._session.decoded(self.networks)

    @property
    def reconstruction(self) -> np.ndarray:
        """(H, W, 3) or (H, W) uint8, what `decode` gives."""
        return np.ascontiguousarray(self._decoded[..., 0]) if self._session.gray else self._decoded

    @property
    def psnr(self) -> float:
        """dB, of the decoded image's 8-bit samples; infinite without any error."""
        return self._session.psnr(self._decoded)

    @property
    def missed(self) -> str:
        """What the target was missed by, in a sentence; empty where it was not."""
        if self.target_bpp is not None and self.bits_per_pixel > self.target_bpp:
            rate = self.bits_per_pixel
            return f"the smallest file takes {rate:.4g} bits per pixel, above the {self.target_bpp:g} that it may have"
        if self.target_psnr is not None and self.psnr < self.target_psnr:
            return f"the best file has {self.psnr:.2f} dB, below the {self.target_psnr:g} that it should have"
        return ""


def encode(
    codec: TrainedCodec,
    image: np.ndarray,
    *,
    target_psnr: float | None = None,
    target_bpp: float | None = None,
    network: int | None = None,
    selection: Selection = "lagrangian",
    optimize: Optimize = "off",
    mode: Mode = "context",
) -> tuple[bytes, Encoded]:
    """The file of an image, and what is known about it.

    Args:
        codec: that will decode it.
        image: (H, W, 3) RGB or (H, W) gray, uint8.
        target_psnr: dB that the decoded image has at least; with the publication's selection each block, before
            deblocking. Where no choice of networks has it, the best one is taken.
        target_bpp: bits per pixel that the file takes at most. Where no choice takes so few, the smallest is taken.
        network: the one for all blocks, from 0 on. One of these three must be given.
        selection: the publication's takes for each block the shortest code that reaches a PSNR; the Lagrangian one the
            choice with the least squared error + λ · bits over all blocks.
        optimize: "code" changes the bits of blocks before the choice; "encoder" does it by way of the encoder, as the
            publication does.
        mode: how codes are written, with the learned context or as in the publication.

    Raises:
        ValueError: the image or an argument is none of these.
    """
    _check_options(codec, target_psnr, target_bpp, network, (selection, optimize, mode))
    session = EncodeSession(codec, _check_image(image), mode)
    if optimize != "off":
        weight = 0.0
        if selection == "lagrangian" and network is None:
            weight = float(np.exp(quality_for(session, selection, target_psnr, target_bpp)))
        session.optimize(weight, optimize, network)
    if network is not None:
        networks = np.full(session.versions.samples.shape, network, np.uint8)
    elif selection == "publication" and target_psnr is not None:
        networks = session.choose(selection, target_psnr)
    else:
        networks = session.choose(selection, quality_for(session, selection, target_psnr, target_bpp))
    data = session.file(networks)
    return data, Encoded(session.bits_per_pixel(data), networks, session, target_psnr, target_bpp)


def decode(codec: TrainedCodec, data: bytes, max_pixels: int = container.MOST_PIXELS) -> np.ndarray:
    """The image (H, W, 3) RGB, or (H, W) if it was gray, uint8.

    Args:
        codec: that encoded it.
        data: a whole file.
        max_pixels: of whole blocks; a file of a few bytes can claim many.

    Raises:
        ValueError: the file is damaged, foreign, or of another codec.
    """
    parts = container.unpack(data, codec.fingerprint, max_pixels)
    networks = entropy.decode_networks(parts.indicators, parts.grid, len(codec.bit_models))
    if parts.mode == "context":
        codes = entropy.decode_codes(codec.bit_models, networks, parts.image_code)
    else:
        count = int(np.asarray(codec.code_lengths)[networks].sum())
        bits = entropy.decode_difference(parts.image_code, count)
        codes = range_coder.separated(bits, networks, codec.code_lengths)
    image = reconstruct(codec, networks, codes, parts.height, parts.width)
    return mean_channel(image) if parts.gray else image


def _check_options(
    codec: TrainedCodec,
    target_psnr: float | None,
    target_bpp: float | None,
    network: int | None,
    words: tuple[str, str, str],
) -> None:
    targets = {"target_psnr": target_psnr, "target_bpp": target_bpp, "network": network}
    given = [name for name, value in targets.items() if value is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        raise ValueError(f"Encoding takes one of target_psnr, target_bpp and network, got {got}; pass one.")
    target = target_bpp if target_psnr is None else target_psnr
    if target is not None and not 0 < target < np.inf:
        raise ValueError(f"{given[0]} must be a number above zero, got {target}; pass another.")
    if network is not None and not 0 <= network < len(codec.code_lengths):
        raise ValueError(
            f"network must be from 0 to {len(codec.code_lengths) - 1}, got {network}; the code lengths are "
            f"{codec.code_lengths}."
        )
    for name, word, known in zip(("selection", "optimize", "mode"), words, (Selection, Optimize, Mode)):
        if word not in get_args(known):
            raise ValueError(f"{name} must be one of {get_args(known)}, got {word!r}; choose one.")


def _check_image(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise ValueError(f"Images of 8 bits a sample are coded, the image has {image.dtype}; convert it to uint8.")
    if image.ndim == 3 and image.shape[2] in (2, 4):
        raise ValueError("Images without transparency are coded, the image has an alpha channel; remove it.")
    if not image.size or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"Images must be (H, W, 3) or (H, W), the image has {image.shape}; pass RGB or gray.")
    return image


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
    overwrite: bool = False  # replace a file that is there

    def run(self) -> None:
        _check_output(self.file, self.overwrite, self.image, self.model)
        codec, (image, notes), begin = _load(self.model), image_files.read_pixels(self.image), time.perf_counter()
        options = {
            name: getattr(self, name)
            for name in ("target_psnr", "target_bpp", "network", "selection", "optimize", "mode")
        }
        if self.target_psnr is None and self.target_bpp is None and self.network is None:
            options["target_bpp"] = DEFAULT_BPP
        data, encoded = encode(codec, image, **options)
        quality = f"PSNR {encoded.psnr:.2f} dB" if encoded.psnr < np.inf else "without any error"
        results = [
            f"{self.file}: {len(data)} bytes, {encoded.bits_per_pixel:.4f} bits per pixel, {quality}, "
            f"{time.perf_counter() - begin:.1f} s",
            *([encoded.missed] if encoded.missed else []),
            _shares(codec, encoded.networks),
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
        pixels, sizes = parts.height * parts.width, (len(parts.indicators), len(parts.image_code))
        print(
            f"{self.file}: {parts.width} × {parts.height} pixels, {'gray' if parts.gray else 'RGB'}, mode {parts.mode}"
        )
        print(f"{len(data)} bytes, {8 * len(data) / pixels:.4f} bits per pixel, model {parts.fingerprint.hex()}")
        print(f"bits: {8 * (len(data) - sum(sizes))} header, {8 * sizes[0]} networks, {8 * sizes[1]} codes")
        if self.model is None and not MODEL.exists():
            return
        codec = _load(self.model or MODEL)
        container.unpack(data, codec.fingerprint)
        print(_shares(codec, entropy.decode_networks(parts.indicators, parts.grid, len(codec.code_lengths))))


def _shares(codec: TrainedCodec, networks: np.ndarray) -> str:
    shares = np.bincount(networks.ravel(), minlength=len(codec.code_lengths)) / networks.size
    texts = (f"{100 * share:.0f} % with {length} bits" for share, length in zip(shares, codec.code_lengths))
    return f"blocks: {', '.join(texts)}"


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
