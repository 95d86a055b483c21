"""Backbones: shapes at both strides, weights unchanged, copies apart, new layers by hand, and files that do not fit."""

import functools

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from common import backbones
from common.backbones import build_backbone, keras_applications
from common.backbones.ibn_resnet import InstanceBatchNormalization
from common.backbones.resnest import SplitAttention

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 64, 32, 3), dtype="uint8")


@functools.cache
def untrained(name, last_stride=1):
    """One for all tests, as large ones take seconds to build: change none."""
    return build_backbone(name, (64, 32), None, last_stride=last_stride)


@pytest.mark.parametrize(
    "name, channels, weights",
    [
        # Those of Keras' networks, whose last block halves the maps.
        ("resnet50", 2048, 23_587_712),
        ("mobilenet_0.25", 256, 218_544),
        ("small_resnet", 96, 256_528),
        # PyTorch's 25,557,032 less the classifier, and moving statistics of all channels but the 1,120 of instances.
        ("torch_resnet50", 2048, 25_557_032 - 2_049_000 + 2 * 26_560),
        ("ibn_resnet50", 2048, 25_557_032 - 2_049_000 + 2 * (26_560 - 1_120)),
    ],
)
def test_stride_of_the_last_block_keeps_all_weights(name, channels, weights):
    for stride, size in ((1, (4, 2)), (2, (2, 1))):
        backbone = untrained(name, stride)
        assert [block.name for block in backbone.blocks] == ["block1", "block2", "block3", "block4", "block5"]
        assert backbone.image_shape == (64, 32, 3)
        assert backbone.blocks[3].output_shape[1:3] == (4, 2)
        assert backbone.last_block.output_shape == (None, *size, channels)
        assert sum(block.count_params() for block in backbone.blocks) == weights


def normalizations_and_convolutions(layers):
    """Of all layers, those inside of others too."""
    for layer in layers:
        inner = getattr(layer, "layers", None) or [v for v in vars(layer).values() if isinstance(v, keras.layers.Layer)]
        yield from normalizations_and_convolutions(inner)
        if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.Conv2D)):
            yield layer


@pytest.mark.parametrize(
    "name, momentum, epsilon",
    [
        # PyTorch's, whose momentum of 0.1 is the other part; then TensorFlow's; a small network's trainings are short.
        ("torch_resnet50", 0.9, 1e-5),
        ("ibn_resnet50", 0.9, 1e-5),
        ("resnest50", 0.9, 1e-5),
        ("efficientnet_lite0", 0.99, 1e-3),
        ("small_resnet", 0.9, 1e-3),
    ],
)
def test_constants_of_batch_normalization_and_first_weights(name, momentum, epsilon):
    layers = list(normalizations_and_convolutions(untrained(name).blocks))
    constants = {(x.momentum, x.epsilon) for x in layers if isinstance(x, keras.layers.BatchNormalization)}
    convolutions = [x for x in layers if isinstance(x, keras.layers.Conv2D)]
    begun = {type(x.kernel_initializer).__name__ for x in convolutions if not x.name.startswith("fc2")}
    assert constants == {(momentum, epsilon)} and begun == {"HeNormal"}


def test_blocks_end_where_the_stages_of_he_et_al_do():
    """Their table 1: so many bottlenecks in each of the first three stages."""
    for depth, counts in ((50, (3, 4, 6)), (101, (3, 4, 23)), (152, (3, 8, 36))):
        ends = [f"conv{stage}_block{count}_out" for stage, count in enumerate(counts, 2)]
        assert keras_applications.NETWORKS[f"resnet{depth}"].ends == ("pool1_pool", *ends)
    for width in (0.25, 0.5, 0.75, 1.0):
        assert backbones._FEATURE_SCALES[f"mobilenet_{width}"] == 0.4  # as measured of the narrowest
        assert keras_applications.NETWORKS[f"mobilenet_{width}"].options == {"alpha": width}


