"""Lossless coding of block codes, and of the map of which network coded which block.

Two ways for codes: the publication's, differences of neighboring bits with adaptive counts (dissertation section
4.2.2), and the learned context of `bit_model.BitModel`. Both are integers up to the coder, see `range_coder`.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from . import range_coder
from .bit_model import PRECISION, PROBABILITIES, BitModel, signs
from .range_coder import Decoder, concatenated, separated

_RUN = 64  # symbols between two updates of the adaptive counts: a call of the coder for each would take longest
_TABLE = range_coder.fractions(PROBABILITIES)


def encode_codes(models: Sequence[BitModel], networks: np.ndarray, codes: np.ndarray) -> bytes:
    """Codes with the learned context, in one stream; stored as they are where that is shorter.

    First the bits that count for neighbors: diagonal after diagonal, so that left and upper blocks are known; within
    one, network after network, bit position after bit position, and there all blocks from top to bottom. Then any
    other bits: network after network, bit position after bit position, and there all blocks in raster order.

    Args:
        models: one per network, those that decoding will use.
        networks: (R, C) uint8, the network of each block; one beyond the last is a block without a code.
        codes: (R, C, Kmax) uint8 bits, zero beyond the length of a block's network.

    Raises:
        ValueError: shapes or values do not fit.
    """
    lengths = _lengths(models, networks)
    plain = concatenated(codes, networks, lengths)
    own, ones, ranks = {}, {}, np.empty(networks.shape, np.int64)
    for network in _coded(models, networks):
        blocks, left, up = signs(codes, networks, network, lengths[network])
        own[network], ones[network] = blocks > 0, models[network].probabilities(blocks, left, up)
        ranks[networks == network] = np.arange(len(blocks))
    symbols, probabilities = [], []
    for network, rows, columns in _groups(networks, len(models)):
        group = ranks[rows, columns]
        first = slice(models[network].neighbor_bits)
        symbols.append(own[network][group, first].T.ravel())
        probabilities.append(ones[network][group, first].T.ravel())
    for network in own:
        rest = slice(models[network].neighbor_bits, None)
        symbols.append(own[network][:, rest].T.ravel())
        probabilities.append(ones[network][:, rest].T.ravel())
    if not symbols:
        return b""
    return range_coder.shorter(range_coder.encode(np.concatenate(symbols), np.concatenate(probabilities)), plain)


def decode_codes(models: Sequence[BitModel], networks: np.ndarray, data: bytes) -> np.ndarray:
    """Undoes `encode_codes` with the same models and networks.

    Returns:
        (R, C, Kmax) uint8 bits; Kmax is the length of the longest model, used or not.

    Raises:
        ValueError: shapes do not fit, or no codes of this size give such data. Other damage passes unnoticed here: see
            the checksum of `container`.
    """
    lengths = _lengths(models, networks)
    used = np.bincount(networks.ravel(), minlength=len(lengths))
    count = sum(int(number) * length for number, length in zip(used, lengths))
    plain = range_coder.stored(data, count)
    if plain is not None:
        return separated(plain, networks, lengths)
    decoder = Decoder(data, count)
    # One row and column of zeros: blocks that are absent.
    shape = networks.shape[0] + 1, networks.shape[1] + 1
    padded = {int(n): np.zeros((*shape, lengths[n]), np.int8) for n in _coded(models, networks)}
    for network, rows, columns in _groups(networks, len(models)):
        _decode_bits(decoder, models[network], padded[network], rows, columns, rest=False)
    for network, known in padded.items():
        if models[network].neighbor_bits < models[network].length:
            _decode_bits(decoder, models[network], known, *np.nonzero(networks == network), rest=True)
    decoder.finish()
    codes = np.zeros((*networks.shape, max(lengths)), np.uint8)
    for network, known in padded.items():
        codes[..., : lengths[network]] |= known[1:, 1:] > 0
    return codes


def encode_difference(bits: np.ndarray) -> bytes:
    """The publication's image code: whether each bit differs from the one before, coded with adaptive counts.

    A bit before the first is 0, as in Eq. (4.1). Where the result would be no shorter than the bits, they are stored.

    Args:
        bits: (n,) uint8, codes of all blocks in raster order, see `concatenated`.

    Raises:
        ValueError: no bits, or values other than 0 and 1.
    """
    if bits.ndim != 1 or bits.dtype != np.uint8 or not bits.size or bits.max() > 1:
        raise ValueError(
            f"Bits must be (n,) uint8 of 0 and 1, got {bits.dtype} of shape {bits.shape}; "
            "concatenate the codes of a grid."
        )
    changes = _changes(bits)
    before = np.concatenate(([0], np.cumsum(changes, dtype=np.int64)))
    runs = list(_runs(len(bits)))
    probabilities = [_adaptive(int(before[start]), start) for start, _ in runs]
    stream = range_coder.encode(changes, np.repeat(probabilities, [stop - start for start, stop in runs]))
    return range_coder.shorter(stream, bits)


def decode_difference(data: bytes, count: int) -> np.ndarray:
    """Undoes `encode_difference`: (count,) uint8 bits.

    Raises:
        ValueError: no `count` bits give such data.
    """
    plain = range_coder.stored(data, count)
    if plain is not None:
        return plain
    decoder, changes, ones = Decoder(data, count), np.empty(count, np.uint8), 0
    for start, stop in _runs(count):
        probabilities = np.full(stop - start, _adaptive(ones, start))
        changes[start:stop] = decoder.decode(range_coder.fractions(probabilities))
        ones += int(changes[start:stop].sum())
    decoder.finish()
    return np.bitwise_xor.accumulate(changes)


def encode_networks(networks: np.ndarray, num_networks: int) -> bytes:
    """The indicator vector: nothing where network 0 coded all blocks, a byte where another one did, else a stream.

    Args:
        networks: (R, C) uint8.
        num_networks: N, from 1 to 256; their order should be that of their lengths.

    Raises:
        ValueError: shape or values do not fit.
    """
    _check_networks(networks, num_networks)
    if networks.min() == networks.max():
        return bytes([networks[0, 0]]) if networks[0, 0] else b""
    symbols, probabilities, values = [], [], networks.tolist()

    def decide(probability: int, r: int, c: int, threshold: int) -> bool:
        symbols.append(values[r][c] > threshold)
        probabilities.append(probability)
        return symbols[-1]

    _walk(networks.shape, num_networks, decide)
    return range_coder.encode(np.array(symbols), np.array(probabilities))


def decode_networks(data: bytes, shape: tuple[int, int], num_networks: int) -> np.ndarray:
    """Undoes `encode_networks`: (R, C) uint8 for `shape` (R, C).

    Raises:
        ValueError: no map of this shape and number gives such data.
    """
    if len(data) < 2:
        networks = np.full(shape, data[0] if data else 0, np.uint8)
    else:
        decoder = Decoder(data, shape[0] * shape[1])

        def decide(probability: int, r: int, c: int, threshold: int) -> bool:
            return bool(decoder.decode_one(probability))

        networks = np.array(_walk(shape, num_networks, decide), np.uint8)
        decoder.finish()
    _check_networks(networks, num_networks)
    return networks


def _changes(bits: np.ndarray) -> np.ndarray:
    return np.diff(bits, prepend=np.uint8(0)) & 1


def _runs(count: int) -> Iterator[tuple[int, int]]:
    """Start and stop of runs that share a probability: 1, 1, 2, 4, ... symbols, then 64 each."""
    start = 0
    while start < count:
        stop = min(count, start + min(_RUN, max(1, start)))
        yield start, stop
        start = stop


def _adaptive(ones: int, total: int) -> int:
    """(ones + 1/2) / (total + 1) in units of 1 / 4096, from 1 to 4095."""
    return min(PRECISION - 1, max(1, (2 * ones + 1) * (PRECISION // 2) // (total + 1)))


def _walk(shape: tuple[int, int], num_networks: int, decide: Callable[[int, int, int, int], bool]) -> list[list[int]]:
    """Each network as decisions "beyond t?", given how many of the left and the upper block are beyond t."""
    ones, totals = ([[0] * 3 for _ in range(num_networks - 1)] for _ in range(2))
    networks: list[list[int]] = []
    for r in range(shape[0]):
        networks.append([])
        for c in range(shape[1]):
            neighbors = ([networks[r][c - 1]] if c else []) + ([networks[r - 1][c]] if r else [])
            pair = (neighbors * 2)[:2]  # a single neighbor counts twice
            value = 0
            while value < num_networks - 1:
                near = sum(neighbor > value for neighbor in pair)
                seen, total = ones[value][near], totals[value][near]
                beyond = decide(_adaptive(seen, total), r, c, value)
                ones[value][near], totals[value][near] = seen + beyond, total + 1
                if not beyond:
                    break
                value += 1
            networks[r].append(value)
    return networks


def _coded(models: Sequence[BitModel], networks: np.ndarray) -> np.ndarray:
    """The networks of blocks that have a code."""
    used = np.unique(networks)
    return used[used < len(models)]


def _groups(networks: np.ndarray, number: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Network, rows and columns of the blocks that are coded together, in the order of the stream."""
    rows, columns = np.indices(networks.shape).reshape(2, -1)
    diagonals, used = rows + columns, networks.ravel()
    order = np.lexsort((rows, used, diagonals))
    new = (np.diff(diagonals[order]) != 0) | (np.diff(used[order]) != 0)
    for group in np.split(order, np.flatnonzero(new) + 1):
        if used[group[0]] == number:
            continue
        yield int(used[group[0]]), rows[group], columns[group]


