"""An image on its way to a file of a wanted rate or quality."""

import copy
from functools import cached_property

import numpy as np

from ..bitstream import container, entropy, range_coder
from ..config import Optimize, Selection
from ..evaluation.rate_distortion import dataset_psnr, squared_error
from ..networks.blocks import to_blocks
from ..networks.codec_file import TrainedCodec
from ..networks.decode import reconstruct
from . import escape_search, mode_decision
from .block_versions import BlockVersions, Mode, inside

LOG_WEIGHTS = 25.0, -5.0  # of the Lagrangian: from bits alone to errors alone
_MANY, _APART = 2048, 8  # blocks of an image for which every eighth step is tried, as a trial takes seconds
_SHARES = 0.5, 1.5  # of a block's error that deblocking leaves, at least and at most


class EncodeSession:
    """An image on its way to a file: networks can be chosen in several ways, and each choice be measured.

    A choice is a map (R, C) uint8. With N networks, N + n is an escape block with the step of number n, the same for
    all such blocks.

    Args:
        codec: to code it with.
        image: (H, W, 3) or (H, W) uint8.
        mode: how codes are written.
        escape: whether the Lagrangian choice knows escape blocks.
    """

    def __init__(self, codec: TrainedCodec, image: np.ndarray, mode: Mode, *, escape: bool = False) -> None:
        self.gray = image.ndim == 2
        self.image = np.repeat(image[..., None], 3, 2) if self.gray else image
        self._codec, self._mode, self._fingerprint = codec, mode, codec.fingerprint
        self._escape, self._number = escape, len(codec.code_lengths)
        self._escaped: tuple[bytes, tuple[bytes | None, np.ndarray]] | None = None
        self._pixels = self.image[..., 0].size
        self._pack(b"", b"")  # refuses a size that no file can have before the networks run
        self.versions = BlockVersions.of(codec, self.image)
        self._costs = self.versions.costs(codec.bit_models, mode)
        self._search = escape_search.EscapeSearch(self.versions.blocks, inside(*self.image.shape[:2]))

    def with_mode(self, mode: Mode) -> "EncodeSession":
        """The same with codes written in another way, for which no network runs again."""
        other = copy.copy(self)
        other._mode, other._costs = mode, self.versions.costs(self._codec.bit_models, mode)
        return other

    def with_escape(self) -> "EncodeSession":
        """The same with escape blocks, for which no network runs again."""
        other = copy.copy(self)
        other._escape = True
        return other

    def optimize(self, weight: float, how: Optimize, only: int | None) -> None:
        """Changes the codes of one network, or of those that λ chooses; arguments as for `BlockVersions.optimized`."""
        used = np.arange(self._number) if only is None else np.array([only])
        if only is None and weight:
            used = np.unique(mode_decision.by_lagrangian(self.versions.errors, self._costs, weight))
        size = self.image.shape[:2]
        self.versions = self.versions.optimized(self._codec, *size, weight=weight, how=how, networks=used.tolist())
        self._costs = self.versions.costs(self._codec.bit_models, self._mode)
        self.__dict__.pop("_deblocked", None)  # which was of the codes before

    def choose(self, selection: Selection, quality: float) -> np.ndarray:
        """(R, C) uint8 networks; the quality is log λ, or the PSNR of blocks in dB."""
        if selection == "publication":
            return mode_decision.by_quality(self.versions.errors, self.versions.samples, quality)
        weight = float(np.exp(quality))
        if not self._escape:
            return mode_decision.by_lagrangian(self.versions.errors, self._costs, weight)
        step = escape_search.step_for(weight)
        if self._costs[0, 0, 0].size > _MANY:
            step -= step % _APART
        networks = mode_decision.by_lagrangian(self._errors_with(step), self._costs_with(step), weight)
        return networks + np.uint8(step) * (networks == self._number)

    def file(self, networks: np.ndarray) -> bytes:
        """The whole file for a choice (R, C) of networks, as in the methods below."""
        codes, models = self.versions.chosen(networks), self._codec.bit_models
        known, step = self._split(networks)
        if self._mode == "context":
            image_code = entropy.encode_codes(models, known, codes)
        else:
            bits = range_coder.concatenated(codes, known, [*self._codec.code_lengths, 0])
            image_code = entropy.encode_difference(bits) if bits.size else b""
        stream, _ = self._escape_blocks(networks)
        indicators = entropy.encode_networks(known, len(models) + (stream is not None))
        return self._pack(indicators, image_code, stream, step)

    def expected(self, networks: np.ndarray) -> float:
        """Bits per pixel that a file takes, up to a few bytes, with no code written."""
        known, step = self._split(networks)
        escaped = bool((known == self._number).any())
        indicators = entropy.encode_networks(known, self._number + escaped)
        bits = mode_decision.bits(known, self._costs_with(step) if escaped else self._costs)
        return self.bits_per_pixel(self._pack(indicators, b"", b"" if escaped else None)) + bits / self._pixels

    def expected_psnr(self, networks: np.ndarray) -> float:
        """dB, with nothing decoded: deblocking is taken to leave of each error what it leaves of one network."""
        known, step = self._split(networks)
        errors = self._errors_with(step) if (known == self._number).any() else self.versions.errors * self._deblocked
        return dataset_psnr([np.take_along_axis(errors, known[None].astype(int), 0).sum()], [self.image.size])

    def decoded(self, networks: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8, three equal channels of a gray image."""
        (known, _), (_, escaped) = self._split(networks), self._escape_blocks(networks)
        height, width = self.image.shape[:2]
        image = reconstruct(self._codec, known, self.versions.chosen(networks), height, width, escaped)
        return np.repeat(mean_channel(image)[..., None], 3, 2) if self.gray else image

    def rate(self, networks: np.ndarray) -> float:
        """Bits per pixel of the file for a choice."""
        return self.bits_per_pixel(self.file(networks))

    def bits_per_pixel(self, data: bytes) -> float:
        """Of a whole file."""
        return 8 * len(data) / self._pixels

    def psnr(self, decoded: np.ndarray) -> float:
        """dB of a decoded image (H, W, 3) uint8."""
        return dataset_psnr([squared_error(self.image, decoded)], [self.image.size])

    def with_step_of(self, networks: np.ndarray, other: np.ndarray) -> np.ndarray:
        """The other map, with the step of the first one's escape blocks if it has any."""
        own = int(networks.max())
        return np.where(other >= self._number, own, other).astype(np.uint8) if own >= self._number else other

    @cached_property
    def _deblocked(self) -> np.ndarray:
        """(R, C) share of a block's error that deblocking leaves, which escape blocks do without; of one network."""
        number, (height, width) = self._number // 2, self.image.shape[:2]
        if self._codec.deblocking is None:
            return np.ones(self.versions.samples.shape)
        networks = np.full(self.versions.samples.shape, number, np.uint8)
        decoded = to_blocks(reconstruct(self._codec, networks, self.versions.chosen(networks), height, width))
        errors = np.square((decoded.astype(np.int32) - self.versions.blocks) * inside(height, width)[..., None])
        return np.clip(errors.sum((2, 3, 4)) / np.maximum(1, self.versions.errors[number]), *_SHARES)

    def _split(self, networks: np.ndarray) -> tuple[np.ndarray, int]:
        """The map with one number for all escape blocks, and the number of their step."""
        return np.minimum(networks, self._number).astype(np.uint8), max(0, int(networks.max()) - self._number)

    def _errors_with(self, step: int) -> np.ndarray:
        return np.concatenate([self.versions.errors * self._deblocked, self._search.plan(step).errors[None]])

    def _costs_with(self, step: int) -> np.ndarray:
        bits = self._search.plan(step).bits
        return np.concatenate([self._costs, np.broadcast_to(bits, (1, 2, 2, *bits.shape))])

    def _escape_blocks(self, networks: np.ndarray) -> tuple[bytes | None, np.ndarray]:
        """The stream of the escape blocks, None if there are none, and their pixels (n, 32, 32, 3) uint8."""
        escaped, key = networks >= self._number, networks.tobytes()
        if not escaped.any():
            return None, np.zeros((0, container.BLOCK, container.BLOCK, 3), np.uint8)
        if self._escaped is None or self._escaped[0] != key:  # the file and the image of a choice are made in turn
            _, step = self._split(networks)
            self._escaped = key, self._search.write(escaped, step)
        return self._escaped[1]

    def _pack(self, indicators: bytes, image_code: bytes, stream: bytes | None = None, step: int = 0) -> bytes:
        (height, width), mark = self.image.shape[:2], self._fingerprint
        return container.pack(
            container.Container(mark, self._mode, height, width, self.gray, indicators, image_code, stream, step)
        )


def mean_channel(image: np.ndarray) -> np.ndarray:
    """The mean of three channels, rounded; in integers."""
    return ((image.astype(np.uint16).sum(2) + 1) // 3).astype(np.uint8)
