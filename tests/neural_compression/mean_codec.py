"""A codec whose images and files follow by hand: a block becomes the means of its three channels, rounded to levels."""

import math

import numpy as np

from neural_compression.bitstream.bit_model import BitModel
from neural_compression.bitstream.entropy import encode_difference, encode_networks
from neural_compression.model import Autoencoder, build_deblocking
from neural_compression.networks import codec_file, pyramid

LEVELS = (2, 16, 64)  # of a channel with each network: (0.5 … L - 0.5) / L
LENGTHS = tuple(3 * (levels - 1) for levels in LEVELS)  # a bit for each border of levels, whether a mean is above it
ADDED = np.array([2, -1, 1])  # by the deblocking network to red, green and blue
_STEEP = 64


def networks() -> list[Autoencoder]:
    """As a pyramid whose first three coefficients are the channels: each the sum of 1024 samples by 32."""
    made = pyramid.build(LENGTHS, 3)
    # Level by level, the sum of four by two.
    cells = [
        np.tile(np.eye(3 * 2 ** max(0, i - 1), 3 * 2**i) * (np.arange(3 * 2**i) < 3) / 2, (2, 2, 1, 1))
        for i in range(5)
    ]
    pyramid.set_cells(made, cells, np.zeros(3))
    for levels, network in zip(LEVELS, made):
        channel = np.repeat(np.eye(48, 3), levels - 1, axis=1)  # (48, K)
        borders = np.tile(np.arange(1, levels) * 32 / levels, 3)
        pyramid.own_layer(network.encoder).set_weights([_STEEP * channel, -_STEEP * borders])
        pyramid.own_layer(network.decoder).set_weights([channel.T * 32 / levels, np.eye(3, 48).sum(0) * 16 / levels])
    return made


def save_codec(path):
    """Writes and loads it, with bit models to which all bits are as likely, so that each takes one bit."""
    deblocking = build_deblocking(2)
    deblocking.get_layer("change").bias.assign(ADDED / 255)
    settings = {
        "code_lengths": LENGTHS,
        "closed_form": True,
        "width": 3,
        "normalization": "l2",
        "growing": "upsampling",
        "deblocking_width": 2,
    }
    parts = [(network.encoder, network.decoder) for network in networks()]
    bits = [BitModel(*np.zeros((3, length, length), int), np.zeros(length, int)) for length in LENGTHS]
    return codec_file.save(path, settings, parts, bits, deblocking)


def photograph(height, width, seed):
    """(H, W, 3) uint8, from 20 to 236: blocks of one color each, with noise that differs from block to block.

    The first has levels of the shortest code.
    """
    random = np.random.default_rng(seed)
    grid = -(-height // 32), -(-width // 32)
    colors, noise = random.uniform(60, 196, (*grid, 3)), random.choice([0, 2, 10, 40], (*grid, 1))
    colors[0, 0], noise[0, 0] = (64, 191, 64), 2
    colors, noise = (array.repeat(32, axis=0).repeat(32, axis=1)[:height, :width] for array in (colors, noise))
    return np.rint(colors + random.uniform(-1, 1, (height, width, 3)) * noise).astype(np.uint8)


class Expected:
    """What each network makes of an image, by NumPy alone; `levels` (networks, R, C, 3) may be others."""

    def __init__(self, image, levels=None):
        self.image, (height, width) = image, image.shape[:2]
        self.grid = rows, columns = -(-height // 32), -(-width // 32)
        padded = np.pad(image, ((0, 32 * rows - height), (0, 32 * columns - width), (0, 0)), mode="edge")
        self.sums = padded.astype(int).reshape(rows, 32, columns, 32, 3).sum((1, 3))  # (R, C, 3)
        # A mean is above j of the borders 1 / L, 2 / L …
        own = [((self.sums[..., None] * n > np.arange(1, n) * 255 * 1024).sum(-1)) for n in LEVELS]
        self.levels = np.array(own) if levels is None else levels
        values = [np.rint(255 * (number + 0.5) / n) for number, n in zip(self.levels, LEVELS)]
        self.decoded = [v.repeat(32, axis=0).repeat(32, axis=1)[:height, :width].astype(int) for v in values]
        squares = [np.square(decoded - image).sum(-1) for decoded in self.decoded]
        blocks = [[np.s_[32 * r : 32 * r + 32, 32 * c : 32 * c + 32] for c in range(columns)] for r in range(rows)]
        self.errors = np.array([[[square[block].sum() for block in line] for line in blocks] for square in squares])
        self.samples = np.array([[image[block].size for block in line] for line in blocks])

    def code(self, network, row, column):
        """(K,) bits of a block: as many ones as borders are below its mean, channel by channel."""
        borders = np.arange(1, LEVELS[network])
        return (self.levels[network, row, column][:, None] >= borders).ravel().astype(np.uint8)

    def by_weight(self, weight):
        """(R, C) networks with the least squared error + λ · bits."""
        return (self.errors + weight * np.array(LENGTHS)[:, None, None]).argmin(0)

    def by_psnr(self, target):
        """(R, C) networks, the shortest that reach a PSNR in dB."""
        psnr = 10 * np.log10(255**2 * self.samples / np.maximum(self.errors, 1))
        return np.where((psnr >= target).any(0), (psnr >= target).argmax(0), len(LENGTHS) - 1)

    def bytes(self, choice, mode="context"):
        """Of a file: 22, those of the map, and those of the codes, a bit each or as differences."""
        codes = np.concatenate([self.code(n, *place) for place, n in np.ndenumerate(choice)])
        size = math.ceil(len(codes) / 8) if mode == "context" else len(encode_difference(codes))
        return 22 + len(encode_networks(choice.astype(np.uint8), len(LENGTHS))) + size

    def bits(self, choice):
        """What a file is expected to take: bytes as above, but codes have their bits and no more."""
        indicators = len(encode_networks(choice.astype(np.uint8), len(LENGTHS)))
        return 8 * (22 + indicators) + np.array(LENGTHS)[choice].sum()

    def reconstruction(self, choice, added=ADDED):
        """(H, W, 3) uint8 after the deblocking network."""
        whole = np.stack(self.decoded)
        networks = choice.repeat(32, axis=0).repeat(32, axis=1)[: self.image.shape[0], : self.image.shape[1]]
        return np.clip(np.take_along_axis(whole, networks[None, ..., None], 0)[0] + added, 0, 255).astype(np.uint8)


def point(images, choices, mode="context"):
    """The rate of all files and the PSNRs in dB: of one error over all samples, and the mean of the images' own."""
    squares = [np.square(x.reconstruction(c).astype(int) - x.image).sum() for x, c in zip(images, choices)]
    sizes, samples = [x.bytes(c, mode) for x, c in zip(images, choices)], [x.image.size for x in images]
    return {
        "bits_per_pixel": 8 * sum(sizes) / (sum(samples) / 3),
        "dataset_psnr": 10 * np.log10(255**2 / (sum(squares) / sum(samples))),
        "mean_psnr": np.mean([10 * np.log10(255**2 / (s / n)) for s, n in zip(squares, samples)]),
    }
