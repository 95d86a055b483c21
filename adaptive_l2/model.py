"""The re-identification network of Figures 1 and 2 (pub), and its losses."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from common.backbones import Backbone, build_backbone
from common.datasets.batches import one_hot
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.reid.network import branch_maps, identity_logits
from common.experiments.training import precision
from common.layers import AdaptiveL2, ConstantL2
from common.losses import BatchHardTriplet
from common.random_state import seeded

from .config import Config, Trial
from .factors import SharedFactor


@dataclass(frozen=True)
class ReIDModel:
    """Two graphs over the same layers.

    Attributes:
        training_model: images (B, H, W, 3), RGB from 0 to 255 -> dictionary of each branch's `BRANCH_logits`
            (B, identities), and with the triplet loss `BRANCH_embedding` (B, D).
        inference_model: images (B, H, W, 3) -> the branches' embeddings, concatenated (B, D).
        regularizer: of all weights, or None.
        frozen_blocks: the pretrained models, which are frozen in the first stage.
    """

    training_model: keras.Model
    inference_model: keras.Model
    regularizer: ConstantL2 | None
    frozen_blocks: tuple[keras.Model, ...]


def build(config: Config, trial: Trial, num_identities: int, pretrained: bool = True) -> ReIDModel:
    """The network of a trial with its initial weights."""
    weights = config.weights if pretrained else None
    with seeded(trial.seed), precision(config.precision):
        return build_model(
            build_backbone(config.backbone, config.image_size, weights),
            num_identities,
            triplet=config.triplet,
            regional_branches=config.regional_branches,
            clipping=config.clipping,
            regularization=trial.regularization,
            factor=config.constant_factor if trial.regularization == "constant" else config.amplitude,
            sigmoid_bound=config.sigmoid_bound,
        )


def restore(config: Config, trial: Trial, num_identities: int, folder: Path) -> ReIDModel:
    """The network of a trial with its trained weights."""
    model = build(config, trial, num_identities, pretrained=False)
    model.training_model.load_weights(folder / BEST_WEIGHTS)
    return model


def with_mirror(inference: keras.Model) -> keras.Model:
    """Images (B, H, W, 3) -> the mean embedding (B, D) of each image and its horizontal mirror."""
    image = inference.input
    views = [inference(image), inference(ops.flip(image, axis=2))]
    return keras.Model(image, layers.Average(dtype="float32")(views))


def build_model(
    backbone: Backbone,
    num_identities: int,
    *,
    triplet: bool = True,
    regional_branches: bool = True,
    clipping: bool = True,
    regularization: str = "adaptive",
    factor: float = 0.005,
    sigmoid_bound: float = 2.5,
) -> ReIDModel:
    """Builds the network (pub Figs. 1 and 2).

    Args:
        backbone: gives (B, H/16, W/16, C) feature maps; its `feature_scale` multiplies what is pooled from them.
        num_identities: classes of the cross-entropy.
        triplet: whether the embeddings are outputs of the training graph, for the triplet loss.
        regional_branches: whether there are two more branches, of C/2 features each.
        clipping: of scaled features to [0, 1].
        regularization: "none", "constant" (Eq. 2.2), "adaptive" (Eq. 2.7), or "shared", one learned factor for all.
        factor: λ if constant, else the amplitude A.
        sigmoid_bound: c of Eq. 2.4.
    """
    image = keras.Input(backbone.image_shape, name="image", dtype="uint8")
    maps, blocks = branch_maps(backbone, image, regional_branches)
    embeddings, outputs = [], {}
    for branch, feature_map in maps.items():
        embedding, logits = _objective(branch, feature_map, backbone.feature_scale, num_identities, clipping)
        embeddings.append(embedding)
        outputs[f"{branch}_logits"] = logits
        if triplet:
            outputs[f"{branch}_embedding"] = embedding
    network = keras.Model(image, outputs, name="network")
    regularizer = None
    if regularization != "none":
        if regularization == "constant":
            regularizer = ConstantL2(network, factor, name="regularizer")
        else:
            kind = AdaptiveL2 if regularization == "adaptive" else SharedFactor
            regularizer = kind(network, factor, c=sigmoid_bound, name="regularizer")
        outputs = regularizer(image)
    joined = embeddings[0]
    if len(embeddings) > 1:
        joined = layers.Concatenate(dtype="float32", name="embedding")(embeddings)
    return ReIDModel(
        training_model=keras.Model(image, outputs, name="training"),
        inference_model=keras.Model(image, joined, name="inference"),
        regularizer=regularizer,
        frozen_blocks=blocks,
    )


def _objective(branch: str, feature_map, scale: float, num_identities: int, clipping: bool):
    """An objective module (pub Fig. 1): the embedding (B, D) and the logits (B, identities)."""
    # NOTE(paper): the scale is 1 for its ResNets. Larger features would be clipped to 1, and pass no gradient.
    embedding = scale * layers.GlobalAveragePooling2D(dtype="float32", name=f"{branch}_pooled")(feature_map)
    if clipping:
        embedding = ops.clip(embedding, 0.0, 1.0)
    return embedding, identity_logits(branch, embedding, num_identities)


def losses(model: ReIDModel, label_smoothing: float) -> dict[str, keras.losses.Loss]:
    """The loss of each output of the training graph; all have weight one (section III-B (pub)).

    Logits go with one-hot labels (B, identities), embeddings with identities (B,).
    """
    return {
        name: BatchHardTriplet("soft")
        if name.endswith("_embedding")
        else keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)  # Eq. 1 (pub)
        for name in model.training_model.output
    }


def targets(model: ReIDModel, labels: np.ndarray) -> dict[str, np.ndarray]:
    """What the losses compare the outputs of the training graph with.

    Args:
        model: whose outputs.
        labels: (B,) classes.
    """
    return {
        name: labels if name.endswith("_embedding") else one_hot(labels, output.shape[1])
        for name, output in model.training_model.output.items()
    }
