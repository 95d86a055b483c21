"""The branches of a re-identification network, and their classifiers."""

from typing import Protocol

import keras
from keras import layers

from common.backbones import Backbone


class TrainableNetwork(Protocol):
    """Graphs over the same layers, as the projects build them."""

    @property
    def training_model(self) -> keras.Model: ...

    @property
    def frozen_blocks(self) -> tuple[keras.Model, ...]: ...


def branch_maps(backbone: Backbone, image, regional_branches: bool) -> tuple[dict, tuple[keras.Model, ...]]:
    """The feature maps of each branch (Publications I and II, Fig. 1).

    Args:
        backbone: gives (B, H/16, W/16, C) feature maps.
        image: (B, H, W, 3).
        regional_branches: whether there are branches "upper" and "lower" too, on halves of the maps.

    Returns:
        Branch -> its maps: (B, H/16, W/16, C), of the regional ones (B, H/32, W/16, C/2); and the pretrained models
        behind them.
    """
    features = backbone.trunk(image)  # (B, H/16, W/16, C')
    maps = {"global": backbone.last_block(features)}  # (B, H/16, W/16, C)
    if not regional_branches:
        return maps, backbone.blocks
    # One copy of block 5 for both regions; the global branch shares nothing with them.
    regional = backbone.copy_of_last_block("regional_block")
    whole = regional(features)
    half = whole.shape[1] // 2
    for region, part in (("upper", whole[:, :half]), ("lower", whole[:, half:])):  # (B, H/32, W/16, C)
        reduce = layers.Conv2D(whole.shape[-1] // 2, 3, padding="same", activation="relu", name=f"{region}_reduced")
        maps[region] = reduce(part)  # (B, H/32, W/16, C/2)
    return maps, (*backbone.blocks, regional)


def identity_logits(branch: str, embedding, num_identities: int):
    """The classifier of a branch: embedding (B, D) -> logits (B, identities), all of it in float32."""
    normalized = layers.BatchNormalization(epsilon=2e-5, dtype="float32", name=f"{branch}_bn")(embedding)
    initializer = keras.initializers.RandomNormal(stddev=0.001)
    return layers.Dense(
        num_identities, use_bias=False, kernel_initializer=initializer, dtype="float32", name=f"{branch}_logits"
    )(normalized)
