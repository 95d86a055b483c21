"""IBN-ResNet50 in variant IBN-a (Pan et al., Two at Once, ECCV 2018), with the layers of its `resnet50_ibn_a`."""

import keras
from keras import layers, ops

from common.backbones import bottlenecks
from common.backbones.bottlenecks import normalization
from common.backbones.torch_resnet import bottleneck, stem


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
    return bottlenecks.build(shape, stem, _bottleneck, last_stride)


def _bottleneck(x, planes: int, stride: int, first: bool, name: str):
    # The deepest features tell what is seen and hardly how, so the last stage is left as it was.
    return bottleneck(x, planes, stride, first, name, InstanceBatchNormalization if planes < 512 else normalization)
