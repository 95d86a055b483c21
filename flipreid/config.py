"""Settings of Publication II, section 2.3 of the dissertation; one preset per backbone and data set of its table."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from common.experiments.config import EmbeddingArguments, SeededTrial
from common.experiments.reid.config import REID_DEMO, REID_FOLDERS, REID_ON_CPU, REID_SMOKE, ReIDConfig

Method = Literal["baseline", "flipreid", "flipping_loss", "aggregator"]


@dataclass(frozen=True)
class Config(ReIDConfig):
    """One run: a data set, a backbone, and a training per (method, seed)."""

    methods: tuple[Method, ...] = ("baseline", "flipreid", "flipping_loss")  # rows 1, 2 and 3 of Table 2.3
    # Image and mirror in two calls of the inference model, each with its own batch statistics, or in one batch.
    views: Literal["separate", "concatenated"] = "separate"  # the author's program; section 2.3 does not say
    l2_factor: float = 0.0005  # constant factor of L2 on all weights
    padding: float = 0.05  # share that height and width grow by before the random crop, half of it on each side
    gray_patch: float = 0.8  # probability of a patch without colors
    erasing: float = 0.8  # probability of an erased patch

    def __post_init__(self) -> None:
        super().__post_init__()
        self._validate(zero_or_more=("l2_factor", "padding"), unique=("methods",))
        if self.padding >= 1:
            raise ValueError(f"padding must be a share of height and width below 1, got {self.padding}.")
        for name in ("gray_patch", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be a probability from 0 to 1, got {getattr(self, name)}.")


@dataclass(frozen=True)
class Trial(SeededTrial):
    """One training of a run."""

    method: str
    seed: int


def trials(config: Config) -> list[Trial]:
    """All trainings of a run; a run that is stopped early has whole seeds."""
    return [Trial(method, seed) for seed in config.seeds for method in config.methods]


RESNET50 = Config(backbone="torch_resnet50")  # pre-processing and weights as the author's, not Keras'
# The two heavier backbones learn faster (section 2.3, author's settings).
IBN_RESNET50 = replace(RESNET50, backbone="ibn_resnet50", learning_rate=3e-4)
RESNEST50 = replace(IBN_RESNET50, backbone="resnest50", l2_factor=0.001)

# The same method at a CPU's scale.
MOBILENET = replace(
    RESNET50,
    **REID_ON_CPU,
    methods=("baseline", "flipreid", "flipping_loss", "aggregator"),
    l2_factor=1e-7,  # as in adaptive_l2, by a grid on held-out people
)
# The other methods see each image and its mirror in a step: the baseline with as many images, not as many steps.
MOBILENET_IMAGES = replace(MOBILENET, methods=("baseline",), warmup_epochs=6, epochs=120, drop_epochs=(72, 102))

# Identities of your own, or any classes: a fifth of them is held out of the training and is the test.
OWN_DATA = replace(
    MOBILENET,
    dataset="own",
    backbone="efficientnet_lite0",
    image_size=(128, 128),
    regional_branches=False,  # halves of a standing person
    methods=("flipping_loss",),
    identities_per_batch=8,
    balance="identities",  # classes of fewer than four pictures count too
    frozen_epochs=2,
    evaluate_every=5,
    epochs=20,
    steps_per_epoch=100,
    drop_epochs=(12, 17),
    seeds=(0,),
)

DEMO = replace(
    MOBILENET,
    **REID_DEMO,
    methods=("baseline", "flipreid", "flipping_loss"),
    epochs=8,
    steps_per_epoch=40,
    drop_epochs=(5, 7),
)

PRESETS: dict[str, tuple[str, Config]] = {
    # make train-flipreid PRESET=smoke; the scores mean nothing. Seconds.
    "smoke": (
        "tests: three steps on a few synthetic people, rows 1 and 3",
        replace(
            DEMO,
            **REID_SMOKE,
            methods=("baseline", "flipping_loss"),
            frozen_epochs=0,
            steps_per_epoch=3,
            l2_factor=0.0005,
        ),
    ),
    # make train-flipreid; synthetic people, rows 1.1 to 3.3.
    "demo": ("synthetic people, MobileNet 0.25, the three methods of Table 2.3", DEMO),
    # PRESET=market1501_resnet50 ARGS="--data-dir DIR --weights FILE.pth" and so on: rows 1.1 to 3.3 of Table 2.3.
    **{
        f"{dataset}_{backbone}": (
            f"Table 2.3, rows 1.1 to 3.3: {dataset}, {backbone}",
            replace(config, dataset=dataset),
        )
        for dataset in REID_FOLDERS
        for backbone, config in (("resnet50", RESNET50), ("ibn_resnet50", IBN_RESNET50), ("resnest50", RESNEST50))
    },
    # PRESET=mobilenet ARGS="--data-dir DIR"; no row of the publication.
    "mobilenet": ("Market-1501 at a CPU's scale, the learned aggregator too", MOBILENET),
    "mobilenet_images": ("the baseline of it with as many images as FlipReID sees", MOBILENET_IMAGES),
    # PRESET=own_data ARGS="--data-dir DIR-OR-CSV"; docs/own_data.md. No row of the publication.
    "own_data": ("your own pictures, a folder per identity or a CSV file, EfficientNet-Lite0", OWN_DATA),
    "lite0": ("the same with EfficientNet-Lite0", replace(MOBILENET, backbone="efficientnet_lite0")),
}

# make reproduce-flipreid DATA=DIR: preset -> field -> path below DIR.
_WEIGHTS = {  # ImageNet's, by their names as published
    "resnet50": "resnet50-0676ba61.pth",
    "ibn_resnet50": "resnet50_ibn_a-d9d0bb7b.pth",
    "resnest50": "resnest50-528c19ca.pth",
}
DATA: dict[str, dict[str, str]] = {
    "demo": {},
    **{preset: {"data_dir": REID_FOLDERS["market1501"]} for preset in ("mobilenet", "mobilenet_images")},
    **{
        f"{dataset}_{backbone}": {"data_dir": folder, "weights": weights}
        for dataset, folder in REID_FOLDERS.items()
        for backbone, weights in _WEIGHTS.items()
    },
}


@dataclass(frozen=True)
class EmbedArguments(EmbeddingArguments):
    __doc__ = EmbeddingArguments.__doc__

    pictures: tyro.conf.Positional[Path | None] = None  # folder of class folders, or a CSV file; default: the run's set
    run: Path | None = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    trial: str | None = None  # the training, by the name of its folder in the run; default: the last finished one
    inference: Literal["single", "double"] = "double"  # of the image alone, or of it and its mirror
