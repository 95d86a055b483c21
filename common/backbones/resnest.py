"""ResNeSt50 (Zhang et al., ResNeSt: Split-Attention Networks, CVPRW 2022), with the layers of its `resnest50`."""

import keras
from keras import layers, ops

from common.backbones import bottlenecks
from common.backbones.bottlenecks import EXPANSION, add, convolution, normalization

RADIX = 2  # parts that attention weighs against each other


class _GroupedConv2D(layers.Conv2D):
    """A grouped convolution as one convolution per group.

    TensorFlow computes grouped ones on CPUs through XLA alone, several times slower than these.
    """

    def convolution_op(self, inputs, kernel):
        convolve = super().convolution_op
        groups = zip(ops.split(inputs, self.groups, axis=-1), ops.split(kernel, self.groups, axis=-1))
        return ops.concatenate([convolve(part, weights) for part, weights in groups], axis=-1)


@keras.saving.register_keras_serializable(package="common")
class SplitAttention(layers.Layer):
    """A 3×3 convolution to two feature maps, and their sum weighted per image and channel (ResNeSt, section 3.1).

    The weights are a softmax over the two of what two dense layers make of the global average of both.

    Args:
        filters: C' of each of the two.

    Input shape: (B, H, W, C). Output shape: (B, H, W, C').
    """

    def __init__(self, filters: int, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.hidden = filters, max(filters * RADIX // 4, 32)
        both, own, he = filters * RADIX, {"dtype": self.dtype_policy}, {"kernel_initializer": "he_normal"}
        self.conv = _GroupedConv2D(both, 3, padding="same", groups=RADIX, use_bias=False, name="conv", **he, **own)
        self.bn0, self.bn1 = (
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name, **own) for name in ("bn0", "bn1")
        )
        self.fc1 = layers.Conv2D(self.hidden, 1, name="fc1", **he, **own)
        self.fc2 = layers.Conv2D(both, 1, name="fc2", **own)

    def build(self, input_shape):
        self.conv.build(input_shape)
        self.bn0.build((*input_shape[:-1], RADIX * self.filters))
        self.fc1.build((input_shape[0], 1, 1, self.filters))
        self.bn1.build((input_shape[0], 1, 1, self.hidden))
        self.fc2.build((input_shape[0], 1, 1, self.hidden))

    def call(self, inputs, training=None):
        x = ops.relu(self.bn0(self.conv(inputs), training=training))
        parts = ops.split(x, RADIX, axis=-1)  # each (B, H, W, C')
        pooled = ops.mean(sum(parts), axis=(1, 2), keepdims=True)  # (B, 1, 1, C')
        hidden = ops.relu(self.bn1(self.fc1(pooled), training=training))
        scores = ops.reshape(self.fc2(hidden), (-1, RADIX, 1, 1, self.filters))
        weights = ops.softmax(scores, axis=1)
        return sum(weights[:, index] * part for index, part in enumerate(parts))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


def resnest50(shape: tuple[int, int, int], last_stride: int) -> tuple[keras.Model, ...]:
    """The five blocks: images `shape`, RGB from 0 to 255 -> feature maps (B, H/16, W/16, 2048) at `last_stride` 1."""
    return bottlenecks.build(shape, _stem, _bottleneck, last_stride)


def _stem(image):
    x = convolution(image, 32, 3, 2, "conv1_0")
    x = layers.ReLU(name="conv1_2")(normalization("conv1_1")(x))
    x = convolution(x, 32, 3, 1, "conv1_3")
    x = layers.ReLU(name="conv1_5")(normalization("conv1_4")(x))
    return convolution(x, 64, 3, 1, "conv1_6")


def _bottleneck(x, planes: int, stride: int, first: bool, name: str):
    y = convolution(x, planes, 1, 1, f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu")(normalization(f"{name}_bn1")(y))
    y = SplitAttention(planes, name=f"{name}_conv2")(y)
    if first and planes > 64:
        # The average counts the padding, which Keras' "same" leaves out.
        y = layers.ZeroPadding2D(1, name=f"{name}_avd_padded")(y)
        y = layers.AveragePooling2D(3, stride, name=f"{name}_avd")(y)
    y = convolution(y, EXPANSION * planes, 1, 1, f"{name}_conv3")
    y = normalization(f"{name}_bn3")(y)
    if first:
        if stride > 1:
            x = layers.AveragePooling2D(stride, padding="same", name=f"{name}_downsample_0")(x)
        x = convolution(x, EXPANSION * planes, 1, 1, f"{name}_downsample_1")
        x = normalization(f"{name}_downsample_2")(x)
    return add(y, x, name)
