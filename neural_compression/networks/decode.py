"""From codes to the image: the decoders block by block, the deblocking network tile by tile."""

from collections.abc import Iterator, Sequence

import numpy as np
from tqdm import tqdm

from ..bitstream.container import BLOCK
from .codec_file import TrainedCodec
from .inference import Deblocking, Network

# The sums of a convolution depend in their last bits on the shape of a batch, so all batches have this one.
BATCH = 128
_ALIGNMENT = 8  # the deblocking network halves height and width three times
_TILE = 768  # pixels of a tile of the deblocking network, without what it shares with others
# Two convolutions of 3×3 reach 2 pixels on each of the four levels, where a pixel is 1, 2, 4 and 8 wide, and again on
# the way up to 4, 2 and 1: 44 in all, and up to 7 to the next multiple of 8. Farther pixels change nothing.
_OVERLAP = 64


def reconstruct(
    codec: TrainedCodec,
    networks: np.ndarray,
    codes: np.ndarray,
    height: int,
    width: int,
    escaped: np.ndarray | None = None,
) -> np.ndarray:
    """Codes to the image (H, W, 3) uint8, deblocked if the codec can; encoder and decoder both come here.

    Args:
        codec: whose codes.
        networks: (R, C) uint8; beyond the last: escape blocks.
        codes: (R, C, Kmax) uint8 bits.
        height: H, of which R blocks are enough.
        width: likewise.
        escaped: (n, 32, 32, 3) uint8 pixels of the escape blocks in raster order, which stay as they are.
    """
    rows, columns = networks.shape
    image = np.empty((rows * BLOCK, columns * BLOCK, 3), np.uint8)
    blocks = image.reshape(rows, BLOCK, columns, BLOCK, 3).swapaxes(1, 2)  # a view: what it gets, the image gets
    done = networks >= len(codec.decoders)
    if escaped is not None:
        blocks[done] = escaped
    for n in np.unique(networks[~done]):
        own = networks == n
        blocks[own] = decode_blocks(codec.decoders[n], codes[own, : codec.code_lengths[n]])
    if codec.deblocking is None:
        return np.ascontiguousarray(image[:height, :width])
    filtered = deblocked(codec.deblocking, image[:height, :width])
    for row, column in np.argwhere(done):
        place = slice(BLOCK * row, BLOCK * (row + 1)), slice(BLOCK * column, BLOCK * (column + 1))
        filtered[place] = image[:height, :width][place]
    return filtered


def deblocked(network: Deblocking, image: np.ndarray, tile: int = _TILE) -> np.ndarray:
    """An image (H, W, 3) uint8 filtered tile by tile, which takes bounded memory and gives what the whole would.

    Height and width that are no multiples of 8 go on with the edge. Tiles overlap by more than the network sees, and
    end where the image ends, so that up to the last bits of sums each pixel is the one of the whole image.

    Args:
        network: as of `build_deblocking`.
        image: RGB.
        tile: multiple of 8 pixels.
    """
    height, width = image.shape[:2]
    padded = np.pad(image, ((0, -height % _ALIGNMENT), (0, -width % _ALIGNMENT), (0, 0)), mode="edge")
    result = np.empty_like(padded)
    corners = [(r, c) for r in range(0, height, tile) for c in range(0, width, tile)]
    for r, c in progress(corners, "deblock"):
        top, left = max(0, r - _OVERLAP), max(0, c - _OVERLAP)
        part = padded[top : r + tile + _OVERLAP, left : c + tile + _OVERLAP]
        filtered = _eight_bits(network.predict_on_batch(part[None] / np.float32(255)))[0, r - top :, c - left :]
        result[r : r + tile, c : c + tile] = filtered[:tile, :tile]
    return np.ascontiguousarray(result[:height, :width])


def encode_blocks(encoder: Network, blocks: np.ndarray) -> np.ndarray:
    """(..., 32, 32, 3) uint8 -> (..., K) uint8 bits."""
    flat = blocks.reshape(-1, BLOCK, BLOCK, 3)
    starts = progress(range(0, len(flat), BATCH), "encode", encoder.output_shape[-1])
    codes = np.empty((len(flat), encoder.output_shape[-1]), np.uint8)
    for start in starts:
        part = slice(start, start + BATCH)
        codes[part] = np.rint(run(encoder, flat[part] / np.float32(255)))
    return codes.reshape(*blocks.shape[:-3], -1)


def decode_blocks(decoder: Network, codes: np.ndarray) -> np.ndarray:
    """(n, K) uint8 bits -> (n, 32, 32, 3) uint8."""
    blocks = np.empty((len(codes), BLOCK, BLOCK, 3), np.uint8)
    for start in progress(range(0, len(codes), BATCH), "decode", codes.shape[-1]):
        part = slice(start, start + BATCH)
        blocks[part] = _eight_bits(run(decoder, codes[part].astype(np.float32)))
    return blocks


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(pixels, 0, 1) * np.float32(255)).astype(np.uint8)


def run(network: Network, rows: np.ndarray) -> np.ndarray:
    """A batch of up to its size, filled up with its last row."""
    filled = np.concatenate([rows, np.repeat(rows[-1:], BATCH - len(rows), 0)])
    return np.asarray(network.predict_on_batch(filled))[: len(rows)]


def progress(steps: Sequence, doing: str, length: int | None = None) -> Iterator:
    """The steps, with a bar if they take longer than two seconds; `length` names the network."""
    return tqdm(steps, doing if length is None else f"{doing}, {length} bits", delay=2, leave=False)
