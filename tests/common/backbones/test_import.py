"""Weights from PyTorch checkpoints: both networks again in PyTorch, with the official names, as the oracle."""

import h5py
import numpy as np
import pytest

from common.backbones import build_backbone
from common.backbones.__main__ import main
from tests.helpers import run_python

torch = pytest.importorskip("torch")
nn = torch.nn

# The feature maps are 18×10, 9×5, 5×3 and 3×2: odd ones too, where paddings differ.
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 72, 40, 3), dtype="uint8")
# As their authors give them, with the classifier of 1,000 classes.
PARAMETERS = {"ibn_resnet50": 25_557_032, "resnest50": 27_483_240}


def conv(inputs, outputs, size, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)


class IBN(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.half = planes // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = nn.BatchNorm2d(planes - self.half)

    def forward(self, x):
        return torch.cat([self.IN(x[:, : self.half]), self.BN(x[:, self.half :])], 1)


class SplitAttention(nn.Module):
    def __init__(self, planes):
        super().__init__()
        hidden = max(planes * 2 // 4, 32)
        self.conv, self.bn0 = conv(planes, 2 * planes, 3, groups=2), nn.BatchNorm2d(2 * planes)
        self.fc1, self.bn1 = nn.Conv2d(planes, hidden, 1), nn.BatchNorm2d(hidden)
        self.fc2 = nn.Conv2d(hidden, 2 * planes, 1)

    def forward(self, x):
        first, second = self.bn0(self.conv(x)).relu().chunk(2, 1)
        pooled = (first + second).mean((2, 3), keepdim=True)
        scores = self.fc2(self.bn1(self.fc1(pooled)).relu())
        weights = torch.stack(scores.chunk(2, 1)).softmax(0)
        return weights[0] * first + weights[1] * second


class Bottleneck(nn.Module):
    def __init__(self, name, inputs, planes, stride, first):
        super().__init__()
        ibn, outputs = name == "ibn_resnet50", 4 * planes
        self.conv1, self.bn1 = conv(inputs, planes, 1), IBN(planes) if ibn and planes < 512 else nn.BatchNorm2d(planes)
        if ibn:
            self.conv2, self.bn2 = conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
        else:
            self.conv2 = SplitAttention(planes)
            if first and planes > 64:
                self.avd_layer = nn.AvgPool2d(3, stride, padding=1)
        self.conv3, self.bn3 = conv(planes, outputs, 1), nn.BatchNorm2d(outputs)
        if first and ibn:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        elif first:
            pool = nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(pool, conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.conv2(self.bn1(self.conv1(x)).relu())
        y = self.bn2(y).relu() if hasattr(self, "bn2") else y
        y = self.avd_layer(y) if hasattr(self, "avd_layer") else y
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return (self.bn3(self.conv3(y)) + shortcut).relu()


class Network(nn.Module):
    def __init__(self, name, last_stride):
        super().__init__()
        if name == "ibn_resnet50":
            self.conv1 = conv(3, 64, 7, 2)
        else:
            first = conv(3, 32, 3, 2), nn.BatchNorm2d(32), nn.ReLU()
            self.conv1 = nn.Sequential(*first, conv(32, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), conv(32, 64, 3))
        self.bn1, self.maxpool = nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)
        inputs, counts, strides = 64, (3, 4, 6, 3), (1, 2, 2, last_stride)
        for stage, (count, stride) in enumerate(zip(counts, strides)):
            planes, bottlenecks = 64 * 2**stage, []
            for index in range(count):
                bottlenecks.append(Bottleneck(name, inputs, planes, stride if index == 0 else 1, index == 0))
                inputs = 4 * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*bottlenecks))
        self.fc = nn.Linear(2048, 1000)

    def blocks(self, images):
        """The feature maps after each block, (B, H, W, C)."""
        mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
        x = ((torch.tensor(images) / 255 - mean) / deviation).permute(0, 3, 1, 2)
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        maps_of_blocks = [x]
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps_of_blocks.append(layer(maps_of_blocks[-1]))
        return [maps.permute(0, 2, 3, 1).numpy() for maps in maps_of_blocks]


