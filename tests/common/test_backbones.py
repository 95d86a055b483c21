"""Backbones: shapes at stride 1, weights kept, copies apart, and files that do not fit."""

import keras
import numpy as np
import pytest

from common.backbones import build_backbone

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 64, 32, 3), dtype="uint8")


@pytest.mark.parametrize(
    "name, channels, weights",
    [("resnet50", 2048, 23_587_712), ("mobilenet_0.25", 256, 218_544), ("small_resnet", 96, 256_528)],
)
def test_last_block_runs_at_stride_one_with_the_same_weights(name, channels, weights):
    """Those of Keras' networks, whose last block halves the maps, have as many weights."""
    backbone = build_backbone(name, (64, 32), None)
    maps = backbone.last_block(backbone.trunk(IMAGES))
    assert maps.shape == (2, 4, 2, channels)
    assert backbone.trunk.count_params() + backbone.last_block.count_params() == weights


@pytest.fixture(scope="module")
def mobilenet_file(tmp_path_factory):
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNet(input_shape=(64, 32, 3), alpha=0.25, include_top=False, weights=None)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    network.save_weights(path)
    return path, network


def test_weights_and_scaling_are_those_of_the_file(mobilenet_file):
    """The trunk ends where the original network still has the same stride."""
    path, network = mobilenet_file
    backbone = build_backbone("mobilenet_0.25", (64, 32), path)
    original = keras.Model(network.input, network.get_layer("conv_pw_11_relu").output)
    scaled = keras.applications.mobilenet.preprocess_input(IMAGES.astype("float32"))
    np.testing.assert_allclose(backbone.trunk(IMAGES), original(scaled), rtol=1e-4, atol=1e-5)


def test_resnet_scaling_is_that_of_keras():
    backbone = build_backbone("resnet50", (64, 32), None)
    body = backbone.trunk.get_layer("body")
    scaled = keras.applications.resnet.preprocess_input(IMAGES.astype("float32"))
    np.testing.assert_allclose(backbone.trunk(IMAGES), body(scaled), rtol=1e-4, atol=1e-4)


def test_copy_of_the_last_block_starts_equal_and_shares_nothing():
    backbone = build_backbone("small_resnet", (64, 32), None)
    copy = backbone.copy_of_last_block("copy")
    features = backbone.trunk(IMAGES)
    np.testing.assert_array_equal(copy(features), backbone.last_block(features))
    copy.set_weights([2 * weight for weight in copy.get_weights()])
    assert np.abs(np.asarray(copy(features)) - np.asarray(backbone.last_block(features))).max() > 0.1


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_bad_names_and_files_are_told(mobilenet_file, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="Unknown backbone 'vgg'; expected one of"):
        build_backbone("vgg", (64, 32), None)
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
