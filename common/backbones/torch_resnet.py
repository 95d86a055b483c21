"""ResNet50 (He et al., Deep Residual Learning for Image Recognition, CVPR 2016) with the layers of torchvision's.

It differs from Keras' in two ways: images are scaled to [0, 1] and then by ImageNet's means and deviations, and a stage
is strided in its 3×3 convolution. Weights trained for one give nothing in the other.
"""

from collections.abc import Callable

import keras
from keras import layers

from common.backbones import bottlenecks
from common.backbones.bottlenecks import EXPANSION, add, convolution, normalization


def torch_resnet50(shape: tuple[int, int, int], last_stride: int) -> tuple[keras.Model, ...]:
    """The five blocks: images `shape`, RGB from 0 to 255 -> feature maps (B, H/16, W/16, 2048) at `last_stride` 1."""
    return bottlenecks.build(shape, stem, bottleneck, last_stride)


def stem(image):
    """The first convolution: (B, H, W, 3) -> (B, H/2, W/2, 64)."""
    return convolution(image, 64, 7, 2, "conv1")


def bottleneck(x, planes: int, stride: int, first: bool, name: str, first_normalization: Callable = normalization):
    """A bottleneck as of `bottlenecks.build`, whose first normalization may be of another kind."""
    y = convolution(x, planes, 1, 1, f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(first_normalization(name=f"{name}_bn1")(y))
    y = convolution(y, planes, 3, stride, f"{name}_conv2")
    y = layers.ReLU(name=f"{name}_relu2")(normalization(f"{name}_bn2")(y))
    y = convolution(y, EXPANSION * planes, 1, 1, f"{name}_conv3")
    y = normalization(f"{name}_bn3")(y)
    if first:
        x = convolution(x, EXPANSION * planes, 1, stride, f"{name}_downsample_0")
        x = normalization(f"{name}_downsample_1")(x)
    return add(y, x, name)
