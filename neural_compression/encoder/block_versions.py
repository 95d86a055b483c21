"""What each network makes of each block of an image: codes, errors, and the bits that they take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..bitstream.bit_model import BitModel, signs
from ..bitstream.container import BLOCK
from ..networks.blocks import to_blocks
from ..networks.codec_file import TrainedCodec
from ..networks.decode import BATCH, decode_blocks, encode_blocks, progress
from ..networks.inference import Network
from .bit_search import search_codes

Mode = Literal["context", "publication"]

STEPS = 50  # of code optimization by the encoder
_OPTIMIZED_AT_ONCE = 1024  # blocks, as floats


@dataclass(frozen=True)
class BlockVersions:
    """What each network makes of each block of an image; N networks, R × C blocks.

    Attributes:
        blocks: (R, C, 32, 32, 3) uint8.
        samples: (R, C) int64, how many of a block's 3072 samples are inside the image.
        codes: per network (R, C, K) uint8 bits.
        errors: (N, R, C) int64, sum of squared differences of 8-bit samples inside the image, before deblocking.
    """

    blocks: np.ndarray
    samples: np.ndarray
    codes: tuple[np.ndarray, ...]
    errors: np.ndarray

    @classmethod
    def of(cls, codec: TrainedCodec, image: np.ndarray) -> "BlockVersions":
        """The codes that the encoders give for an image (H, W, 3) uint8, rounded."""
        blocks, counted = to_blocks(image), inside(*image.shape[:2])
        codes = [encode_blocks(encoder, blocks) for encoder in codec.encoders]
        errors = [_errors(codec.decoders[n], codes[n], blocks, counted) for n in range(len(codes))]
        return cls(blocks, 3 * counted.sum((2, 3)), tuple(codes), np.stack(errors))

    def optimized(
        self, codec: TrainedCodec, height: int, width: int, *, weight: float, how: str, networks: Sequence[int]
    ) -> "BlockVersions":
        """The same with optimized codes, see `bit_search` and `code_optimization`.

        Pixels beyond the image, which repeat its edge, count as much as those within, so what `errors` has of a block
        at the edge may rise.

        Args:
            codec: of these versions.
            height: of the image in pixels.
            width: likewise.
            weight: λ, the squared error of 8-bit samples that a bit is worth; 0 minimizes the error alone.
            how: "code", or "encoder" as in the publication.
            networks: whose codes are wanted.
        """
        counted, codes, errors = inside(height, width), list(self.codes), self.errors.copy()
        for n in networks:
            codes[n] = _optimized(codec, n, self.blocks, codes[n], weight / 255**2, how)
            errors[n] = _errors(codec.decoders[n], codes[n], self.blocks, counted)
        return replace(self, codes=tuple(codes), errors=errors)

    def costs(self, models: Sequence[BitModel], mode: Mode) -> np.ndarray:
        """(N, 2, 2, R, C) float64 bits of each block with each network.

        The two axes of two say whether the left and the upper block are of the same network; only a code with context
        takes fewer bits then.
        """
        if mode == "context":
            return np.stack([_context_costs(model, codes) for model, codes in zip(models, self.codes)])
        return np.stack([np.broadcast_to(_difference_costs(codes), (2, 2, *codes.shape[:2])) for codes in self.codes])

    def chosen(self, networks: np.ndarray) -> np.ndarray:
        """(R, C) uint8 networks -> (R, C, Kmax) uint8 codes, zero beyond the length of a block's network."""
        codes = np.zeros((*networks.shape, max(c.shape[-1] for c in self.codes)), np.uint8)
        for n, own in enumerate(self.codes):
            codes[..., : own.shape[-1]] |= own * (networks == n)[..., None]
        return codes


def _context_costs(model: BitModel, codes: np.ndarray) -> np.ndarray:
    return model.costs_with_neighbors(*_signs(codes)).reshape(2, 2, *codes.shape[:2])


def _signs(codes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Own, left and upper bits (R·C, K) int8 as ±1 where all blocks are of one network."""
    return signs(codes, np.zeros(codes.shape[:2], np.uint8), 0, codes.shape[-1])


def _difference_costs(codes: np.ndarray) -> np.ndarray:
    """(R, C) bits where changes from bit to bit are coded at the rate at which this network's codes have them."""
    changes = np.count_nonzero(np.diff(codes, axis=-1, prepend=np.uint8(0)), axis=-1)
    share = (changes.sum() + 0.5) / (codes.size + 1)
    return -changes * np.log2(share) - (codes.shape[-1] - changes) * np.log2(1 - share)


def _errors(decoder: Network, codes: np.ndarray, blocks: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(R, C) int64 squared errors inside the image."""
    flat, original = codes.reshape(-1, codes.shape[-1]), blocks.reshape(-1, BLOCK, BLOCK, 3)
    counted, errors = inside.reshape(-1, BLOCK, BLOCK, 1), np.empty(len(flat), np.int64)
    for start in progress(range(0, len(flat), BATCH), "compare", codes.shape[-1]):
        part = slice(start, start + BATCH)
        difference = (decode_blocks(decoder, flat[part]).astype(np.int32) - original[part]) * counted[part]
        errors[part] = np.square(difference).sum((1, 2, 3))
    return errors.reshape(codes.shape[:2])


def _optimized(
    codec: TrainedCodec, network: int, blocks: np.ndarray, codes: np.ndarray, rate_weight: float, how: str
) -> np.ndarray:
    """(R, C, K) uint8; neighbors are taken to be of the same network, and as they were before."""
    flat, (_, left, up) = blocks.reshape(-1, BLOCK, BLOCK, 3), _signs(codes)
    optimized = np.empty((len(flat), codes.shape[-1]), np.uint8)
    for start in range(0, len(flat), _OPTIMIZED_AT_ONCE):
        part = slice(start, start + _OPTIMIZED_AT_ONCE)
        pixels = flat[part] / np.float32(255)
        if how == "encoder":
            from .code_optimization import optimize_by_encoder  # loads the framework

            optimized[part], _ = optimize_by_encoder(codec.in_keras, network, pixels, steps=STEPS)
            continue
        own = codes.reshape(optimized.shape)[part]
        optimized[part] = search_codes(codec, network, pixels, own, rate_weight, left[part], up[part])
    return optimized.reshape(codes.shape)


def inside(height: int, width: int) -> np.ndarray:
    """(R, C, 32, 32) bool: which pixels of blocks are the image's."""
    rows, columns = (np.arange(-(-size // BLOCK) * BLOCK).reshape(-1, BLOCK) < size for size in (height, width))
    return rows[:, None, :, None] & columns[None, :, None, :]
