"""An image to the bytes of a file `.nbc`, and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np

from .bitstream import container, entropy, range_coder
from .config import Optimize, Selection
from .encoder.block_versions import Mode
from .encoder.rate_control import networks_for, quality_for
from .encoder.session import EncodeSession, mean_channel
from .networks import escape_transform
from .networks.codec_file import TrainedCodec
from .networks.decode import reconstruct


@dataclass(frozen=True)
class Encoded:
    """A coded image.

    Attributes:
        bits_per_pixel: of the whole file.
        networks: (R, C) uint8, of each block; beyond the last: escape blocks.
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
    escape: bool = True,
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
        escape: whether the Lagrangian selection may code blocks without a network, where that is better.
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
    session = EncodeSession(codec, _check_image(image), mode, escape=escape)
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
        networks = networks_for(session, selection, target_psnr, target_bpp)
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
    networks, number = networks_of(codec.code_lengths, parts), len(codec.bit_models)
    if parts.mode == "context":
        codes = entropy.decode_codes(codec.bit_models, networks, parts.image_code)
    else:
        lengths = [*codec.code_lengths, 0]
        bits = entropy.decode_difference(parts.image_code, int(np.asarray(lengths)[networks].sum()))
        codes = range_coder.separated(bits, networks, lengths)
    escaped = escape_transform.decode(parts.escape or b"", networks == number, parts.step)
    image = reconstruct(codec, networks, codes, parts.height, parts.width, escaped)
    return mean_channel(image) if parts.gray else image


def networks_of(code_lengths: Sequence[int], parts: container.Container) -> np.ndarray:
    """(R, C) uint8 networks of a file's blocks; the one beyond the last is no network, but escape blocks."""
    number = len(code_lengths) + (parts.escape is not None)
    return entropy.decode_networks(parts.indicators, parts.grid, number)


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
    known_networks = range(len(codec.code_lengths))
    if network is not None and (not isinstance(network, int | np.integer) or network not in known_networks):
        raise ValueError(
            f"network must be a whole number from 0 to {known_networks[-1]}, got {network}; the code lengths are "
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
