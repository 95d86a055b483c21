"""Every project's model with its own losses, at a tiny size, as `distribution_script.py` trains it on arrays."""

from dataclasses import replace
from functools import partial

import keras
import numpy as np

from common import distribution
from common.backbones import Backbone

_SIZE, _CLASSES = 32, 4
_RANDOM = np.random.default_rng(0)
_LABELS = _RANDOM.integers(0, _CLASSES, (64, 2), "int32")  # in any order: replicas get parts of identities
_PLACES = _RANDOM.integers(0, 128, (_CLASSES, _SIZE, _SIZE, 3))
# Images (64, 32, 32, 3) that differ between classes and a little within them, and labels of two attributes.
ARRAYS = (np.uint8(_PLACES[_LABELS[:, 1]] + _RANDOM.integers(0, 128, (64, _SIZE, _SIZE, 3))), _LABELS)


def backbone():
    """Of two blocks with batch normalization, and smooth, so that no rounding error crosses a kink."""
    image, features = keras.Input((_SIZE, _SIZE, 3)), keras.Input((4, 4, 8))
    x = keras.layers.Conv2D(8, 8, strides=8)(keras.layers.Rescaling(1 / 255)(image))
    y = keras.layers.Conv2D(16, 3, padding="same")(features)
    x, y = (keras.ops.softplus(keras.layers.BatchNormalization(momentum=0.9)(maps)) for maps in (x, y))
    return Backbone((keras.Model(image, x, name="block1"), keras.Model(features, y, name="block2")))


def _optimizer(rate=0.01):
    # Adam makes whole steps of rounding errors where a gradient is zero, as of a bias before batch normalization.
    return keras.optimizers.SGD(rate, momentum=0.9)


def _compiled(model, losses):
    model.compile(_optimizer(), losses, jit_compile=distribution.jit())
    return model


def adaptive_l2():
    """All branches, with the factors of all weights."""
    from adaptive_l2.model import build_model, losses, targets

    model = build_model(backbone(), _CLASSES)
    return _compiled(model.training_model, losses(model, 0.1)), lambda x, y: (x, targets(model, y[:, 1]))


def flipreid():
    """Image and mirror in one model, with the flipping loss."""
    from flipreid.model import build_model, losses

    model = build_model(backbone(), _CLASSES)
    return _compiled(model.training_model, losses(model)), lambda x, y: (
        x,
        dict.fromkeys(model.training_model.output, y[:, 1]),
    )


def _features(images):
    return np.float32(images[:, ::4, ::4].reshape(-1, 192) / 255)


def shufflebits_attributes():
    """The attack model for attributes, with a weight of each label."""
    from shufflebits.model import build_classifier

    model = build_classifier(192, dict.fromkeys(("color", "type"), "abcd"))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def paired(x, y):
        labels = {"color": y[:, 0], "type": y[:, 1]}
        return _features(x), labels, {name: np.float32(1 / (1 + y)) for name, y in labels.items()}

    return _compiled(model, dict.fromkeys(model.output, loss)), paired


def shufflebits_adversarial():
    """The attack model for images: features of another network are compared, and a discriminator judges.

    Its ReLUs have kinks, which rounding errors of the sums over two devices cross at a larger rate than this one.
    """
    from shufflebits.attacks.training import build_reconstructor
    from shufflebits.config import PRESETS, Trial
    from tests.shufflebits.small_networks import small_networks

    config = replace(PRESETS["smoke"][1], spectral_normalization=True)
    with small_networks():
        model = build_reconstructor(config, Trial("adversarial", 0), 192, pretrained=False).training_model
    model.compile(_optimizer(1e-4), _optimizer(1e-4))
    return model, lambda x, y: ({"features": _features(x), "image": x}, x)


def vehicle_attributes(first, second):
    """A loss of each of two attributes; both are of classifiers, or of the embedding."""
    from vehicle_attributes.model import build_model, losses, targets

    names = ("color", "type")
    model = build_model(backbone(), dict.fromkeys(names, _CLASSES), loss=first)
    both = zip(model.training_model.output, (losses(model, loss, 0.1) for loss in (first, second)))
    kinds = {output: each[output] for output, each in both}
    return _compiled(model.training_model, kinds), lambda x, y: (x, targets(model, first, names, y))


def neural_compression():
    """An autoencoder of rounded codes with the entropy-friendly loss."""
    from neural_compression.model import build_autoencoder

    model = build_autoencoder(16, width=2, binarization="straight_through").training_model

    def paired(x, y):
        blocks = np.float32(x / 255)
        return blocks, blocks

    return _compiled(model, "mse"), paired


def l2_autoencoder():
    """The convolutional autoencoder, on images of one channel."""
    from l2_autoencoder.model import build_autoencoder

    def paired(x, y):
        image = np.float32(x[:, ::4, ::4, :1] / 255)
        return image, image

    return _compiled(build_autoencoder((8, 8, 1)).training_model, "mse"), paired


TRAININGS = {
    "adaptive_l2": adaptive_l2,
    "flipreid": flipreid,
    "shufflebits_attributes": shufflebits_attributes,
    "shufflebits_adversarial": shufflebits_adversarial,
    "vehicle_attributes_cross_entropy": partial(vehicle_attributes, "cross_entropy", "cross_entropy"),
    "vehicle_attributes_arcface": partial(vehicle_attributes, "arcface", "arcface"),
    "vehicle_attributes_pairs": partial(vehicle_attributes, "triplet", "lifted_structured"),
    "neural_compression": neural_compression,
    "l2_autoencoder": l2_autoencoder,
}
