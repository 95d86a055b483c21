"""The victim model, and the attack models that are trained on its features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
from keras import layers, ops

from common.backbones import Backbone
from common.experiments.reid import branch_maps, identity_logits
from common.layers import L2Normalize
from common.losses import BatchHardTriplet

_SMALLEST = 128  # filters of the generator's first maps
_GENERATOR = (256, 128, 64, 32, 16)  # of its blocks, each of which doubles height and width
_DISCRIMINATOR = (32, 64, 128, 256, 512)  # of the blocks that halve them


@dataclass(frozen=True)
class Victim:
    """Graphs over the same layers.

    Attributes:
        training_model: images (B, H, W, 3), RGB from 0 to 255 -> dictionary of `logits` (B, identities) and
            `embedding` (B, D).
        embedder: images (B, H, W, 3) uint8 -> features (B, D) of unit length, which the server returns encrypted.
    """

    training_model: keras.Model
    embedder: keras.Model


def build_victim(backbone: Backbone, num_identities: int) -> Victim:
    """A re-identification model with global average pooling, as BoT of FastReID without its extras."""
    image = keras.Input(backbone.image_shape, name="image", dtype="uint8")
    maps, _ = branch_maps(backbone, image, regional_branches=False)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(maps["global"])  # (B, D)
    logits = identity_logits("global", pooled, num_identities)
    return Victim(
        training_model=keras.Model(image, {"logits": logits, "embedding": pooled}, name="training"),
        embedder=keras.Model(image, L2Normalize(name="features")(pooled), name="embedder"),
    )


def victim_losses() -> dict[str, keras.losses.Loss]:
    """Of the training graph's outputs; both compare with labels (B,)."""
    return {
        "logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "embedding": BatchHardTriplet("soft"),
    }


def build_classifier(num_features: int, classes: Mapping[str, Sequence[str]]) -> keras.Model:
    """Section 4.2 (pub): batch normalization and a dense layer for each attribute.

    Args:
        num_features: D.
        classes: attribute -> names of its C classes.

    Returns:
        Features (B, D) -> dictionary of logits (B, C) of each attribute.
    """
    features = keras.Input((num_features,), name="features")
    logits = {}
    for name, values in classes.items():
        normalized = layers.BatchNormalization(name=f"{name}_bn")(features)
        logits[name] = layers.Dense(len(values), name=name)(normalized)
    return keras.Model(features, logits, name="classifier")


