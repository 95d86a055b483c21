"""A trained codec in one file: the networks of all code lengths, their bit models and the deblocking network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.experiments.training import precision
from common.files import read_arrays, replacing
from common.random_state import seeded

from ..bitstream import container
from ..bitstream.bit_model import BitModel
from ..model import Autoencoder, build_autoencoder, build_deblocking
from . import pyramid

CODEC = "codec.npz"  # name of a trained codec in the folder of its trial
VERSION = 3  # of the file
SETTINGS = (
    "code_lengths",
    "closed_form",
    "width",
    "normalization",
    "growing",
    "deblocking_width",
)  # that networks are built with


@dataclass(frozen=True)
class TrainedCodec:
    """Everything that encoding and decoding need.

    Attributes:
        code_lengths: K of each network, increasing.
        encoders: blocks (B, 32, 32, 3) in [0, 1] -> codes (B, K) in (0, 1), one for each length.
        decoders: codes (B, K) of 0 and 1 -> blocks (B, 32, 32, 3) in [0, 1].
        bit_models: what the entropy coder expects of the codes.
        deblocking: images (B, H, W, 3) in [0, 1], H and W multiples of 8 -> without borders of blocks; or None.
        settings: what the networks are built with.
        arrays: all numbers, as they stand in the file.
    """

    code_lengths: tuple[int, ...]
    encoders: Sequence[keras.Model]
    decoders: Sequence[keras.Model]
    bit_models: Sequence[BitModel]
    deblocking: keras.Model | None
    settings: dict[str, object]
    arrays: dict[str, np.ndarray]

    @cached_property
    def fingerprint(self) -> bytes:
        """Eight bytes that stand in each coded file, as a function of all numbers."""
        return container.fingerprint(self.arrays)


def save(
    path: Path,
    settings: dict[str, object],
    networks: Sequence[tuple[keras.Model, keras.Model]],
    bit_models: Sequence[BitModel],
    deblocking: keras.Model | None,
) -> TrainedCodec:
    """Writes a codec and returns it as `load` reads it: weights are stored as float16, which halves the file.

    Args:
        path: npz to write.
        settings: `SETTINGS` of `Config`.
        networks: encoder and decoder of each code length.
        bit_models: one for each.
        deblocking: or None.
    """
    head = json.dumps({"version": VERSION, **settings}, sort_keys=True)
    arrays: dict[str, Any] = {"settings": np.frombuffer(head.encode(), "uint8")}
    for i, ((encoder, decoder), bits) in enumerate(zip(networks, bit_models)):
        for part, network in (("encoder", encoder), ("decoder", decoder)):
            own = pyramid.own_layer(network) if settings["closed_form"] else network
            arrays |= {f"{part}{i}/{n}": array.astype(np.float16) for n, array in enumerate(own.get_weights())}
        arrays |= {f"bits{i}/{name}": array for name, array in bits.save().items()}
    if settings["closed_form"]:  # all networks share their convolutions
        for part in pyramid.shared(networks[0]):
            arrays |= {f"{part.name}/{n}": array.astype(np.float16) for n, array in enumerate(part.get_weights())}
    if deblocking is not None:
        arrays |= {f"deblocking/{n}": array.astype(np.float16) for n, array in enumerate(deblocking.get_weights())}
    with replacing(Path(path)) as temporary:
        np.savez_compressed(temporary, **arrays)
    return load(path)


@seeded(0)  # initial weights, which the file's replace
@precision("float32")
def load(path: Path) -> TrainedCodec:
    """Reads a codec, whose networks compute in float32 however they were trained: their codes decode on any machine.

    Raises:
        ValueError: the file is missing, damaged, or of another version.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no trained codec {path}. Train one, or check the path.")
    arrays = read_arrays(Path(path))
    damaged = f"{path} is no trained codec, or damaged"
    try:
        settings = json.loads(arrays["settings"].tobytes())
        version = settings.pop("version")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{damaged} ({error!r}). Train it again.") from error
    if version != VERSION:
        raise ValueError(f"{path} has another version of the format, expected {VERSION}. Train the codec again.")
    try:
        encoders, decoders, bit_models = [], [], []
        for i, network in enumerate(_networks(settings, arrays)):
            encoders.append(_filled(network.encoder, arrays, f"encoder{i}"))
            decoders.append(_filled(network.decoder, arrays, f"decoder{i}"))
            prefix = f"bits{i}/"
            bit_models.append(
                BitModel.load({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
            )
        deblocking = None
        if any(name.startswith("deblocking/") for name in arrays):
            deblocking = _filled(build_deblocking(settings["deblocking_width"]), arrays, "deblocking")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{damaged} ({error!r}). Train it again.") from error
    lengths = tuple(settings["code_lengths"])
    return TrainedCodec(lengths, encoders, decoders, bit_models, deblocking, settings, arrays)


def _networks(settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[Autoencoder]:
    """Of each code length; what is theirs alone is yet to be filled in."""
    lengths = settings["code_lengths"]
    if settings["closed_form"]:
        networks = pyramid.build(lengths, settings["width"])
        for part in pyramid.shared((networks[0].encoder, networks[0].decoder)):
            _filled(part, arrays, part.name)
        return networks
    options = {name: settings[name] for name in ("width", "normalization", "growing")}
    return [build_autoencoder(length, **options) for length in lengths]


def _filled(network: keras.Model, arrays: Mapping[str, np.ndarray], name: str) -> keras.Model:
    """The network with the file's weights; get_weights and set_weights have one order."""
    own = pyramid.own_layer(network) or network
    own.set_weights([np.float32(arrays[f"{name}/{n}"]) for n in range(len(own.weights))])
    network.trainable = False
    return network