@pytest.fixture(scope="module", params=list(PARAMETERS))
def imported(request, tmp_path_factory):
    """A network's name, its random arrays, and the folder with its checkpoint and its file for Keras.

    The last scale of a bottleneck is small, so that features and the differences of rounding do not grow.
    """
    torch.manual_seed(0)
    arrays = Network(request.param, 2).state_dict()
    for key, array in arrays.items():
        if array.ndim == 4:
            nn.init.kaiming_normal_(array, nonlinearity="relu")
        elif key.endswith("bn3.weight"):
            array.uniform_(0.1, 0.3)
        elif key.endswith(("weight", "running_var")):
            array.uniform_(0.5, 1.5)
        elif key.endswith(("bias", "running_mean")):
            array.normal_(std=0.2)
    folder = tmp_path_factory.mktemp(request.param)
    torch.save(arrays, folder / "network.pth")
    main(["import", request.param, str(folder / "network.pth")])
    return request.param, arrays, folder


@pytest.mark.parametrize("last_stride", [1, 2])
def test_each_block_computes_what_pytorch_computes(imported, last_stride):
    name, arrays, folder = imported
    oracle = Network(name, last_stride).eval()
    oracle.load_state_dict(arrays)
    with torch.no_grad():
        expected = oracle.blocks(IMAGES)
    backbone = build_backbone(name, (72, 40), folder / "network.weights.h5", last_stride=last_stride)
    maps = IMAGES
    for block, value in zip(backbone.blocks, expected, strict=True):
        maps = block(maps)
        assert maps.shape == value.shape
        np.testing.assert_allclose(maps, value, rtol=0, atol=1e-5 * np.abs(value).max(), err_msg=block.name)
    trained = sum(np.size(variable) for block in backbone.blocks for variable in block.trainable_variables)
    assert trained + 2048 * 1000 + 1000 == PARAMETERS[name] == sum(p.numel() for p in oracle.parameters())


@pytest.mark.parametrize("imported", ["resnest50"], indirect=True)
def test_checkpoints_of_parallel_trainings_give_the_same_file(imported, tmp_path):
    name, arrays, folder = imported
    wrapped = {"epoch": 3, "state_dict": {f"module.{key}": array for key, array in arrays.items()}}
    torch.save(wrapped, tmp_path / "wrapped.pth.tar")
    main(["import", name, str(tmp_path / "wrapped.pth.tar"), str(tmp_path / "new/out.weights.h5")])
    files = []
    for path in (folder / "network.weights.h5", tmp_path / "new/out.weights.h5"):
        with h5py.File(path) as file:
            names = []
            file.visit(names.append)
            files.append({name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)})
    assert len(files[0]) == 403 and files[0].keys() == files[1].keys()
    for name, array in files[0].items():
        np.testing.assert_array_equal(array, files[1][name])


@pytest.mark.parametrize("imported", ["ibn_resnet50"], indirect=True)
@pytest.mark.parametrize(
    "change, message",
    [
        ({"layer4.2.conv3.weight": None}, "1 arrays are missing \\['layer4.2.conv3.weight'\\], 0 are unknown"),
        ({"layer4.3.bn1.bias": torch.zeros(512)}, "0 arrays are missing .*, 1 are unknown \\['layer4.3.bn1.bias'\\]"),
        (
            {"layer4.2.conv3.weight": torch.zeros(2048, 512, 3, 3)},
            "layer4.2.conv3.weight in .* has the shape \\(2048, 512, 3, 3\\); expected \\(2048, 512, 1, 1\\)",
        ),
    ],
    ids=["missing", "additional", "misshaped"],
)
def test_checkpoints_that_do_not_fit_are_reported(imported, change, message, tmp_path):
    name, arrays, _ = imported
    changed = {key: array for key, array in {**arrays, **change}.items() if array is not None}
    torch.save(changed, tmp_path / "network.pth")
    with pytest.raises(ValueError, match=message):
        main(["import", name, str(tmp_path / "network.pth")])
    assert [path.name for path in tmp_path.iterdir()] == ["network.pth"]


def test_command_tells_a_file_that_is_no_checkpoint_in_one_sentence(tmp_path):
    (tmp_path / "network.pth").write_text("not a checkpoint")
    command = ("-m", "common.backbones", "import", "resnest50", str(tmp_path / "network.pth"))
    _, errors = run_python(*command, status=1)
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith(f"ValueError: {tmp_path / 'network.pth'} cannot be read as a PyTorch")
