"""A trained codec in one file: the networks of all code lengths, their bit models and the deblocking network."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.files import read_arrays, replacing

from ..bitstream import container
from ..bitstream.bit_model import BitModel
from ..bitstream.container import BLOCK
from . import inference

if TYPE_CHECKING:  # coding and decoding load no framework
    import keras

    from ..model import Autoencoder

CODEC = "codec.npz"  # name of a trained codec in the folder of its trial
VERSION = 3  # of the file
# That networks are built with.
SETTINGS = "code_lengths", "closed_form", "width", "normalization", "growing", "deblocking_width"
_PARTS = "encoder", "decoder"


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
    encoders: Sequence[Any]  # inference.Network, or keras.Model where gradients are needed
    decoders: Sequence[Any]
    bit_models: Sequence[BitModel]
    deblocking: Any  # inference.Deblocking or None
    settings: dict[str, object]
    arrays: dict[str, np.ndarray]

    @cached_property
    def fingerprint(self) -> bytes:
        """Eight bytes that stand in each coded file, as a function of all numbers."""
        return container.fingerprint(self.arrays)

    @cached_property
    def in_keras(self) -> "TrainedCodec":
        """The same with networks of Keras, which have gradients; frozen, and in float32 whatever the policy."""
        from common.experiments.training import precision
        from common.random_state import seeded

        from ..model import build_deblocking

        with seeded(0), precision("float32"):  # initial weights, which the file's replace
            networks = _in_keras(self.settings, self.arrays)
            encoders = [_filled(network.encoder, self.arrays, f"encoder{i}") for i, network in enumerate(networks)]
            decoders = [_filled(network.decoder, self.arrays, f"decoder{i}") for i, network in enumerate(networks)]
            deblocking: Any = None
            if self.deblocking is not None:
                width: Any = self.settings["deblocking_width"]
                deblocking = _filled(build_deblocking(width), self.arrays, "deblocking")
        return replace(self, encoders=encoders, decoders=decoders, deblocking=deblocking)


def save(
    path: Path,
    settings: dict[str, object],
    networks: "Sequence[tuple[keras.Model, keras.Model]]",
    bit_models: Sequence[BitModel],
    deblocking: "keras.Model | None",
) -> TrainedCodec:
    """Writes a codec and returns it as `load` reads it: weights are stored as float16, which halves the file.

    Args:
        path: npz to write.
        settings: `SETTINGS` of `Config`.
        networks: encoder and decoder of each code length.
        bit_models: one for each.
        deblocking: or None.
    """
    from . import pyramid

    head = json.dumps({"version": VERSION, **settings}, sort_keys=True)
    arrays: dict[str, Any] = {"settings": np.frombuffer(head.encode(), "uint8")}
    for i, ((encoder, decoder), bits) in enumerate(zip(networks, bit_models)):
        for part, network in (("encoder", encoder), ("decoder", decoder)):
            own: Any = pyramid.own_layer(network) if settings["closed_form"] else network
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


def load(path: Path) -> TrainedCodec:
    """Reads a codec, whose networks compute in float32 however they were trained: their codes decode on any machine.

    Raises:
        ValueError: the file is missing, damaged, or of another version.
    """
    settings, arrays = _read(path)
    try:
        lengths = tuple(settings["code_lengths"])
        networks = _networks(settings, arrays)
        bit_models = [BitModel.load(_below(f"bits{i}", arrays)) for i in range(len(lengths))]
        filtering = _weights("deblocking", arrays)
        deblocking = inference.Deblocking(filtering) if filtering else None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no trained codec, or damaged ({error!r}). Train it again.") from error
    encoders, decoders = ([network[part] for network in networks] for part in (0, 1))
    return TrainedCodec(lengths, encoders, decoders, bit_models, deblocking, settings, arrays)


def identity(path: Path) -> tuple[tuple[int, ...], bytes]:
    """The code lengths and the fingerprint of a codec, whose networks are not built; errors as for `load`."""
    settings, arrays = _read(path)
    return tuple(settings["code_lengths"]), container.fingerprint(arrays)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
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
    if "code_lengths" not in settings:
        raise ValueError(f"{damaged} (it has no code lengths). Train it again.")
    return settings, arrays


def _networks(
    settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> list[tuple[inference.Network, inference.Network]]:
    """Encoder and decoder of each code length, in NumPy; `_in_keras` makes the same in Keras."""
    if settings["closed_form"]:
        return _of_pyramid(settings["code_lengths"], arrays)
    options = settings["normalization"], settings["growing"] == "deconvolution"
    return [
        _of_convolutions(length, *options, *(_weights(f"{part}{i}", arrays) for part in _PARTS))
        for i, length in enumerate(settings["code_lengths"])
    ]


def _of_pyramid(
    lengths: Sequence[int], arrays: Mapping[str, np.ndarray]
) -> list[tuple[inference.Network, inference.Network]]:
    """See `pyramid.build`; what makes logits steeper, which rounding undoes, is left out."""
    analysis, (*synthesis, kernel, bias) = (_weights(part, arrays) for part in ("analysis", "synthesis"))
    down: list[inference.Layer] = []
    for i in range(0, len(analysis), 3):
        down.append(inference.Convolution(analysis[i], analysis[i + 1], analysis[i + 2], stride=2))
    up: list[inference.Layer] = []
    for i in range(0, len(synthesis), 3):  # Keras has the kernel of a deconvolution as (3, 3, D, C)
        transposed = synthesis[i].swapaxes(2, 3)
        up.append(inference.Growing(transposed, synthesis[i + 1], synthesis[i + 2], transposed=True))
    pixels, networks = inference.Dense(kernel, bias), []
    for i, length in enumerate(lengths):
        code, levels = (inference.Dense(*_weights(f"{part}{i}", arrays)) for part in _PARTS)
        encoder: list[inference.Layer] = [*down, inference.flatten, code, inference.sigmoid]
        networks.append(_pair(length, tuple(encoder), (levels, inference.one_pixel, *up, pixels)))
    return networks


def _of_convolutions(
    length: int, normalization: str, transposed: bool, encoder: list[np.ndarray], decoder: list[np.ndarray]
) -> tuple[inference.Network, inference.Network]:
    """See `model.build_autoencoder`: convolutions with PReLU, the last one with a sigmoid."""
    step = 7 if normalization == "batch" else 3  # numbers of a convolution, of batch normalization, the slope

    def layers(
        weights: list[np.ndarray], kind: Callable[..., inference.Layer], swapped: bool = False
    ) -> Iterator[inference.Layer]:
        for i in range(0, len(weights) - 2, step):
            kernel, bias, *statistics, slope = weights[i : i + step]
            kernel = kernel.swapaxes(2, 3) if swapped else kernel  # as above
            if statistics:
                kernel, bias = inference.with_batch_normalization(kernel, bias, *statistics)
            yield kind(kernel, bias, slope)
        yield from (inference.Dense(*weights[-2:]), inference.sigmoid)

    normalized = [inference.normalized_by_length] if normalization == "l2" else []
    down = *layers(encoder, partial(inference.Convolution, stride=2)), inference.flatten
    up = layers(decoder, partial(inference.Growing, transposed=transposed), transposed)
    return _pair(length, down, (*normalized, inference.one_pixel, *up))


def _pair(
    length: int, encoder: tuple[inference.Layer, ...], decoder: tuple[inference.Layer, ...]
) -> tuple[inference.Network, inference.Network]:
    return inference.Network(encoder, (None, length)), inference.Network(decoder, (None, BLOCK, BLOCK, 3))


def _below(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with this one, by the rest of theirs."""
    return {n.removeprefix(f"{name}/"): array for n, array in arrays.items() if n.startswith(f"{name}/")}


def _weights(name: str, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Those of a network in Keras' order, as float32."""
    own = _below(name, arrays)
    return [own[str(n)].astype(np.float32) for n in range(len(own))]


def _in_keras(settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "list[Autoencoder]":
    """Of each code length; what is theirs alone is yet to be filled in."""
    from ..model import build_autoencoder
    from . import pyramid

    lengths = settings["code_lengths"]
    if settings["closed_form"]:
        networks = pyramid.build(lengths, settings["width"])
        for part in pyramid.shared((networks[0].encoder, networks[0].decoder)):
            _filled(part, arrays, part.name)
        return networks
    options = {name: settings[name] for name in ("width", "normalization", "growing")}
    return [build_autoencoder(length, **options) for length in lengths]


def _filled(network: "keras.Model", arrays: Mapping[str, np.ndarray], name: str) -> "keras.Model":
    """The network with the file's weights; get_weights and set_weights have one order."""
    from .pyramid import own_layer

    own = own_layer(network) or network
    own.set_weights(_weights(name, arrays))
    network.trainable = False
    return network