def test_activations_of_the_small_network_stand_where_those_of_a_resnet_do():
    """After the first of two convolutions, and after the sum."""
    for stage, block in enumerate(untrained("small_resnet").blocks[1:], 1):
        activations = [layer.name for layer in block.layers if isinstance(layer, keras.layers.ReLU)]
        assert activations == [f"stage{stage}_a_relu", f"stage{stage}_out"]


@pytest.mark.parametrize(
    "make", [lambda **options: InstanceBatchNormalization(**options), lambda **options: SplitAttention(4, **options)]
)
def test_inner_layers_have_the_precision_of_the_outer_one(make):
    layer = make(dtype="mixed_bfloat16")
    inner = list(layer._flatten_layers(include_self=False))
    assert len(inner) >= 2 and {part.dtype_policy.name for part in inner} == {"mixed_bfloat16"}


def test_images_of_any_dtype_give_the_same_maps():
    backbone = untrained("small_resnet")
    maps = backbone.last_block(backbone.trunk(IMAGES))
    assert maps.shape == (2, 4, 2, 96)
    np.testing.assert_array_equal(maps, backbone.last_block(backbone.trunk(IMAGES.astype("float32"))))


@pytest.fixture(scope="module")
def mobilenet_file(tmp_path_factory):
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNet(input_shape=(64, 32, 3), alpha=0.25, include_top=False, weights=None)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network.save_weights(path)
    return path, network


def test_weights_and_scaling_are_those_of_the_file(mobilenet_file):
    """At stride 1 the trunk ends where the original network still has the same stride."""
    path, network = mobilenet_file
    original = keras.Model(network.input, [network.get_layer("conv_pw_11_relu").output, network.output])
    middle, last = original(keras.applications.mobilenet.preprocess_input(IMAGES.astype("float32")))
    trunk = build_backbone("mobilenet_0.25", (64, 32), path).trunk
    np.testing.assert_allclose(trunk(IMAGES), middle, rtol=1e-4, atol=1e-5)
    published = build_backbone("mobilenet_0.25", (64, 32), path, last_stride=2)
    np.testing.assert_allclose(published.last_block(published.trunk(IMAGES)), last, rtol=1e-4, atol=1e-5)


def test_resnet_scaling_is_that_of_keras():
    stem = untrained("resnet50").blocks[0]
    scaled = keras.applications.resnet.preprocess_input(IMAGES.astype("float32"))
    np.testing.assert_allclose(stem(IMAGES), stem.get_layer("body")(scaled), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["small_resnet", "resnest50"])
def test_copy_of_the_last_block_starts_equal_and_shares_nothing(name):
    backbone = untrained(name)
    copy = backbone.copy_of_last_block("copy")
    assert copy.name == "copy"
    features = backbone.trunk(IMAGES)
    np.testing.assert_array_equal(copy(features), backbone.last_block(features))
    copy.set_weights([2 * weight for weight in copy.get_weights()])
    assert np.abs(np.asarray(copy(features)) - np.asarray(backbone.last_block(features))).max() > 0.1
    variables = [id(v) for block in (*backbone.blocks, copy) for v in block.variables]
    assert len(set(variables)) == len(variables)


def randomize(layer: keras.layers.Layer) -> dict[str, np.ndarray]:
    """Gives all arrays random values, and returns them by path without the layer's own name."""
    for variable in layer.variables:
        variable.assign(RNG.uniform(0.5, 1.5, variable.shape) * (1 if "variance" in variable.path else RNG.normal()))
    return {v.path.partition("/")[2]: np.asarray(v, "float64") for v in layer.variables}


def normalized(x, mean, variance, scale, offset):
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + offset


def test_instance_half_by_hand():
    """The first two of five channels by their own image's statistics, the others by the moving ones."""
    x = RNG.normal(size=(2, 3, 2, 5)).astype("float32")
    layer = InstanceBatchNormalization(name="ibn")
    layer.build(x.shape)
    arrays = randomize(layer)
    own, shared = x[..., :2], x[..., 2:]
    mean, variance = own.mean((1, 2), keepdims=True), own.var((1, 2), keepdims=True)
    moving = (arrays[f"BN/{name}"] for name in ("moving_mean", "moving_variance", "gamma", "beta"))
    expected = [normalized(own, mean, variance, arrays["IN/gamma"], arrays["IN/beta"]), normalized(shared, *moving)]
    np.testing.assert_allclose(layer(x), np.concatenate(expected, -1), rtol=1e-4, atol=1e-5)


