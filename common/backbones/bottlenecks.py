"""What the bottleneck networks of PyTorch checkpoints share.

A layer is named after its weights in the checkpoint, `layer1.0.conv1.weight` is in layer1_0_conv1: the import goes by
these names. Strided kernels are padded on both sides, as PyTorch does; Keras' "same" pads an even size at its end.
"""

from collections.abc import Callable

import keras
from keras import layers

# As torchvision scales images: to [0, 1], then by ImageNet's means and standard deviations.
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # planes and bottlenecks
EXPANSION = 4  # channels after a bottleneck per plane


def build(
    shape: tuple[int, int, int], stem: Callable, bottleneck: Callable, last_stride: int
) -> tuple[keras.Model, ...]:
    """The five blocks of a network with 50 layers.

    Args:
        shape: (H, W, 3) of images, RGB from 0 to 255.
        stem: scaled images (B, H, W, 3) -> (B, H/2, W/2, 64), before normalization.
        bottleneck: called with features (B, H, W, C), planes, stride, whether it is the first of its stage, and name;
            returns (B, H/stride, W/stride, 4 planes).
        last_stride: of the last stage.
    """
    image = keras.Input(shape, name="image")
    scale = [1 / (255 * deviation) for deviation in _DEVIATIONS]
    offset = [-mean / deviation for mean, deviation in zip(_MEANS, _DEVIATIONS)]
    x = stem(layers.Rescaling(scale, offset, name="scaling")(image))
    x = layers.ReLU(name="relu")(normalization("bn1")(x))
    x = layers.ZeroPadding2D(1, name="maxpool_padded")(x)  # zeros are no maxima: nothing is below them
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    blocks = [keras.Model(image, x, name="block1")]
    for stage, ((planes, count), stride) in enumerate(zip(_STAGES, (1, 2, 2, last_stride)), 1):
        features = x = keras.Input(x.shape[1:], name="features")
        for index in range(count):
            x = bottleneck(x, planes, stride if index == 0 else 1, index == 0, f"layer{stage}_{index}")
        blocks.append(keras.Model(features, x, name=f"block{stage + 1}"))
    return tuple(blocks)


def convolution(x, filters: int, size: int, stride: int, name: str):
    """A convolution without bias that keeps, or with stride 2 halves, height and width, rounded up."""
    if stride > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}_padded")(x)
    padding = "same" if stride == 1 else "valid"
    return layers.Conv2D(filters, size, stride, padding, use_bias=False, kernel_initializer="he_normal", name=name)(x)


def normalization(name: str) -> layers.BatchNormalization:
    """Batch normalization with PyTorch's constants."""
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def add(x, shortcut, name: str):
    """The end of a bottleneck: max(x + shortcut, 0)."""
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_sum")([x, shortcut]))
