"""A residual network of 0.3 million weights, which starts from random ones: for smoke runs and tests."""

import keras
from keras import layers


def small_resnet(shape: tuple[int, int, int], last_stride: int) -> tuple[keras.Model, ...]:
    """The five blocks: images `shape`, RGB from 0 to 255 -> feature maps (B, H/16, W/16, 96) at `last_stride` 1."""
    image = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scaling")(image)
    x = _convolution(x, 16, 3, 2, "stem")
    blocks = [keras.Model(image, x, name="block1")]
    for stage, (filters, stride) in enumerate(((24, 2), (48, 2), (64, 2), (96, last_stride)), 1):
        features = keras.Input(x.shape[1:], name="features")
        x = _residual(features, filters, stride, f"stage{stage}")
        blocks.append(keras.Model(features, x, name=f"block{stage + 1}"))
    return tuple(blocks)


def _residual(x, filters: int, stride: int, name: str):
    y = _convolution(x, filters, 3, stride, f"{name}_a")
    y = _convolution(y, filters, 3, 1, f"{name}_b", activation=False)
    x = _convolution(x, filters, 1, stride, f"{name}_shortcut", activation=False)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_sum")([x, y]))


def _convolution(x, filters: int, size: int, stride: int, name: str, activation: bool = True):
    x = layers.Conv2D(filters, size, stride, "same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)  # trainings on a CPU are short
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x
