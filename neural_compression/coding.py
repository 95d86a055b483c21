"""What an image costs with each network, and which network each block takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.retrieval.compiled import compiled

from . import context
from .blocks import BLOCK, to_blocks
from .reconstruction import BATCH, decode_blocks, encode_blocks, progress, run

if TYPE_CHECKING:
    import keras

    from .trained import TrainedCodec

Mode = Literal["context", "publication"]

_MOST_SWEEPS = 20
_STEPS = 50  # of optimisation
_OPTIMISED_AT_ONCE = 1024  # blocks, as floats


@dataclass(frozen=True)
class Candidates:
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
    def of(cls, codec: "TrainedCodec", image: np.ndarray) -> "Candidates":
        """The codes that the encoders give for an image (H, W, 3) uint8, rounded."""
        blocks, inside = to_blocks(image), _inside(*image.shape[:2])
        codes = [encode_blocks(encoder, blocks) for encoder in codec.encoders]
        errors = [_errors(codec.decoders[n], codes[n], blocks, inside) for n in range(len(codes))]
        return cls(blocks, 3 * inside.sum((2, 3)), tuple(codes), np.stack(errors))

    def optimised(
        self, codec: "TrainedCodec", height: int, width: int, *, weight: float, how: str, only: int | None = None
    ) -> "Candidates":
        """The same with optimised codes, see `optimise`.

        Args:
            codec: of these candidates.
            height: of the image in pixels.
            width: likewise.
            weight: λ, the squared error of 8-bit samples that a bit is worth; 0 minimises the error alone.
            how: "code", or "encoder" as in the publication.
            only: the network whose codes are wanted; None: those of all.
        """
        inside, codes, errors = _inside(height, width), list(self.codes), self.errors.copy()
        for n in range(len(codes)) if only is None else [only]:
            codes[n] = _optimised(codec, n, self.blocks, codes[n], weight / 255**2, how)
            errors[n] = _errors(codec.decoders[n], codes[n], self.blocks, inside)
        return replace(self, codes=tuple(codes), errors=errors)

    def costs(self, models: Sequence[context.BitModel], mode: Mode) -> np.ndarray:
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


def by_quality(errors: np.ndarray, samples: np.ndarray, target_psnr: float) -> np.ndarray:
    """The publication's choice: the shortest code that reaches a PSNR in its block, the longest where none does.

    Args:
        errors: (N, R, C) of networks with increasing code lengths.
        samples: (R, C).
        target_psnr: dB.

    Returns:
        (R, C) uint8.
    """
    reached = errors <= samples * (255.0**2 * 10 ** (-target_psnr / 10))  # Eq. (2)
    return np.where(reached.any(0), reached.argmax(0), len(errors) - 1).astype(np.uint8)


def by_lagrangian(errors: np.ndarray, costs: np.ndarray, weight: float) -> np.ndarray:
    """The choice with a small squared error + λ · bits over all blocks; never worse than one network for all.

    What a block costs depends on its neighbours' networks. From several starts, blocks are changed until no change of
    a single one helps; the best of the ends is taken.

    Args:
        errors: (N, R, C).
        costs: (N, 2, 2, R, C) bits, as of `Candidates.costs`.
        weight: λ.

    Returns:
        (R, C) uint8.
    """
    weighted = weight * costs
    alike = (errors + weighted[:, 1, 1]).argmin(0)
    ends = [alike, *(np.full_like(alike, n) for n in range(len(errors)))]
    for networks in ends:
        _improve(networks, errors, weighted)
    return min(ends, key=lambda networks: lagrangian(networks, errors, costs, weight)).astype(np.uint8)


def lagrangian(networks: np.ndarray, errors: np.ndarray, costs: np.ndarray, weight: float) -> float:
    """Squared error + λ · bits of a choice; arguments as for `by_lagrangian`, networks (R, C)."""
    rows, columns = np.indices(networks.shape)
    return float(errors[networks, rows, columns].sum() + weight * bits(networks, costs))


def bits(networks: np.ndarray, costs: np.ndarray) -> float:
    """What the codes of a choice (R, C) take; costs as of `Candidates.costs`."""
    rows, columns = np.indices(networks.shape)
    padded = np.pad(networks.astype(np.int64), ((1, 0), (1, 0)), constant_values=-1)
    left, up = padded[1:, :-1], padded[:-1, 1:]
    return float(costs[networks, (left == networks) * 1, (up == networks) * 1, rows, columns].sum())


@compiled(nogil=True)
def _improve(networks, errors, costs):
    """Gives one block after the other the network that is best while all others stay, until none changes."""
    rows, columns = networks.shape
    for _ in range(_MOST_SWEEPS):
        changed = False
        for r in range(rows):
            for c in range(columns):
                now, best, least = networks[r, c], 0, np.inf
                for n in range(len(errors)):
                    beside = c > 0 and networks[r, c - 1] == n, r > 0 and networks[r - 1, c] == n
                    total = errors[n, r, c] + costs[n, int(beside[0]), int(beside[1]), r, c]
                    if c + 1 < columns:  # the right block depends on this one
                        other = networks[r, c + 1]
                        up = r > 0 and networks[r - 1, c + 1] == other
                        total += costs[other, int(n == other), int(up), r, c + 1]
                    if r + 1 < rows:
                        other = networks[r + 1, c]
                        left = c > 0 and networks[r + 1, c - 1] == other
                        total += costs[other, int(left), int(n == other), r + 1, c]
                    # Where two are equal the present one stays, so that the sweeps end.
                    if total < least or (total == least and n == now):
                        best, least = n, total
                networks[r, c] = best
                changed = changed or best != now
        if not changed:
            break


def _context_costs(model: context.BitModel, codes: np.ndarray) -> np.ndarray:
    return model.costs_beside(*_signs(codes)).reshape(2, 2, *codes.shape[:2])


def _signs(codes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Own, left and upper bits (R·C, K) int8 as ±1 where all blocks are of one network."""
    return context.signs(codes, np.zeros(codes.shape[:2], np.uint8), 0, codes.shape[-1])


