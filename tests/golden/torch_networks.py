"""The backbones again in PyTorch, with the names of the published checkpoints: the oracle of those in Keras.

torch_resnet50 and efficientnet_lite0 gave the maps of torchvision 0.28's resnet50 and of the network in the package
efficientnet-lite-pytorch 0.1.0 with equal weights, number for number.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tests.golden.backbone_arrays import array

# As published, with the classifier of 1,000 classes.
PARAMETERS = {
    "torch_resnet50": 25_557_032,
    "ibn_resnet50": 25_557_032,
    "resnest50": 27_483_240,
    "efficientnet_lite0": 4_652_008,
}


def network(name: str, last_stride: int) -> nn.Module:
    """One of `PARAMETERS`, in evaluation."""
    net = EfficientNetLite0(last_stride) if name == "efficientnet_lite0" else ResNet50(name, last_stride)
    return net.eval()


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a network by formula."""
    return {
        key: value if key.endswith("num_batches_tracked") else torch.tensor(array(key, tuple(value.shape)))
        for key, value in net.state_dict().items()
    }


def maps_of_blocks(net: nn.Module, images: np.ndarray) -> list[np.ndarray]:
    """The feature maps (B, H, W, C) after each of the five blocks, of images (B, H, W, 3) uint8."""
    with torch.no_grad():
        maps = net.blocks(torch.tensor(images).permute(0, 3, 1, 2).float())
    return [block.permute(0, 2, 3, 1).numpy() for block in maps]


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
        outputs, plain = 4 * planes, name != "resnest50"
        self.conv1 = conv(inputs, planes, 1)
        self.bn1 = IBN(planes) if name == "ibn_resnet50" and planes < 512 else nn.BatchNorm2d(planes)
        if plain:
            self.conv2, self.bn2 = conv(planes, planes, 3, stride), nn.BatchNorm2d(planes)
        else:
            self.conv2 = SplitAttention(planes)
            if first and planes > 64:
                self.avd_layer = nn.AvgPool2d(3, stride, padding=1)
        self.conv3, self.bn3 = conv(planes, outputs, 1), nn.BatchNorm2d(outputs)
        if first and plain:
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


class ResNet50(nn.Module):
    """torch_resnet50, ibn_resnet50 or resnest50."""

    def __init__(self, name, last_stride):
        super().__init__()
        if name != "resnest50":
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
        mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
        x = (images / 255 - mean) / deviation
        maps = [self.maxpool(self.bn1(self.conv1(x)).relu())]
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps.append(layer(maps[-1]))
        return maps


class SameConv2d(nn.Conv2d):
    """With TensorFlow's padding: what an even number of zeros leaves over goes to the end."""

    def __init__(self, inputs, outputs, size, stride=1, groups=1):
        super().__init__(inputs, outputs, size, stride, groups=groups, bias=False)

    def forward(self, x):
        size, stride, padding = self.kernel_size[0], self.stride[0], []
        for length in (x.shape[3], x.shape[2]):
            total = max((-(-length // stride) - 1) * stride + size - length, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, padding))


class InvertedBottleneck(nn.Module):
    def __init__(self, inputs, outputs, expansion, size, stride):
        super().__init__()
        hidden = expansion * inputs
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv2d(inputs, hidden, 1), nn.BatchNorm2d(hidden, eps=1e-3)
        self._depthwise_conv = SameConv2d(hidden, hidden, size, stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, eps=1e-3)
        self._project_conv, self._bn2 = SameConv2d(hidden, outputs, 1), nn.BatchNorm2d(outputs, eps=1e-3)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        y = functional.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        y = self._bn2(self._project_conv(functional.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    def __init__(self, last_stride):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv2d(3, 32, 3, 2), nn.BatchNorm2d(32, eps=1e-3)
        channels = [32, 16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]
        sizes = [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3]
        strides = {1: 2, 3: 2, 5: 2, 11: last_stride}
        self._blocks = nn.ModuleList(
            InvertedBottleneck(channels[i], channels[i + 1], 6 if i else 1, sizes[i], strides.get(i, 1))
            for i in range(16)
        )
        self._conv_head, self._bn1 = SameConv2d(320, 1280, 1), nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def blocks(self, images):
        x, maps = functional.relu6(self._bn0(self._conv_stem((images - 127) / 128))), []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in (0, 2, 4, 10):
                maps.append(x)
        return [*maps, functional.relu6(self._bn1(self._conv_head(x)))]
