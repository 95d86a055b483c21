"""One codec on a photograph of 768×512: prints core-seconds of encoding and decoding, and memory, as JSON.

python -m tests.benchmarks.contenders.codec NAME
"""

import sys
import time
from collections.abc import Callable

import numpy as np

from neural_compression import codec
from neural_compression.data import read_photographs
from neural_compression.networks.codec_file import load
from tests.benchmarks.contenders import measures

REPEATS = 5
SHAPE = 512, 768


def photograph() -> np.ndarray:
    """(512, 768, 3) uint8: what scikit-learn ships is smaller, so it goes on as its mirror image."""
    image = read_photographs(None)[0]
    height, width = image.shape[:2]
    return np.pad(image, ((0, SHAPE[0] - height), (0, SHAPE[1] - width), (0, 0)), mode="symmetric")


def shipped(optimize: codec.Optimize) -> tuple[Callable[[], object], Callable[[], object]]:
    """The codec of this project, from image to bytes and back."""
    model, image = load(codec.MODEL), photograph()
    data, _ = codec.encode(model, image, target_bpp=0.148)
    return lambda: codec.encode(model, image, target_bpp=0.148, optimize=optimize), lambda: codec.decode(model, data)


def factorized() -> tuple[Callable[[], object], Callable[[], object]]:
    """The networks alone of Ballé et al. 2018's factorized prior (N 128, M 192), which take nearly all of its time.

    Its weights are random, and nothing is coded.
    """
    import torch
    from torch import nn

    class Normalization(nn.Module):  # generalized divisive normalization, Ballé et al. 2016
        def __init__(self, channels: int, inverse: bool):
            super().__init__()
            self.inverse = inverse
            self.beta, self.gamma = (
                nn.Parameter(torch.ones(channels)),
                nn.Parameter(0.1 * torch.eye(channels)[..., None, None]),
            )

        def forward(self, x):
            norm = torch.sqrt(nn.functional.conv2d(x * x, self.gamma, self.beta))
            return x * norm if self.inverse else x / norm

    def down(channels, filters):
        return nn.Conv2d(channels, filters, 5, 2, 2)

    def up(channels, filters):
        return nn.ConvTranspose2d(channels, filters, 5, 2, 2, 1)

    def chain(make, widths, inverse):
        layers = [make(*pair) for pair in zip(widths, widths[1:])]
        between = [Normalization(width, inverse) for width in widths[1:-1]]
        joined = [part for pair in zip(layers, between) for part in pair]
        return nn.Sequential(*joined, layers[-1]).eval()

    analysis = chain(down, (3, 128, 128, 128, 192), False)
    synthesis = chain(up, (192, 128, 128, 128, 3), True)
    image = torch.from_numpy(photograph().transpose(2, 0, 1)[None] / np.float32(255))
    with torch.inference_mode():
        code = analysis(image).round()

    def run(network, tensor):
        with torch.inference_mode():
            return network(tensor)

    return lambda: run(analysis, image), lambda: run(synthesis, code)


CONTENDERS: dict[str, Callable[[], tuple[Callable[[], object], Callable[[], object]]]] = {
    "ours, file to file": lambda: shipped("off"),
    "ours, codes optimized": lambda: shipped("code"),
    "factorized prior, networks alone (PyTorch)": factorized,
}


def core_seconds(work: Callable[[], object], repeats: int) -> float:
    """The median."""
    return float(np.median(measures.seconds_of(work, repeats, clock=time.process_time)))


if __name__ == "__main__":
    name = sys.argv[1]
    encode, decode = CONTENDERS[name]()
    measures.report(
        encode=core_seconds(encode, 1 if "optimized" in name else REPEATS), decode=core_seconds(decode, REPEATS)
    )
