"""One way of optimising codes at inference: prints seconds per megapixel and the gain in dB as JSON.

python -m tests.benchmarks.optimise_contenders NAME STEPS
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neural_compression import trained
from neural_compression.blocks import read_photographs, to_blocks
from neural_compression.optimise import encoder_optimised, optimised
from tests.benchmarks.memory import peak_gib

SHIPPED = Path(trained.__file__).parent / "weights/shipped.npz"
COMPARED = 32  # blocks that the gain is measured on, the same for each way
BATCH = 256  # blocks that the logits are timed with: an image has more, and a batch is never filled up


def photographed_blocks() -> np.ndarray:
    """(256, 32, 32, 3) float32 in [0, 1] of the two photographs, in an order that is always the same."""
    blocks = np.concatenate([to_blocks(image).reshape(-1, 32, 32, 3) for image in read_photographs(None)])
    return np.random.default_rng(0).permutation(blocks)[:BATCH] / np.float32(255)


def logits(codec: trained.TrainedCodec, network: int, blocks: np.ndarray, steps: int) -> np.ndarray:
    codes = codec.encoders[network].predict(blocks, verbose=0)
    return optimised(codec, network, blocks, codes, steps=steps)[1]


def encoder(codec: trained.TrainedCodec, network: int, blocks: np.ndarray, steps: int) -> np.ndarray:
    return encoder_optimised(codec, network, blocks[:COMPARED], steps=steps)[1]


CONTENDERS: dict[str, Callable[..., np.ndarray]] = {"logits, in batches": logits, "encoder, block by block": encoder}


def measured(codec: trained.TrainedCodec, name: str, steps: int) -> dict[str, float]:
    """Seconds per megapixel, and how much less the squared error is in dB, with the middle one of the networks."""
    optimise, network, blocks = CONTENDERS[name], len(codec.code_lengths) // 2, photographed_blocks()
    before = optimise(codec, network, blocks, 0)[:COMPARED].sum()
    optimise(codec, network, blocks[:1], 1)  # pays for tracing
    start = time.perf_counter()
    errors = optimise(codec, network, blocks, steps)
    seconds = (time.perf_counter() - start) / len(errors)
    after = errors[:COMPARED].sum()
    return {"s_per_megapixel": seconds * 1e6 / 32**2, "gain_db": float(10 * np.log10(before / after))}


if __name__ == "__main__":
    found = measured(trained.load(SHIPPED), sys.argv[1], int(sys.argv[2]))
    print(json.dumps(found | {"peak": peak_gib()}))
