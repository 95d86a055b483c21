"""The network of section 3.2.3 and its losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from common.backbones import Backbone, build_backbone
from common.datasets.batches import one_hot
from common.experiments.reid.network import identity_logits
from common.experiments.training import precision
from common.layers import ConstantL2
from common.losses import BatchHardTriplet, LiftedStructured
from common.random_state import seeded

from .arcface import ArcFace, CosineDense
from .config import Config, Trial


@dataclass(frozen=True)
class AttributeModel:
    """Two graphs over the same layers.

    Attributes:
        training_model: images (B, H, W, 3), RGB from 0 to 255 -> dictionary of `ATTRIBUTE_logits` (B, C), or with a
            loss on the embedding of `ATTRIBUTE_embedding` (B, D).
        inference_model: images (B, H, W, 3) -> dictionary of `embedding` (B, D) and the training's `ATTRIBUTE_logits`.
    """

    training_model: keras.Model
    inference_model: keras.Model


def build(config: Config, trial: Trial, num_classes: Mapping[str, int]) -> AttributeModel:
    """The network of a trial with its initial weights."""
    with seeded(trial.seed), precision(config.precision):
        backbone = build_backbone(config.backbone, config.image_size, config.weights)
        return build_model(backbone, num_classes, loss=trial.loss, l2_factor=config.l2_factor)


def build_model(
    backbone: Backbone, num_classes: Mapping[str, int], *, loss: str = "cross_entropy", l2_factor: float = 0.00025
) -> AttributeModel:
    """Builds the network.

    Args:
        backbone: gives (B, H/16, W/16, C) feature maps, whose mean over the places is the embedding.
        num_classes: attribute -> its classes.
        loss: "cross_entropy", "arcface", "triplet", "lifted_structured", or "untrained", for which there are no losses.
        l2_factor: constant factor of L2 on all weights.
    """
    image = keras.Input(backbone.image_shape, name="image", dtype="uint8")
    maps = backbone.last_block(backbone.trunk(image))  # (B, H/16, W/16, D)
    embedding = layers.GlobalAveragePooling2D(dtype="float32", name="embedding")(maps)  # (B, D)
    if loss == "cross_entropy":
        # NOTE(paper): the dense layer has no bias and begins at N(0, 0.001), as the recipe's; the text says neither.
        heads = {f"{name}_logits": identity_logits(name, embedding, count) for name, count in num_classes.items()}
    elif loss == "arcface":
        # Straight on the embedding: its angles are what the gallery compares.
        heads = {
            f"{name}_logits": CosineDense(count, dtype="float32", name=f"{name}_logits")(embedding)
            for name, count in num_classes.items()
        }
    else:
        heads = {}
    outputs = heads or {f"{name}_embedding": embedding for name in num_classes}
    network = keras.Model(image, outputs, name="network")
    regularizer = ConstantL2(network, l2_factor, name="regularizer")
    return AttributeModel(
        training_model=keras.Model(image, regularizer(image), name="training"),
        inference_model=keras.Model(image, {"embedding": embedding, **heads}, name="inference"),
    )


def losses(model: AttributeModel, loss: str, label_smoothing: float) -> dict[str, keras.losses.Loss]:
    """The loss of each output of the training graph; all have weight one.

    The cross-entropy goes with one-hot labels (B, C), the others with classes (B,).
    """
    kinds = {
        "cross_entropy": keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing),
        # NOTE(paper): margins are not in the text. This one is that of the recipe for persons that section 3.2.3 ports.
        "triplet": BatchHardTriplet(0.3),
        "lifted_structured": LiftedStructured(1.0),  # Song et al. 2016
        "arcface": ArcFace(0.5, 30.0),  # the margin of Deng et al. 2019
    }
    return dict.fromkeys(model.training_model.output, kinds[loss])


def targets(model: AttributeModel, loss: str, attributes: Sequence[str], labels: np.ndarray) -> dict[str, np.ndarray]:
    """What the losses compare the outputs of the training graph with.

    Args:
        model: whose outputs.
        loss: as of `losses`.
        attributes: A names.
        labels: (B, A) classes.
    """
    columns = dict(zip(attributes, labels.T))  # (B,) each
    classes = {name: columns[name.rpartition("_")[0]] for name in model.training_model.output}
    if loss != "cross_entropy":
        return classes
    return {name: one_hot(column, model.training_model.output[name].shape[1]) for name, column in classes.items()}