def _difference_costs(codes: np.ndarray) -> np.ndarray:
    """(R, C) bits where changes from bit to bit are coded at the rate at which this network's codes have them."""
    changes = np.count_nonzero(np.diff(codes, axis=-1, prepend=np.uint8(0)), axis=-1)
    share = (changes.sum() + 0.5) / (codes.size + 1)
    return -changes * np.log2(share) - (codes.shape[-1] - changes) * np.log2(1 - share)


def _errors(decoder: "keras.Model", codes: np.ndarray, blocks: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(R, C) int64 squared errors inside the image."""
    flat, original = codes.reshape(-1, codes.shape[-1]), blocks.reshape(-1, BLOCK, BLOCK, 3)
    counted, errors = inside.reshape(-1, BLOCK, BLOCK, 1), np.empty(len(flat), np.int64)
    for start in progress(range(0, len(flat), BATCH), "compare", codes.shape[-1]):
        part = slice(start, start + BATCH)
        difference = (decode_blocks(decoder, flat[part]).astype(np.int32) - original[part]) * counted[part]
        errors[part] = np.square(difference).sum((1, 2, 3))
    return errors.reshape(codes.shape[:2])


def _optimised(
    codec: "TrainedCodec", network: int, blocks: np.ndarray, codes: np.ndarray, rate_weight: float, how: str
) -> np.ndarray:
    """(R, C, K) uint8; neighbours are taken to be of the same network, and as they were before."""
    from . import optimise

    flat, (_, left, up) = blocks.reshape(-1, BLOCK, BLOCK, 3), _signs(codes)
    found = np.empty((len(flat), codes.shape[-1]), np.uint8)
    for start in range(0, len(flat), _OPTIMISED_AT_ONCE):
        part = slice(start, start + _OPTIMISED_AT_ONCE)
        pixels = flat[part] / np.float32(255)
        if how == "encoder":
            found[part], _ = optimise.encoder_optimised(codec, network, pixels, steps=_STEPS)
            continue
        steps = range(0, len(pixels), BATCH)
        real = np.concatenate([run(codec.encoders[network], pixels[s : s + BATCH]) for s in steps])
        around = {"left": left[part], "up": up[part]}
        found[part], _ = optimise.optimised(
            codec, network, pixels, real, steps=_STEPS, rate_weight=rate_weight, **around
        )
    return found.reshape(codes.shape)


def _inside(height: int, width: int) -> np.ndarray:
    """(R, C, 32, 32) bool: which pixels of blocks are the image's."""
    rows, columns = (np.arange(-(-size // BLOCK) * BLOCK).reshape(-1, BLOCK) < size for size in (height, width))
    return rows[:, None, :, None] & columns[None, :, None, :]
