"""The networks of Figs. 1 and 2 (pub), and their losses."""

from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers, ops

from common.backbones import Backbone, build_backbone
from common.experiments.checkpoint import BEST_WEIGHTS
from common.experiments.reid.network import branch_maps, identity_logits
from common.experiments.training import precision
from common.layers import ConstantL2, GeMPooling2D, weights_by_category
from common.losses import BatchHardTriplet
from common.random_state import seeded

from .config import Config, Trial

Tensors = dict[str, keras.KerasTensor]  # one for each branch


@dataclass(frozen=True)
class FlipModel:
    """Graphs over the same layers.

    Attributes:
        training_model: images (B, H, W, 3), RGB from 0 to 255 -> dictionary of each branch's `BRANCH_logits`
            (B, identities) and `BRANCH_embedding` (B, D), and with the flipping loss `BRANCH_difference` (B, D).
        single: images (B, H, W, 3) -> the branches' embeddings, concatenated (B, D); Fig. 2(c) (pub).
        double: the same of each image and its mirror, made one vector (B, D); Fig. 2(d) (pub).
        single_and_double: images (B, H, W, 3) -> dictionary of `single` and `double`, at the cost of `double`.
        frozen_blocks: the pretrained models, which are frozen in the first stage.
    """

    training_model: keras.Model
    single: keras.Model
    double: keras.Model
    single_and_double: keras.Model
    frozen_blocks: tuple[keras.Model, ...]


def build(config: Config, trial: Trial, num_identities: int, pretrained: bool = True) -> FlipModel:
    """The network of a trial with its initial weights."""
    weights = config.weights if pretrained else None
    with seeded(trial.seed), precision(config.precision):
        return build_model(
            build_backbone(config.backbone, config.image_size, weights),
            num_identities,
            method=trial.method,
            views=config.views,
            regional_branches=config.regional_branches,
            l2_factor=config.l2_factor,
        )


def restore(config: Config, trial: Trial, num_identities: int, folder: Path) -> FlipModel:
    """The network of a trial with its trained weights."""
    model = build(config, trial, num_identities, pretrained=False)
    model.training_model.load_weights(folder / BEST_WEIGHTS)
    return model


def build_model(
    backbone: Backbone,
    num_identities: int,
    *,
    method: str = "flipping_loss",
    views: str = "separate",
    regional_branches: bool = True,
    l2_factor: float = 0.0005,
) -> FlipModel:
    """Builds the network (pub Figs. 1 and 2).

    Args:
        backbone: gives (B, H/16, W/16, C) feature maps; its `feature_scale` multiplies what is pooled from them.
        num_identities: classes of the cross-entropy.
        method: "baseline", "flipreid", "flipping_loss", or "aggregator", which is "flipping_loss" with a
            learned aggregate in the place of the mean.
        views: "separate" calls the inference model on images and then on their mirrors, so that each is normalized by
            its own batch statistics; "concatenated" calls it once, on a batch of both. Inference is the same.
        regional_branches: whether there are two more branches, of C/2 features each.
        l2_factor: constant factor of L2 on all weights.
    """
    extractor, blocks = _extractor(backbone, regional_branches)
    image = keras.Input(backbone.image_shape, name="image", dtype="uint8")
    single, mirror = extractor(image), ops.flip(image, axis=2)
    if views == "separate":
        mirrored = extractor(mirror)
        pairs = {branch: (embedding, mirrored[branch]) for branch, embedding in single.items()}  # each (B, D)
    else:
        stacked = extractor(ops.concatenate([image, mirror], axis=0))  # (2B, D)
        pairs = {branch: ops.reshape(value, (2, -1, value.shape[-1])) for branch, value in stacked.items()}  # (2, B, D)
    aggregate = _learned_aggregate if method == "aggregator" else _mean
    fused = {branch: aggregate(branch, pair[0], pair[1]) for branch, pair in pairs.items()}  # (B, D)
    outputs = {}
    for branch, embedding in (single if method == "baseline" else fused).items():
        outputs[f"{branch}_logits"] = identity_logits(branch, embedding, num_identities)
        outputs[f"{branch}_embedding"] = embedding
        if method in ("flipping_loss", "aggregator"):
            outputs[f"{branch}_difference"] = pairs[branch][0] - pairs[branch][1]
    network = keras.Model(image, outputs, name="network")
    # As in the author's program, not the powers of the pooling.
    regularized = [category for category in weights_by_category(network) if not category.endswith("_power")]
    regularizer = ConstantL2(network, l2_factor, regularized, name="regularizer")
    first, double = _joined({branch: pair[0] for branch, pair in pairs.items()}), _joined(fused)
    return FlipModel(
        training_model=keras.Model(image, regularizer(image), name="training"),
        single=keras.Model(image, _joined(single), name="single"),
        double=keras.Model(image, double, name="double"),
        single_and_double=keras.Model(image, {"single": first, "double": double}, name="single_and_double"),
        frozen_blocks=blocks,
    )


def _extractor(backbone: Backbone, regional_branches: bool) -> tuple[keras.Model, tuple[keras.Model, ...]]:
    """The inference model of Fig. 1 (pub): images -> each branch's embedding (B, D); and its pretrained parts."""
    image = keras.Input(backbone.image_shape, name="image", dtype="uint8")
    maps, blocks = branch_maps(backbone, image, regional_branches)
    embeddings = {}
    for branch, feature_map in maps.items():
        pooled = GeMPooling2D(dtype="float32", name=f"{branch}_pooled")(feature_map)
        # NOTE(paper): the scale is 1 for its backbones. Larger features would be clipped to 1, and pass no gradient.
        embeddings[branch] = ops.clip(backbone.feature_scale * pooled, 0.0, 1.0)  # (B, D)
    return keras.Model(image, embeddings, name="extractor"), blocks


def _mean(branch: str, embedding, mirrored):
    return layers.Average(dtype="float32", name=f"{branch}_mean")([embedding, mirrored])


def _learned_aggregate(branch: str, embedding, mirrored):
    """Σ w_i f_i over the two sources, with weights per feature from a softmax of learned scores s(f_i).

    Section 4 (pub) proposes to learn the aggregate and leaves open how. One small network scores both sources, so image
    and mirror may change places. It begins at zero, so the aggregate begins as the mean.
    """
    size = embedding.shape[-1]
    hidden = layers.Dense(size // 8, activation="relu", dtype="float32", name=f"{branch}_scores_hidden")
    score = layers.Dense(size, kernel_initializer="zeros", dtype="float32", name=f"{branch}_scores")
    # The softmax of two scores.
    weight = ops.sigmoid(score(hidden(embedding)) - score(hidden(mirrored)))  # (B, D)
    return weight * embedding + (1 - weight) * mirrored


def _joined(embeddings: Tensors):
    parts = list(embeddings.values())
    return layers.Concatenate(dtype="float32")(parts) if len(parts) > 1 else parts[0]


def flipping_loss(labels, difference):
    """Mean squared error between the features of image and mirror, (B,) from their difference (B, D)."""
    return ops.mean(ops.square(difference), axis=-1)


def losses(model: FlipModel) -> dict[str, object]:
    """The loss of each output of the training graph; all have weight one, and compare with labels (B,)."""
    kinds = {
        "logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "embedding": BatchHardTriplet("soft"),
        "difference": flipping_loss,
    }
    return {name: kinds[name.rpartition("_")[2]] for name in model.training_model.output}
