"""Networks whose ImageNet weights come from their authors' PyTorch checkpoints."""

import re
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tyro

from common.backbones.ibn_resnet import ibn_resnet50
from common.backbones.resnest import resnest50
from common.files import save_weights

NETWORKS = {"ibn_resnet50": ibn_resnet50, "resnest50": resnest50}
_NAMES = {  # Keras' names of weights, and PyTorch's
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def build(
    name: str, shape: tuple[int, int, int], weights: str | Path | None, last_stride: int
) -> tuple[keras.Model, ...]:
    """The five blocks of one of `NETWORKS`; arguments and errors as in `build_backbone`."""
    command = f"python -m common.backbones import {name} CHECKPOINT"
    if weights == "imagenet":
        raise ValueError(
            f"Keras has no ImageNet weights of {name}: make them from its authors' PyTorch checkpoint with "
            f"`{command}`, and pass their file as --weights."
        )
    if weights is not None and not Path(weights).is_file():
        raise ValueError(f"There is no weights file {weights}. Pass one from `{command}`, or None.")
    blocks = NETWORKS[name](shape, last_stride)
    if weights is not None:
        try:
            keras.Sequential(blocks).load_weights(weights)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"The weights {weights} of {name} could not be loaded ({reason}). Pass a file from `{command}`."
            ) from error
    return blocks


def import_checkpoint(
    network: tyro.conf.Positional[Literal["ibn_resnet50", "resnest50"]],
    checkpoint: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path | None] = None,
) -> None:
    """Writes the arrays of a PyTorch checkpoint into a Keras file that `--weights` takes.

    Args:
        network: which network.
        checkpoint: the file of its authors.
        out: the file to write; default: the checkpoint's with the suffix .weights.h5.

    Raises:
        ValueError: PyTorch is missing, the checkpoint cannot be read, an array of it is missing, unknown or of another
            shape, or `out` has another suffix.
    """
    out = out or checkpoint.with_suffix(".weights.h5")
    if not out.name.endswith(".weights.h5"):
        raise ValueError(f"Keras' weights files end in .weights.h5, got {out}.")
    arrays = _read(checkpoint)
    blocks = NETWORKS[network]((64, 64, 3), 2)
    variables = {_key(variable): variable for block in blocks for variable in block.variables}
    missing, unknown = sorted(variables.keys() - arrays.keys()), sorted(arrays.keys() - variables.keys())
    if missing or unknown:
        raise ValueError(
            f"{checkpoint} is no checkpoint of {network}: {len(missing)} arrays are missing {missing[:3]}, "
            f"{len(unknown)} are unknown {unknown[:3]}. Is it of another network?"
        )
    for key, variable in variables.items():
        axes = (3, 2, 0, 1) if variable.ndim == 4 else range(variable.ndim)
        expected = tuple(variable.shape[axis] for axis in axes)
        if arrays[key].shape != expected:
            raise ValueError(
                f"{key} in {checkpoint} has the shape {arrays[key].shape}; expected {expected} for {network}. "
                "Is it of another network?"
            )
        variable.assign(arrays[key].transpose(np.argsort(axes)))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(keras.Sequential(blocks), out)
    print(f"{out}: {len(variables)} arrays of {network}")


def _key(variable: keras.Variable) -> str:
    """PyTorch's name of a weight: layer1.0.bn1.IN.weight of layer1_0_bn1/IN/gamma."""
    *modules, weight = variable.path.split("/")
    return ".".join([*modules, ""]).replace("_", ".") + _NAMES[weight]


def _read(checkpoint: Path) -> dict[str, np.ndarray]:
    """The arrays of a PyTorch checkpoint but those of its classifier and of its counters of batches."""
    if not checkpoint.is_file():
        raise ValueError(f"There is no checkpoint {checkpoint}. Pass the file of the network's authors.")
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            "PyTorch, which reads its checkpoints, is missing: .venv/bin/pip install -r requirements-torch.txt"
        ) from error
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        arrays = {name: value.float().numpy() for name, value in state.items()}
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{checkpoint} cannot be read as a PyTorch checkpoint of arrays ({reason}).") from error
    if all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    left_out = re.compile(r"fc\..*|.*\.num_batches_tracked")
    return {name: array for name, array in arrays.items() if not left_out.fullmatch(name)}
