"""Convolutional backbones in five consecutive blocks, of which a model may use the last one several times.

The last block runs at stride 1 by default, which doubles the height and width of its feature maps and leaves all
weights as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from common.backbones import checkpoints, keras_applications
from common.backbones.small_resnet import small_resnet

__all__ = ["Backbone", "build_backbone"]


@dataclass(frozen=True)
class Backbone:
    """A backbone in consecutive blocks ("block1" to "block5")."""

    # The first takes images (B, H, W, 3), RGB from 0 to 255, of any dtype, and scales them as its weights were trained;
    # each other one takes the feature maps of the one before it.
    blocks: tuple[keras.Model, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, 3)."""
        return self.blocks[0].input_shape[1:]

    @property
    def last_block(self) -> keras.Model:
        """Feature maps (B, H/16, W/16, C') -> (B, H/16, W/16, C), or half that size if it has its stride."""
        return self.blocks[-1]

    def trunk(self, images):
        """All blocks but the last: images (B, H, W, 3) -> feature maps (B, H/16, W/16, C')."""
        for block in self.blocks[:-1]:
            images = block(images)
        return images

    def copy_of_last_block(self, name: str) -> keras.Model:
        """Another last block that starts with the same weights and shares none."""
        copy = keras.models.clone_model(self.last_block)
        copy.set_weights(self.last_block.get_weights())
        copy.name = name
        return copy


def build_backbone(
    name: str, image_size: Sequence[int], weights: str | Path | None = "imagenet", *, last_stride: int = 1
) -> Backbone:
    """Builds a backbone.

    Args:
        name: "resnet50", "resnet101", "resnet152", "mobilenet_0.25" (or 0.5, 0.75, 1.0), "ibn_resnet50", "resnest50",
            or "small_resnet", a residual network of 0.3 million weights for trainings on a CPU.
        image_size: (H, W).
        weights: "imagenet" downloads Keras' own of a ResNet or a MobileNet; else the path of such a file without its
            top layers, or for ibn_resnet50 and resnest50 of a file from `python -m common.backbones import`; None
            starts from random ones.
        last_stride: of the last block; 2 gives the networks as published, whose maps are (B, H/32, W/32, C).

    Raises:
        ValueError: the name or the stride is unknown, or the weights cannot be had or do not fit.
    """
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2, got {last_stride}.")
    height, width = image_size
    shape = (height, width, 3)
    for module in (keras_applications, checkpoints):
        if name in module.NETWORKS:
            return Backbone(module.build(name, shape, weights, last_stride))
    if name != "small_resnet":
        known = [*keras_applications.NETWORKS, *checkpoints.NETWORKS, "small_resnet"]
        raise ValueError(f"Unknown backbone {name!r}; expected one of {known}.")
    if weights is not None:
        raise ValueError(f"small_resnet has no pretrained weights: use --weights None, got {weights}.")
    return Backbone(small_resnet(shape, last_stride))
