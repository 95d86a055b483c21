"""Codes improved bit by bit: each bit is turned if the block's squared error and all its bits together fall.

NOTE(paper): the publication fine-tunes the encoder for a block and counts the squared error only, see
`code_optimization`. Here what a code costs is exact, by the integers of the entropy coder, later bits of the block
included. What it does to the image is quadratic in the bits, as a decoder is nearly linear from one code to one next
to it; every few turns the decoder itself says whether the block has improved, so no block gets worse.
"""

import numpy as np

from common.jit import compiled, in_threads

from ..bitstream.bit_model import BITS, BitModel
from ..bitstream.container import BLOCK
from ..networks.codec_file import TrainedCodec
from ..networks.decode import BATCH, progress, run
from ..networks.inference import Network

_ROUNDS = 2  # in each the decoder runs once, and all bits are gone through several times
_SWEEPS = 3
_MOST_GAINED = 16.0  # bits, by which turning one is taken to make all later ones cheaper: most need no closer look


def search_codes(
    codec: TrainedCodec,
    network: int,
    blocks: np.ndarray,
    codes: np.ndarray,
    rate_weight: float,
    left: np.ndarray,
    up: np.ndarray,
) -> np.ndarray:
    """The codes of N blocks with less squared error + λ · bits; K is the network's code length.

    Args:
        codec: networks and bit models.
        network: index of the network that codes the blocks.
        blocks: (N, 32, 32, 3) float32 in [0, 1].
        codes: (N, K) uint8 bits to begin with.
        rate_weight: λ, squared error of samples in [0, 1] that one bit is worth.
        left: (N, K) int8 bits of the left neighbors as ±1, 0 where there is none of this network.
        up: (N, K) those of the upper neighbors.

    Returns:
        (N, K) uint8.
    """
    decoder, model = codec.decoders[network], codec.bit_models[network]
    directions = _directions(decoder, codes)
    gram = directions @ directions.T
    context = model.context_units(left, up)
    best, decoded = codes.copy(), _decoded(decoder, codes)
    objectives = _objectives(model, blocks, best, decoded, rate_weight, left, up)
    current = codes
    for _ in range(_ROUNDS):
        residuals = (decoded - blocks).reshape(len(blocks), -1)
        slopes = 2 * residuals @ directions.T  # (N, K) of the squared error
        own = (2 * current.astype(np.int8) - 1).astype(np.int8)
        units = context + model.own_units(own)
        parts = in_threads(
            _turned, len(own), own, units, slopes, gram, model.columns[0], BITS, rate_weight, _MOST_GAINED
        )
        current = (np.concatenate(parts) > 0).astype(np.uint8)
        decoded = _decoded(decoder, current)
        reached = _objectives(model, blocks, current, decoded, rate_weight, left, up)
        better = reached < objectives
        best[better], objectives = current[better], np.minimum(objectives, reached)
    return best


@compiled()
def _turned(start, stop, signs, units, slopes, gram, columns, costs, rate_weight, most_gained):
    """(n, K) int8 bits as ±1 after sweeps over all of them, from the last, outermost ones of coefficients inwards."""
    length, largest = signs.shape[1], len(costs) // 2
    result = signs[start:stop].copy()
    for block in range(stop - start):
        own, logits, slope = result[block], units[start + block].copy(), slopes[start + block].copy()
        for _ in range(_SWEEPS):
            turns = 0
            for k in range(length - 1, -1, -1):
                change = -np.float32(own[k])  # of the bit, from 0 to 1 or back
                error = change * slope[k] + gram[k, k]
                unit = min(max(own[k] * logits[k], -largest), largest)
                bits = costs[largest - unit] - costs[largest + unit]
                if error + rate_weight * (bits - most_gained) >= 0:
                    continue
                for j in range(k + 1, length):
                    added = 2 * int(change) * int(columns[k, j])
                    if added:
                        old = min(max(own[j] * logits[j], -largest), largest)
                        new = min(max(own[j] * (logits[j] + added), -largest), largest)
                        bits += costs[largest + new] - costs[largest + old]
                if error + rate_weight * bits < 0:
                    own[k] = -own[k]
                    turns += 1
                    for j in range(k + 1, length):
                        logits[j] += 2 * int(change) * int(columns[k, j])
                    for j in range(length):
                        slope[j] += 2 * change * gram[k, j]
            if not turns:
                break
    return result


def _directions(decoder: Network, codes: np.ndarray) -> np.ndarray:
    """(K, 3072) float32: what setting each bit adds to a block, at the most frequent value of all others."""
    length = codes.shape[1]
    usual = np.rint(codes.mean(axis=0)).astype(np.float32)
    base, directions = run(decoder, usual[None])[0].ravel(), np.empty((length, BLOCK**2 * 3), np.float32)
    for start in range(0, length, BATCH):
        bits = np.arange(start, min(start + BATCH, length))
        changed = np.repeat(usual[None], len(bits), 0)
        changed[np.arange(len(bits)), bits] = 1 - usual[bits]
        difference = run(decoder, changed).reshape(len(bits), -1) - base
        directions[bits] = np.where(usual[bits, None] > 0, -difference, difference)
    return directions


def _decoded(decoder: Network, codes: np.ndarray) -> np.ndarray:
    """(N, 32, 32, 3) float32 in [0, 1]."""
    starts = progress(range(0, len(codes), BATCH), "search", codes.shape[1])
    parts = [run(decoder, codes[start : start + BATCH].astype(np.float32)) for start in starts]
    return np.clip(np.concatenate(parts), 0, 1)


def _objectives(
    model: BitModel,
    blocks: np.ndarray,
    codes: np.ndarray,
    decoded: np.ndarray,
    weight: float,
    left: np.ndarray,
    up: np.ndarray,
) -> np.ndarray:
    """(N,) squared error + λ · bits."""
    bits = model.costs(2 * codes.astype(np.int8) - 1, left, up)
    return np.square(decoded - blocks).sum(axis=(1, 2, 3)) + weight * bits
