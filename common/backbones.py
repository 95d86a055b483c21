"""Convolutional backbones in two parts: a trunk, and a last block that a model may use several times.

The last block runs at stride 1, which doubles the height and width of its feature maps and keeps all weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers

MOBILENET_WIDTHS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Backbone:
    """A backbone in two parts.

    Attributes:
        trunk: images (B, H, W, 3), RGB from 0 to 255 -> feature maps (B, H/16, W/16, C').
        last_block: feature maps (B, H/16, W/16, C') -> (B, H/16, W/16, C).
    """

    trunk: keras.Model
    last_block: keras.Model

    def copy_of_last_block(self, name: str) -> keras.Model:
        """Another last block that starts with the same weights and shares none."""
        copy = keras.models.clone_model(self.last_block)
        copy.set_weights(self.last_block.get_weights())
        copy.name = name
        return copy


def build_backbone(name: str, image_size: Sequence[int], weights: str | Path | None = "imagenet") -> Backbone:
    """Builds a backbone.

    Args:
        name: "resnet50", "resnet101", "resnet152", "mobilenet_0.25" (or 0.5, 0.75, 1.0), or "small_resnet", a
            residual network of 0.3 million weights for trainings on a CPU.
        image_size: (H, W).
        weights: "imagenet" downloads Keras' own; else the path of such a file without its top layers; None
            starts from random ones.

    Raises:
        ValueError: the name is unknown, or the weights cannot be had or do not fit.
    """
    shape = (*image_size, 3)
    if name == "small_resnet":
        if weights is not None:
            raise ValueError(f"small_resnet has no pretrained weights: use --weights None, got {weights}.")
        return _small_resnet(shape)
    if name in ("resnet50", "resnet101", "resnet152"):
        application = {
            "resnet50": keras.applications.ResNet50,
            "resnet101": keras.applications.ResNet101,
            "resnet152": keras.applications.ResNet152,
        }[name]
        options, blocks = {}, {"resnet50": 6, "resnet101": 23, "resnet152": 36}[name]
        boundary, strided = f"conv4_block{blocks}_out", ("conv5_block1_0_conv", "conv5_block1_1_conv")
        # Blue first, and the means of ImageNet: how these weights were trained.
        order, scaling = -1, layers.Rescaling(1, offset=[-103.939, -116.779, -123.68], name="scaling")
    elif name in (names := {f"mobilenet_{width}": width for width in MOBILENET_WIDTHS}):
        application, options = keras.applications.MobileNet, {"alpha": names[name]}
        boundary, strided = "conv_pw_11_relu", ("conv_pad_12", "conv_dw_12")
        order, scaling = 1, layers.Rescaling(1 / 127.5, offset=-1, name="scaling")
    else:
        known = ["resnet50", "resnet101", "resnet152", *names, "small_resnet"]
        raise ValueError(f"Unknown backbone {name!r}; expected one of {known}.")
    whole = _with_weights(application, shape, weights, options)
    network = keras.models.clone_model(whole, clone_function=lambda layer: _at_stride_one(layer, strided))
    network.set_weights(whole.get_weights())
    image, middle = keras.Input(shape, name="image"), network.get_layer(boundary).output
    body = keras.Model(network.input, middle, name="body")
    return Backbone(
        trunk=keras.Model(image, body(scaling(image[..., ::order])), name="trunk"),
        last_block=keras.Model(middle, network.output, name="last_block"),
    )


def _with_weights(application, shape, weights, options) -> keras.Model:
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise ValueError(f"There is no weights file {weights}. Pass a Keras file without top layers, or None.")
    try:
        return application(
            include_top=False, input_shape=shape, weights=weights and str(weights), name="backbone", **options
        )
    except Exception as error:
        if weights is None:
            raise
        raise ValueError(
            f"The weights {weights} of {application.__name__} could not be loaded ({error}). Without network access, "
            "copy Keras' file without top layers (…_notop.h5) here and pass its path as --weights."
        ) from error


def _at_stride_one(layer: keras.layers.Layer, strided: Sequence[str]) -> keras.layers.Layer:
    """The layer again; at stride 1 and with the padding to match if it is one of `strided`."""
    config = layer.get_config()
    if layer.name in strided and isinstance(layer, layers.ZeroPadding2D):
        config["padding"] = 0
    elif layer.name in strided:
        config.update(strides=1, padding="same")
    return type(layer).from_config(config)


def _small_resnet(shape: tuple[int, int, int]) -> Backbone:
    image = keras.Input(shape, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scaling")(image)
    x = _convolution(x, 16, 3, 2, "stem")
    for stage, filters in enumerate((24, 48, 64), 1):
        x = _residual(x, filters, 2, f"stage{stage}_1")
    middle = keras.Input(x.shape[1:], name="features")
    last = _residual(middle, 96, 1, "stage4")
    return Backbone(keras.Model(image, x, name="trunk"), keras.Model(middle, last, name="last_block"))


def _residual(x, filters: int, stride: int, name: str):
    y = _convolution(x, filters, 3, stride, f"{name}_a")
    y = _convolution(y, filters, 3, 1, f"{name}_b", activation=False)
    if stride > 1 or x.shape[-1] != filters:
        x = _convolution(x, filters, 1, stride, f"{name}_shortcut", activation=False)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_sum")([x, y]))


def _convolution(x, filters: int, size: int, stride: int, name: str, activation: bool = True):
    x = layers.Conv2D(filters, size, stride, "same", use_bias=False, kernel_initializer="he_normal", name=name)(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)  # trainings on a CPU are short
    return layers.ReLU(name=f"{name}_relu")(x) if activation else x
