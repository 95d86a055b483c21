"""What an image costs with each network, and which network each block takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from . import context
from .blocks import BLOCK, to_blocks
from .reconstruction import BATCH, decode_blocks, progress, run

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
        codes = [_encoded(encoder, blocks) for encoder in codec.encoders]
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
    alike = (errors + weight * costs[:, 1, 1]).argmin(0)
    starts = [alike, *(np.full_like(alike, n) for n in range(len(errors)))]
    ends = [_improved(start, errors, costs, weight) for start in starts]
    return min(ends, key=lambda networks: lagrangian(networks, errors, costs, weight)).astype(np.uint8)


def lagrangian(networks: np.ndarray, errors: np.ndarray, costs: np.ndarray, weight: float) -> float:
    """Squared error + λ · bits of a choice; arguments as for `by_lagrangian`, networks (R, C)."""
    rows, columns = np.indices(networks.shape)
    left, up, *_ = _neighbors(networks)
    taken = costs[networks, (left == networks) * 1, (up == networks) * 1, rows, columns]
    return float((errors[networks, rows, columns] + weight * taken).sum())


def _improved(networks: np.ndarray, errors: np.ndarray, costs: np.ndarray, weight: float) -> np.ndarray:
    """Blocks of a third at a time: a block's choice changes the costs of the next two, but none within its third."""
    rows, columns = np.indices(networks.shape)
    for _ in range(_MOST_SWEEPS):
        before = networks
        for third in range(3):
            best = _objectives(networks, errors, costs, weight)
            now = np.take_along_axis(best, networks[None], 0)[0]
            # Where two are equal the present one stays, so that the sweeps end.
            change = ((rows + 2 * columns) % 3 == third) & (best.min(0) < now)
            networks = np.where(change, best.argmin(0), networks)
        if np.array_equal(networks, before):
            break
    return networks


def _objectives(networks: np.ndarray, errors: np.ndarray, costs: np.ndarray, weight: float) -> np.ndarray:
    """(N, R, C): for each choice of each block what depends on it, while all others stay."""
    rows, columns = np.indices(networks.shape)
    choice = np.arange(len(errors))[:, None, None]
    left, up, right, down = _neighbors(networks)
    bits = costs[choice, (choice == left) * 1, (choice == up) * 1, rows, columns]
    same_left, same_up = (left == networks) * 1, (up == networks) * 1
    # What it takes the right and the lower block more if this one is of their network.
    by_left = costs[networks, 1, same_up, rows, columns] - costs[networks, 0, same_up, rows, columns]
    by_up = costs[networks, same_left, 1, rows, columns] - costs[networks, same_left, 0, rows, columns]
    bits[:, :, :-1] += ((choice == right) * 1)[:, :, :-1] * by_left[:, 1:]
    bits[:, :-1] += ((choice == down) * 1)[:, :-1] * by_up[1:]
    return errors + weight * bits


def _neighbors(networks: np.ndarray) -> tuple[np.ndarray, ...]:
    """Left, upper, right and lower networks, (R, C) each; -1 outside."""
    padded = np.pad(networks.astype(np.int64), 1, constant_values=-1)
    return padded[1:-1, :-2], padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1]


def _context_costs(model: context.BitModel, codes: np.ndarray) -> np.ndarray:
    own, left, up = _signs(codes)
    absent = np.zeros_like(own)
    parts = [model.costs(own, a, b) for a in (absent, left) for b in (absent, up)]
    return np.reshape(parts, (2, 2, *codes.shape[:2]))


def _signs(codes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Own, left and upper bits (R·C, K) int8 as ±1 where all blocks are of one network."""
    return context.signs(codes, np.zeros(codes.shape[:2], np.uint8), 0, codes.shape[-1])


def _difference_costs(codes: np.ndarray) -> np.ndarray:
    """(R, C) bits where changes from bit to bit are coded at the rate at which this network's codes have them."""
    changes = np.count_nonzero(np.diff(codes, axis=-1, prepend=np.uint8(0)), axis=-1)
    share = (changes.sum() + 0.5) / (codes.size + 1)
    return -changes * np.log2(share) - (codes.shape[-1] - changes) * np.log2(1 - share)


def _encoded(encoder: "keras.Model", blocks: np.ndarray) -> np.ndarray:
    """(R, C, 32, 32, 3) uint8 -> (R, C, K) uint8 bits."""
    flat = blocks.reshape(-1, BLOCK, BLOCK, 3)
    starts = progress(range(0, len(flat), BATCH), "encode", encoder.output_shape[-1])
    codes = [np.rint(run(encoder, flat[s : s + BATCH] / np.float32(255))).astype(np.uint8) for s in starts]
    return np.concatenate(codes).reshape(*blocks.shape[:2], -1)


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
