"""IBN-ResNet50 in variant IBN-a (Pan et al., Two at Once, ECCV 2018), with the layers of its `resnet50_ibn_a`."""

import keras
from keras import layers, ops

from common.backbones import bottlenecks
from common.backbones.bottlenecks import EXPANSION, add, convolution, normalization


@keras.saving.register_keras_serializable(package="common")
class InstanceBatchNormalization(layers.Layer):
    """IBN: the first half of the channels by their own image's statistics, the others by the batch's.

    Instance normalization takes out an image's contrast and color cast; batch normalization keeps what the first
    would lose. Both have a scale and an offset per channel, which are trained.

    Input shape: (B, H, W, C). Output shape: the same. An odd C gives the larger part to batch normalization.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.instance = layers.GroupNormalization(-1, epsilon=1e-5, dtype=self.dtype_policy, name="IN")
        self.batch = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=self.dtype_policy, name="BN")

    def build(self, input_shape):
        *size, channels = input_shape
        self.instance.build((*size, channels // 2))
        self.batch.build((*size, channels - channels // 2))

    def call(self, inputs, training=None):
        half = inputs.shape[-1] // 2
        parts = self.instance(inputs[..., :half]), self.batch(inputs[..., half:], training=training)
        return ops.concatenate(parts, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape


def ibn_resnet50(shape: tuple[int, int, int], last_stride: int) -> tuple[keras.Model, ...]:
    """The five blocks: images `shape`, RGB from 0 to 255 -> feature maps (B, H/16, W/16, 2048) at `last_stride` 1."""
    return bottlenecks.build(shape, lambda image: convolution(image, 64, 7, 2, "conv1"), _bottleneck, last_stride)


def _bottleneck(x, planes: int, stride: int, first: bool, name: str):
    # The deepest features tell what is seen and hardly how, so the last stage is left as it was.
    ibn = InstanceBatchNormalization(name=f"{name}_bn1") if planes < 512 else normalization(f"{name}_bn1")
    y = convolution(x, planes, 1, 1, f"{name}_conv1")
    y = layers.ReLU(name=f"{name}_relu1")(ibn(y))
    y = convolution(y, planes, 3, stride, f"{name}_conv2")
    y = layers.ReLU(name=f"{name}_relu2")(normalization(f"{name}_bn2")(y))
    y = convolution(y, EXPANSION * planes, 1, 1, f"{name}_conv3")
    y = normalization(f"{name}_bn3")(y)
    if first:
        x = convolution(x, EXPANSION * planes, 1, stride, f"{name}_downsample_0")
        x = normalization(f"{name}_downsample_1")(x)
    return add(y, x, name)
