"""Settings of Publication II, section 2.3 of the dissertation; one preset per backbone and data set of its table."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from common.config import RunConfig

Training = Literal["baseline", "flipreid", "flipping_loss", "aggregator"]


@dataclass(frozen=True)
class Config(RunConfig):
    """One run: a data set, a backbone, and a training per (way of training, seed)."""

    dataset: Literal["people", "market1501", "duke", "msmt17"] = "market1501"  # images to read, section 3.1 (pub)
    people: int = 200  # how many identities are drawn for dataset "people"
    backbone: str = "resnet50"  # see common/backbones
    weights: str = "imagenet"  # of the backbone: Keras' own, the path of a file, or "none"
    image_size: tuple[int, int] = (384, 128)  # height and width that images are resized to
    regional_branches: bool = True  # two branches on the upper and the lower half, section 2.1 (pub)
    trainings: tuple[Training, ...] = ("baseline", "flipreid", "flipping_loss")  # rows 1, 2 and 3 of Table 2.3
    l2_factor: float = 0.0005  # constant factor of L2 on all arrays
    identities_per_batch: int = 16  # different people in a batch
    images_per_identity: int = 4  # images of each of them
    padding: float = 0.05  # share of height and width added on each side before the random crop
    grey_patch: float = 0.8  # probability of a patch without colours
    erasing: float = 0.8  # probability of an erased patch
    frozen_epochs: int = 20  # epochs of the first stage, in which the backbone rests
    epochs: int = 200  # epochs of the second stage, in which everything learns
    steps_per_epoch: int = 200  # batches in an epoch
    learning_rate: float = 2e-4  # of Adam after the warm-up; begins and ends at a hundredth of it
    warmup_epochs: int = 10  # epochs of the linear warm-up, in each stage
    drop_epochs: tuple[int, ...] = (40, 70)  # epochs from which the rate is divided by ten
    precision: Literal["float32", "mixed_bfloat16"] = "float32"  # of the computation; arrays stay float32

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check(
            above_zero=("epochs", "steps_per_epoch", "learning_rate"),
            zero_or_more=("l2_factor", "padding", "frozen_epochs", "warmup_epochs"),
            different=("trainings",),
        )
        if min(self.image_size) < 32:
            raise ValueError(f"image_size must be at least 32 × 32 pixels, got {self.image_size}.")
        if min(self.identities_per_batch, self.images_per_identity) < 2:
            raise ValueError(
                "identities_per_batch and images_per_identity must be two or more: the triplet loss needs a positive "
                f"and a negative, got {self.identities_per_batch} and {self.images_per_identity}."
            )


@dataclass(frozen=True)
class Trial:
    """One training of a run."""

    training: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder in the run folder."""
        return f"{self.training}-seed{self.seed}"


def trials(config: Config) -> Iterator[Trial]:
    """All trainings of a run; a run that is stopped early has whole seeds."""
    for seed in config.seeds:
        for training in config.trainings:
            yield Trial(training, seed)


RESNET50 = Config()
# The two heavier backbones learn faster (section 2.3, author's settings).
IBN_RESNET50 = replace(RESNET50, backbone="ibn_resnet50", learning_rate=3e-4)
RESNEST50 = replace(IBN_RESNET50, backbone="resnest50", l2_factor=0.001)

# MobileNet 0.25 on 128×64 pixels: the same method at a scale that two CPU cores train in minutes.
MOBILENET = replace(
    RESNET50,
    backbone="mobilenet_0.25",
    image_size=(128, 64),
    trainings=("baseline", "flipreid", "flipping_loss", "aggregator"),
    identities_per_batch=8,
    frozen_epochs=2,
    epochs=12,
    steps_per_epoch=50,
    learning_rate=1e-3,
    warmup_epochs=2,
    drop_epochs=(8, 11),
    seeds=(0, 1, 2),
)

DEMO = replace(
    MOBILENET,
    dataset="people",
    backbone="small_resnet",
    weights="none",
    image_size=(96, 48),
    regional_branches=False,  # from random weights they collapse to one point at this learning rate
    trainings=("baseline", "flipreid", "flipping_loss"),
    identities_per_batch=16,
    frozen_epochs=0,
    epochs=8,
    learning_rate=2e-3,
    drop_epochs=(6,),
    seeds=(0,),
)

PRESETS: dict[str, tuple[str, Config]] = {
    # make train-flipreid PRESET=smoke; the scores mean nothing. Seconds.
    "smoke": (
        "tests: three steps on a few drawn people, rows 1 and 3",
        replace(
            DEMO,
            people=16,
            image_size=(64, 32),
            trainings=("baseline", "flipping_loss"),
            identities_per_batch=4,
            epochs=1,
            steps_per_epoch=3,
        ),
    ),
    # make train-flipreid; drawn people, rows 1.1 to 3.3.
    "demo": ("drawn people, small network, the three trainings of Table 2.3", DEMO),
    # PRESET=market1501_resnet50 ARGS="--data-dir DIR" and so on: rows 1.1 to 3.3 of Table 2.3 for that backbone.
    **{
        f"{dataset}_{config.backbone}": (
            f"Table 2.3, rows 1.1 to 3.3: {dataset}, {config.backbone}",
            replace(config, dataset=dataset),
        )
        for dataset in ("market1501", "duke", "msmt17")
        for config in (RESNET50, IBN_RESNET50, RESNEST50)
    },
    # PRESET=mobilenet ARGS="--data-dir DIR --weights FILE"; no row of the publication.
    "mobilenet": ("Market-1501 or a part of it at a CPU's scale, the learned aggregator too", MOBILENET),
}

# make reproduce-flipreid DATA=DIR: preset -> field -> path below DIR.
_FOLDERS = {"market1501": "Market-1501-v15.09.15", "duke": "DukeMTMC-reID", "msmt17": "MSMT17_V1"}
DATA: dict[str, dict[str, str]] = {
    "demo": {},
    "mobilenet": {"data_dir": _FOLDERS["market1501"], "weights": "mobilenet_2_5_224_tf_no_top.h5"},
    **{f"{dataset}_resnet50": {"data_dir": folder} for dataset, folder in _FOLDERS.items()},
}