def test_split_attention_by_hand():
    x = RNG.normal(size=(2, 3, 2, 4)).astype("float32")
    layer = SplitAttention(4, name="attention")
    layer.build(x.shape)
    a = randomize(layer)

    def batch_norm_and_relu(y, name):
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        return np.maximum(normalized(y, *(a[f"{name}/{array}"] for array in names)), 0)

    padded, y = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), np.zeros((2, 3, 2, 8))
    for row, column in np.ndindex(3, 2):
        window = padded[:, row : row + 3, column : column + 3]  # (2, 3, 3, 4)
        for group in range(2):  # of channels in, and of channels out
            kernel = a["conv/kernel"][..., 4 * group : 4 * group + 4]  # (3, 3, 2, 4)
            part = window[..., 2 * group : 2 * group + 2]
            y[:, row, column, 4 * group : 4 * group + 4] = np.einsum("bhwi,hwio->bo", part, kernel)
    y = batch_norm_and_relu(y, "bn0").reshape(2, 3, 2, 2, 4)  # the last two: part and channel
    pooled = y.sum(3).mean((1, 2))  # (2, 4)
    hidden = batch_norm_and_relu(pooled @ a["fc1/kernel"][0, 0] + a["fc1/bias"], "bn1")
    scores = (hidden @ a["fc2/kernel"][0, 0] + a["fc2/bias"]).reshape(2, 2, 4)
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    expected = (weights[:, None, None] * y).sum(3)
    assert hidden.shape == (2, 32) and 0.01 < weights.min() < 0.49
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_bad_names_and_files_are_reported(mobilenet_file, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="Unknown backbone 'vgg'; expected one of"):
        build_backbone("vgg", (64, 32), None)
    with pytest.raises(ValueError, match="last_stride must be 1 or 2, got 4"):
        build_backbone("small_resnet", (64, 32), None, last_stride=4)
    assert build_backbone("small_resnet", (64, 32), "none").feature_scale == 1
    with pytest.raises(ValueError, match="small_resnet has no pretrained weights"):
        build_backbone("small_resnet", (64, 32), "imagenet")
    with pytest.raises(ValueError, match="There is no weights file .*missing.h5"):
        build_backbone("mobilenet_0.25", (64, 32), tmp_path / "missing.h5")
    with pytest.raises(ValueError, match="weights .* of MobileNet could not be loaded"):
        build_backbone("mobilenet_0.5", (64, 32), mobilenet_file[0])

    def no_network(*arguments, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(keras.applications, "ResNet50", no_network)
    with pytest.raises(ValueError, match="Without network access, copy Keras' file"):
        build_backbone("resnet50", (64, 32), "imagenet")


@pytest.mark.parametrize(
    "name, scale", [("mobilenet_0.25", 0.4), ("efficientnet_lite0", 1.3), ("resnet50", 1), ("torch_resnet50", 1)]
)
def test_only_features_of_other_scales_than_a_resnets_are_scaled(name, scale):
    assert untrained(name).feature_scale == scale


def photographs():
    """Twelve parts of 128×64 pixels, from the two photographs that come with scikit-learn at half their size."""
    halves = [image[::2, ::2] for image in load_sample_images().images]  # (214, 320, 3)
    return np.stack([image[42:170, x : x + 64] for image in halves for x in range(0, 256, 43)])


def test_embedded_weights_give_pooled_features_of_a_resnets_scale():
    backbone = build_backbone("mobilenet_0.25", (128, 64))
    pooled = keras.ops.convert_to_numpy(backbone.last_block(backbone.trunk(photographs()))).mean((1, 2))
    assert pooled.shape == (12, 256)
    assert 0.3 < backbone.feature_scale * pooled.mean() < 0.5
    assert (pooled > 1).mean() > 0.25 > 0.2 > (backbone.feature_scale * pooled > 1).mean()
