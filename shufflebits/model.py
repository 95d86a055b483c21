"""The victim model, and the attack models that are trained on its features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
from keras import layers, ops

from common.backbones import Backbone
from common.experiments.reid.network import branch_maps, identity_logits
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
    pooled = layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(maps["global"])  # (B, D)
    logits = identity_logits("global", pooled, num_identities)
    return Victim(
        training_model=keras.Model(image, {"logits": logits, "embedding": pooled}, name="training"),
        embedder=keras.Model(image, L2Normalize(dtype="float32", name="features")(pooled), name="embedder"),
    )


def victim_losses() -> dict[str, keras.losses.Loss]:
    """Of the training graph's outputs; both compare with labels (B,)."""
    return {
        "logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "embedding": BatchHardTriplet("soft"),
    }


def build_classifier(num_features: int, classes: Mapping[str, Sequence[str]]) -> keras.Model:
    """Section 4.2 (pub): batch normalization and a dense layer for each attribute, heads alone: always float32.

    Args:
        num_features: D.
        classes: attribute -> names of its C classes.

    Returns:
        Features (B, D) -> dictionary of logits (B, C) of each attribute.
    """
    features = keras.Input((num_features,), name="features")
    logits = {}
    for name, values in classes.items():
        normalized = layers.BatchNormalization(dtype="float32", name=f"{name}_bn")(features)
        logits[name] = layers.Dense(len(values), dtype="float32", name=name)(normalized)
    return keras.Model(features, logits, name="classifier")


def build_generator(
    num_features: int, image_size: tuple[int, int], width: float = 1.0, momentum: float = 0.99
) -> keras.Model:
    """Section 4.3 (pub): features (B, D) -> images (B, H, W, 3) in [0, 1].

    Args:
        num_features: D.
        image_size: (H, W), multiples of 32.
        width: factor of all numbers of filters.
        momentum: of the moving statistics of batch normalization.
    """
    height, breadth = (length // 2 ** len(_GENERATOR) for length in image_size)
    features = keras.Input((num_features,), name="features")
    # Without the activations both layers would be one affine map of rank 256.
    x = layers.Dense(256, activation="relu", name="reduced")(features)
    x = layers.Dense(height * breadth * _scaled(_SMALLEST, width), activation="relu", name="expanded")(x)
    x = layers.Reshape((height, breadth, _scaled(_SMALLEST, width)), name="smallest")(x)  # (B, H/32, W/32, C)
    for number, filters in enumerate(_GENERATOR, 1):
        x = _upsampling_block(x, _scaled(filters, width), momentum, f"up{number}")
    x = layers.ReLU(name="last_relu")(layers.BatchNormalization(momentum=momentum, name="last_bn")(x))
    x = layers.Conv2D(3, 3, padding="same", activation="tanh", dtype="float32", name="colors")(x)
    image = layers.Rescaling(0.5, offset=0.5, dtype="float32", name="image")(x)  # (tanh + 1) / 2
    return keras.Model(features, image, name="generator")


def build_discriminator(
    num_features: int, image_size: tuple[int, int], width: float = 1.0, spectral_normalization: bool = False
) -> keras.Model:
    """Section 4.3 (pub): [images (B, H, W, 3) in [0, 1], features (B, D)] -> (B, 1), 1 for originals.

    Args:
        num_features: D.
        image_size: (H, W), multiples of 32.
        width: factor of all numbers of filters.
        spectral_normalization: whether the largest singular value of each kernel is held at one (Miyato et al. 2018).
    """
    weighted = _spectrally_normalized if spectral_normalization else _as_it_is
    image, features = keras.Input((*image_size, 3), name="image"), keras.Input((num_features,), name="features")
    x = image
    for number, filters in enumerate(_DISCRIMINATOR, 1):
        x = _downsampling_block(x, _scaled(filters, width), f"down{number}", weighted)
    # NOTE(paper): BigGAN has a ReLU in front of the pooling, and none in front of the first convolution; the author's
    # program has it the other way round. On images in [0, 1] the first one changes nothing.
    x = layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(x)  # (B, C)
    # NOTE(paper): the publication joins the features as they are; the author's program projects them to C numbers.
    projected = weighted(layers.Dense(x.shape[-1], dtype="float32", name="projected"))(features)
    merged = layers.Concatenate(dtype="float32", name="merged")([x, projected])  # (B, 2C)
    score = weighted(layers.Dense(1, dtype="float32", name="score"))(merged)
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


def build_reconstruction(generator: keras.Model, perceptual: Backbone | None) -> Reconstruction:
    """The attack model of section 4.3 (pub).

    Args:
        generator: features (B, D) -> images (B, H, W, 3) in [0, 1].
        perceptual: takes images of that size, and its second block is compared; None: pixels are.
    """
    features = keras.Input(generator.input_shape[1:], name="features")
    image_size = generator.output_shape[1:3]
    image = keras.Input((*image_size, 3), name="image", dtype="uint8")
    truth = layers.Rescaling(1 / 255, dtype="float32", name="truth")(image)
    sample = generator(features)
    compared = [sample, truth] if perceptual is None else [_maps(perceptual, sample * 255), _maps(perceptual, image)]
    difference = layers.Subtract(dtype="float32", name="difference")(compared)
    outputs = {"sample": sample, "truth": truth, "difference": difference}
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


def _as_it_is(layer: layers.Layer) -> layers.Layer:
    return layer


def _spectrally_normalized(layer: layers.Layer) -> layers.Layer:
    # In float32, whatever the layer computes in: each step writes the normalized kernel back into the weights.
    return layers.SpectralNormalization(layer, dtype="float32", name=f"{layer.name}_normalized")


# The residual blocks of BigGAN (Brock et al. 2018, Fig. 15) without the class conditions; the publication calls its own
# similar. A convolution of 1 × 1 may change places with an upsampling of nearest neighbors, and with an average
# pooling: the same numbers for a quarter of the work.
def _upsampling_block(x, filters: int, momentum: float, name: str):
    y = layers.ReLU(name=f"{name}_relu1")(layers.BatchNormalization(momentum=momentum, name=f"{name}_bn1")(x))
    y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv1")(layers.UpSampling2D(name=f"{name}_up")(y))
    y = layers.ReLU(name=f"{name}_relu2")(layers.BatchNormalization(momentum=momentum, name=f"{name}_bn2")(y))
    y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv2")(y)
    shortcut = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(x)
    return layers.Add(name=f"{name}_sum")([y, layers.UpSampling2D(name=f"{name}_shortcut_up")(shortcut)])


def _downsampling_block(x, filters: int, name: str, weighted: Callable[[layers.Layer], layers.Layer]):
    y = layers.ReLU(name=f"{name}_relu1")(x)
    y = weighted(layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv1"))(y)
    y = layers.ReLU(name=f"{name}_relu2")(y)
    y = weighted(layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv2"))(y)
    y = layers.AveragePooling2D(2, name=f"{name}_pool")(y)
    halved = layers.AveragePooling2D(2, name=f"{name}_halved")(x)
    shortcut = weighted(layers.Conv2D(filters, 1, name=f"{name}_shortcut"))(halved)
    return layers.Add(name=f"{name}_sum")([y, shortcut])
