"""Keras' own ResNet and MobileNet with their ImageNet weights, cut into five blocks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
from keras import layers


@dataclass(frozen=True)
class _Network:
    application: str  # name in keras.applications
    ends: tuple[str, str, str, str]  # last layers of blocks 1 to 4
    strided: tuple[str, ...]  # layers that halve the maps in block 5, and their padding
    scaling: dict[str, Any]  # of pixels from 0 to 255
    blue_first: bool  # order of the channels
    options: dict[str, Any] = field(default_factory=dict)
    embedded: str | None = None  # the file of its weights that comes with it


def _resnet(depth: int, third: int, fourth: int) -> _Network:
    return _Network(
        f"ResNet{depth}",
        ("pool1_pool", "conv2_block3_out", f"conv3_block{third}_out", f"conv4_block{fourth}_out"),
        ("conv5_block1_0_conv", "conv5_block1_1_conv"),
        # Blue first, and the means of ImageNet: how these weights were trained.
        {"scale": 1, "offset": [-103.939, -116.779, -123.68]},
        True,
    )


def _mobilenet(width: float, embedded: str | None = None) -> _Network:
    ends = ("conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu")
    scaling = {"scale": 1 / 127.5, "offset": -1}
    return _Network("MobileNet", ends, ("conv_pad_12", "conv_dw_12"), scaling, False, {"alpha": width}, embedded)


_EMBEDDED = Path(__file__).parent / "weights"
NETWORKS = {
    "resnet50": _resnet(50, 4, 6),
    "resnet101": _resnet(101, 4, 23),
    "resnet152": _resnet(152, 8, 36),
    "mobilenet_0.25": _mobilenet(0.25, "mobilenet_2_5_224_tf_no_top.h5"),
    **{f"mobilenet_{width}": _mobilenet(width) for width in (0.5, 0.75, 1.0)},
}

EMBEDDED = {(name, "imagenet") for name, network in NETWORKS.items() if network.embedded}  # (network, weights)


def build(
    name: str, shape: tuple[int, int, int], weights: str | Path | None, last_stride: int
) -> tuple[keras.Model, ...]:
    """The five blocks of one of `NETWORKS`; arguments and errors as in `build_backbone`."""
    parts = NETWORKS[name]
    network = _with_weights(parts, shape, weights)
    if last_stride == 1:
        whole = network
        network = keras.models.clone_model(whole, clone_function=lambda layer: _at_stride_one(layer, parts.strided))
        network.set_weights(whole.get_weights())
    cuts = [network.input, *(network.get_layer(end).output for end in parts.ends), network.output]
    names = ("body", "block2", "block3", "block4", "block5")
    body, *others = (keras.Model(start, end, name=part) for start, end, part in zip(cuts, cuts[1:], names))
    image = keras.Input(shape, name="image")
    scaling = layers.Rescaling(**parts.scaling, name="scaling")
    channels = keras.ops.flip(image, axis=-1) if parts.blue_first else image
    return keras.Model(image, body(scaling(channels)), name="block1"), *others


def _with_weights(network: _Network, shape: tuple[int, int, int], weights: str | Path | None) -> keras.Model:
    if weights == "imagenet" and network.embedded:
        weights = _EMBEDDED / network.embedded
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise ValueError(f"There is no weights file {weights}. Pass a Keras file without top layers, or None.")
    try:
        return getattr(keras.applications, network.application)(
            include_top=False, input_shape=shape, weights=weights and str(weights), name="backbone", **network.options
        )
    except Exception as error:
        if weights is None:
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"The weights {weights} of {network.application} could not be loaded ({reason}). Without network access, "
            "copy Keras' file without top layers (…_notop.h5) here and pass its path as --weights."
        ) from error


def _at_stride_one(layer: keras.layers.Layer, strided: Sequence[str]) -> keras.layers.Layer:
    """The layer again; at stride 1 and with the padding to match if it is one of `strided`."""
    config = layer.get_config()
    if layer.name in strided and isinstance(layer, layers.ZeroPadding2D):
        config["padding"] = 0
    elif layer.name in strided:
        config.update(strides=1, padding="same")
    return type(layer).from_config(config)