def build_generator(num_features: int, image_size: tuple[int, int], width: float = 1.0) -> keras.Model:
    """Section 4.3 (pub): features (B, D) -> images (B, H, W, 3) in [0, 1].

    Args:
        num_features: D.
        image_size: (H, W), multiples of 32.
        width: factor of all numbers of filters.
    """
    height, breadth = (length // 2 ** len(_GENERATOR) for length in image_size)
    features = keras.Input((num_features,), name="features")
    x = layers.Dense(256, name="reduced")(features)
    x = layers.Dense(height * breadth * _scaled(_SMALLEST, width), name="expanded")(x)
    x = layers.Reshape((height, breadth, _scaled(_SMALLEST, width)), name="smallest")(x)  # (B, H/32, W/32, C)
    for number, filters in enumerate(_GENERATOR, 1):
        x = _upsampling_block(x, _scaled(filters, width), f"up{number}")
    x = layers.ReLU(name="last_relu")(_normalization("last_bn")(x))
    image = layers.Conv2D(3, 3, padding="same", activation="sigmoid", dtype="float32", name="image")(x)
    return keras.Model(features, image, name="generator")


def build_discriminator(num_features: int, image_size: tuple[int, int], width: float = 1.0) -> keras.Model:
    """Section 4.3 (pub): [images (B, H, W, 3) in [0, 1], features (B, D)] -> (B, 1), 1 for originals."""
    image, features = keras.Input((*image_size, 3), name="image"), keras.Input((num_features,), name="features")
    x = image
    for number, filters in enumerate(_DISCRIMINATOR, 1):
        x = _downsampling_block(x, _scaled(filters, width), f"down{number}", first=number == 1)
    x = layers.GlobalAveragePooling2D(name="pooled")(layers.ReLU(name="last_relu")(x))  # (B, C)
    # NOTE(paper): the size of the projection is not given; that of the images' own features gives both the same weight.
    projected = layers.Dense(x.shape[-1], name="projected")(features)
    score = layers.Dense(1, dtype="float32", name="score")(layers.Concatenate(name="merged")([x, projected]))
    return keras.Model([image, features], score, name="discriminator")


@dataclass(frozen=True)
class Reconstruction:
    """Models over the same layers.

    Attributes:
        training_model: dictionary of `features` (B, D) and `image` (B, H, W, 3) uint8 -> dictionary of `sample`, the
            reconstruction in [0, 1], `truth`, the image in [0, 1], and `difference`, whose mean square is to be small.
        generator: features (B, D) -> images (B, H, W, 3) in [0, 1].
    """

    training_model: keras.Model
    generator: keras.Model


def build_reconstruction(
    num_features: int, image_size: tuple[int, int], width: float, perceptual: Backbone | None
) -> Reconstruction:
    """The attack model of section 4.3 (pub).

    Args:
        num_features: D.
        image_size: (H, W).
        width: factor of all numbers of filters.
        perceptual: takes images of that size, and its second block is compared; None: pixels are.
    """
    generator = build_generator(num_features, image_size, width)
    features = keras.Input((num_features,), name="features")
    image = keras.Input((*image_size, 3), name="image", dtype="uint8")
    truth = layers.Rescaling(1 / 255, name="truth")(image)
    sample = generator(features)
    compared = [sample, truth] if perceptual is None else [_maps(perceptual, sample * 255), _maps(perceptual, image)]
    outputs = {"sample": sample, "truth": truth, "difference": layers.Subtract(name="difference")(compared)}
    return Reconstruction(keras.Model({"features": features, "image": image}, outputs, name="pairs"), generator)


def mean_square(labels, difference):
    """Mean squared error from differences (B, ...), (B,); the labels are ignored."""
    return ops.mean(ops.square(difference), axis=tuple(range(1, len(difference.shape))))


def _maps(perceptual: Backbone, image):
    """Output of the second block, `conv2_block3_out` of a ResNet, whose weights are frozen."""
    for block in perceptual.blocks[:2]:
        block.trainable = False
        image = block(image, training=False)
    return image


def _scaled(filters: int, width: float) -> int:
    return max(round(filters * width), 1)


def _normalization(name: str):
    return layers.BatchNormalization(momentum=0.9, name=name)  # trainings on a CPU are short


# The residual blocks of BigGAN (Brock et al. 2018, Fig. 15) without the class conditions; the publication calls its own
# similar. NOTE(paper): without spectral normalization, which it does not mention.
def _upsampling_block(x, filters: int, name: str):
    y = layers.ReLU(name=f"{name}_relu1")(_normalization(f"{name}_bn1")(x))
    y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv1")(layers.UpSampling2D(name=f"{name}_up")(y))
    y = layers.ReLU(name=f"{name}_relu2")(_normalization(f"{name}_bn2")(y))
    y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv2")(y)
    # A convolution of 1 × 1 and an upsampling of nearest neighbors may change places: four times less work.
    shortcut = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(x)
    return layers.Add(name=f"{name}_sum")([y, layers.UpSampling2D(name=f"{name}_shortcut_up")(shortcut)])


def _downsampling_block(x, filters: int, name: str, first: bool):
    y = x if first else layers.ReLU(name=f"{name}_relu1")(x)
    y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv1")(y)
    y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv2")(layers.ReLU(name=f"{name}_relu2")(y))
    y = layers.AveragePooling2D(2, name=f"{name}_pool")(y)
    shortcut = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(layers.AveragePooling2D(2, name=f"{name}_halved")(x))
    return layers.Add(name=f"{name}_sum")([y, shortcut])
