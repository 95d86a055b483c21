"""One way of optimizing codes at inference: prints seconds per megapixel and the gain in dB as JSON.

python -m tests.benchmarks.contenders.code_optimization NAME STEPS
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from neural_compression.codec import MODEL
from neural_compression.data import read_photographs
from neural_compression.encoder.bit_search import search_codes
from neural_compression.encoder.code_optimization import optimize_by_encoder
from neural_compression.networks.blocks import to_blocks
from neural_compression.networks.codec_file import TrainedCodec, load
from neural_compression.networks.decode import decode_blocks, encode_blocks
from tests.benchmarks.contenders import measures

COMPARED = 32  # blocks that the gain is measured on, the same for each way
BATCH = 256  # blocks that the search is timed with: an image has more, and a batch is never filled up


def photographed_blocks() -> np.ndarray:
    """(256, 32, 32, 3) float32 in [0, 1] of the two photographs, in an order that is always the same."""
    blocks = np.concatenate([to_blocks(image).reshape(-1, 32, 32, 3) for image in read_photographs(None)])
    return np.random.default_rng(0).permutation(blocks)[:BATCH] / np.float32(255)


def bits(codec: TrainedCodec, network: int, blocks: np.ndarray, steps: int) -> np.ndarray:
    codes = encode_blocks(codec.encoders[network], np.rint(blocks * 255).astype(np.uint8))
    if steps:
        nothing = np.zeros(codes.shape, np.int8)
        codes = search_codes(codec, network, blocks, codes, 0.0, nothing, nothing)
    return np.square(decode_blocks(codec.decoders[network], codes) / np.float32(255) - blocks).sum((1, 2, 3))


def encoder(codec: TrainedCodec, network: int, blocks: np.ndarray, steps: int) -> np.ndarray:
    return optimize_by_encoder(codec, network, blocks[:COMPARED], steps=steps)[1]


CONTENDERS: dict[str, Callable[..., np.ndarray]] = {"bit by bit": bits, "encoder, block by block": encoder}


def measured(codec: TrainedCodec, name: str, steps: int) -> dict[str, float]:
    """Seconds per megapixel, and how much less the squared error is in dB, with the middle one of the networks."""
    optimize, network, blocks = CONTENDERS[name], len(codec.code_lengths) // 2, photographed_blocks()
    before = optimize(codec, network, blocks, 0)[:COMPARED].sum()
    optimize(codec, network, blocks[:1], 1)  # pays for tracing
    start = time.perf_counter()
    errors = optimize(codec, network, blocks, steps)
    seconds = (time.perf_counter() - start) / len(errors)
    after = errors[:COMPARED].sum()
    return {"s_per_megapixel": seconds * 1e6 / 32**2, "gain_db": float(10 * np.log10(before / after))}


if __name__ == "__main__":
    measures.report(**measured(load(MODEL).in_keras, sys.argv[1], int(sys.argv[2])))
