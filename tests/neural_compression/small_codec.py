"""A codec of tiny networks with random weights, and images for it."""

import numpy as np

from neural_compression.model import build_autoencoder, build_deblocking
from neural_compression.networks import codec_file
from tests.neural_compression.bitstream.synthetic_codes import random_model

LENGTHS = (8, 16, 24)


def set_weights_of(seed, network):
    """Glorot's weights, the same on every backend."""
    random = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        if variable.path.endswith("kernel"):
            *window, inputs, outputs = variable.shape
            limit = np.sqrt(6 / (np.prod(window) * (inputs + outputs)))
            variable.assign(random.uniform(-limit, limit, variable.shape))


def save_codec(path, seed=0, deblocking=True, width=2, lengths=LENGTHS):
    """Writes and loads it; random bit models, and an output layer that is no constant."""
    networks = [build_autoencoder(length, width=width, growing="upsampling") for length in lengths]
    for number, network in enumerate(networks):
        set_weights_of((seed, number), network.training_model)
        for part in (network.encoder, network.decoder):
            part.set_weights([3 * array if array.ndim > 1 else array for array in part.get_weights()])
    filtering = None
    if deblocking:
        filtering = build_deblocking(2)
        kernel = filtering.get_layer("change").kernel
        kernel.assign(np.random.default_rng(seed).normal(0, 2, kernel.shape))
    settings = {
        "code_lengths": lengths,
        "closed_form": False,
        "width": width,
        "normalization": "l2",
        "growing": "upsampling",
        "deblocking_width": 2,
    }
    parts = [(network.encoder, network.decoder) for network in networks]
    bits = [random_model(length, length + seed, scale=8) for length in lengths]
    return codec_file.save(path, settings, parts, bits, filtering)


def picture(height, width, seed=0, channels=3):
    """(H, W, C) uint8: soft colors with some noise; (H, W) if C is 0."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width, :1][:2]
    frequency = random.uniform(0.02, 0.2, (2, max(1, channels)))
    waves = 127 + 90 * np.sin(y * frequency[0] + random.uniform(0, 6)) * np.cos(x * frequency[1])
    image = np.clip(waves + random.normal(0, 8, waves.shape), 0, 255).astype(np.uint8)
    return image if channels else image[..., 0]