def _decode_bits(
    decoder: Decoder, model: BitModel, known: np.ndarray, rows: np.ndarray, columns: np.ndarray, *, rest: bool
) -> None:
    """Writes bits of blocks that do not depend on one another into `known` (R + 1, C + 1, K) int8, as ±1.

    The bits are those that count for neighbors, or the rest.
    """
    from .kernels import advance

    own = known[rows + 1, columns + 1]
    count = model.neighbor_bits
    units = model.context_units(known[rows + 1, columns, :count], known[rows, columns + 1, :count])
    first, end = (count, model.length) if rest else (0, count)
    # A bit that is not known yet is 0, as one of -1 in what `advance` adds to.
    units += model.own_units(np.where(own, own, np.int8(-1)))
    units = np.ascontiguousarray(units[:, :end])  # the others come with the rest
    ones, probabilities = np.zeros(len(own), np.int32), np.empty(len(own), np.float32)
    for k in range(first, end):
        advance(k, ones, units, model.columns[0], _TABLE, probabilities)
        ones = decoder.decode(probabilities)
        own[:, k] = 2 * ones - 1
    known[rows + 1, columns + 1] = own


def _lengths(models: Sequence[BitModel], networks: np.ndarray) -> list[int]:
    if not models:
        raise ValueError("There must be a bit model for each network, got none; load those of the networks.")
    _check_networks(networks, len(models) + 1)
    return [*(model.length for model in models), 0]


def _check_networks(networks: np.ndarray, num_networks: int) -> None:
    if networks.ndim != 2 or networks.dtype != np.uint8 or not networks.size:
        raise ValueError(
            f"networks must be (R, C) uint8 with a block or more, got {networks.dtype} of {networks.shape}; "
            "pass the network of each block."
        )
    if networks.max() >= num_networks:
        raise ValueError(
            f"networks must be below {num_networks}, got {networks.max()}; use the models that belong to the file."
        )
