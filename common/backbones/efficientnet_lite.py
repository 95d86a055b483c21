"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, ICML 2019) without squeeze-and-excitation and with ReLU6.

The layers are those of TensorFlow's original: strided maps are padded as Keras' "same" does, and batch normalization
has Keras' constants. A layer is named after its weights in the PyTorch checkpoint.
"""

import re

import keras
from keras import layers

# Expansion, channels, repetitions, stride of the first, and size of the depthwise kernel.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, None, 5),  # the last stride is the caller's
    (6, 320, 1, 1, 3),
)
_CUTS = (1, 3, 5, 11)  # bottlenecks that a block begins with
_HEAD = 1280  # channels of the last convolution


def checkpoint_name(layer: str) -> str:
    """The name in the checkpoint: _blocks.3._bn0 of blocks_3_bn0, _conv_stem of conv_stem."""
    part = re.fullmatch(r"blocks_(\d+)_(\w+)", layer)
    return f"_blocks.{part[1]}._{part[2]}" if part else f"_{layer}"


def efficientnet_lite0(shape: tuple[int, int, int], last_stride: int) -> tuple[keras.Model, ...]:
    """The five blocks: images `shape`, RGB from 0 to 255 -> feature maps (B, H/16, W/16, 1280) at `last_stride` 1."""
    # NOTE(paper): without the original's stochastic depth, as neither MobileNet nor the ResNets have it.
    start = image = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="scaling")(image)
    x = _convolution(x, 32, 3, 2, "conv_stem", "bn0")
    blocks: list[keras.Model] = []
    bottlenecks = [
        (expansion, channels, (stride or last_stride) if first else 1, size)
        for expansion, channels, count, stride, size in _STAGES
        for first in [True, *[False] * (count - 1)]
    ]
    for index, bottleneck in enumerate(bottlenecks):
        if index in _CUTS:
            blocks.append(keras.Model(start, x, name=f"block{len(blocks) + 1}"))
            start = x = keras.Input(x.shape[1:], name="features")
        x = _bottleneck(x, *bottleneck, f"blocks_{index}")
    x = _convolution(x, _HEAD, 1, 1, "conv_head", "bn1")
    return *blocks, keras.Model(start, x, name="block5")


def _bottleneck(x, expansion: int, channels: int, stride: int, size: int, name: str):
    y, inputs = x, x.shape[-1]
    if expansion > 1:
        y = _convolution(y, expansion * inputs, 1, 1, f"{name}_expand_conv", f"{name}_bn0")
    depthwise = layers.DepthwiseConv2D(
        size, stride, "same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}_depthwise_conv"
    )
    y = layers.ReLU(6, name=f"{name}_depthwise_relu")(layers.BatchNormalization(name=f"{name}_bn1")(depthwise(y)))
    y = _convolution(y, channels, 1, 1, f"{name}_project_conv", f"{name}_bn2", activation=False)
    return layers.Add(name=f"{name}_sum")([x, y]) if stride == 1 and inputs == channels else y


def _convolution(x, filters: int, size: int, stride: int, name: str, normalization: str, activation: bool = True):
    x = layers.Conv2D(filters, size, stride, "same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    x = layers.BatchNormalization(name=normalization)(x)
    return layers.ReLU(6, name=f"{name}_relu")(x) if activation else x
