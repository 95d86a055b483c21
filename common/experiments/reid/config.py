"""Settings of trainings of re-identification networks, and of their presets. Nothing here imports a framework."""

from dataclasses import dataclass
from typing import Any, Literal

from common.experiments.config import EvaluationArguments, ImageTrainingConfig

# The folders of the data sets by their names as published, below the `DATA` of `make reproduce-…`.
REID_FOLDERS = {"market1501": "Market-1501-v15.09.15", "duke": "DukeMTMC-reID", "msmt17": "MSMT17_V1"}
# MobileNet 0.25 on 128×64 pixels: the scale of both re-identification projects at which two CPU cores train for half an
# hour. An epoch of 202 steps with 64 images is a pass over Market-1501.
REID_ON_CPU: dict[str, Any] = {
    "backbone": "mobilenet_0.25",
    "image_size": (128, 64),
    "frozen_epochs": 5,
    "evaluate_every": 10,
    "epochs": 60,
    "steps_per_epoch": 202,
    "learning_rate": 6e-4,
    "warmup_epochs": 3,
    "drop_epochs": (36, 51),
    "seeds": (0, 1, 2),
}
# On synthetic people: the demos of both projects take minutes, and their smoke runs seconds.
REID_DEMO: dict[str, Any] = {
    "dataset": "synthetic",
    "image_size": (96, 48),
    "frozen_epochs": 2,
    "evaluate_every": 4,
    "warmup_epochs": 1,
    "learning_rate": 1e-3,
    "seeds": (0,),
}
REID_SMOKE: dict[str, Any] = {
    "people": 16,
    "backbone": "small_resnet",
    "weights": "none",
    "image_size": (64, 32),
    "regional_branches": False,
    "identities_per_batch": 4,
    "epochs": 1,
    "evaluate_every": 1,
    "learning_rate": 2e-3,
    "warmup_epochs": 2,
}


def check_triplets(identities_per_batch: int, images_per_identity: int) -> None:
    """Raises ValueError for batches that have no triplets."""
    if min(identities_per_batch, images_per_identity) < 2:
        raise ValueError(
            "identities_per_batch and images_per_identity must be two or more: the triplet loss needs a positive and a "
            f"negative, got {identities_per_batch} and {images_per_identity}."
        )


@dataclass(frozen=True)
class ReIDConfig(ImageTrainingConfig):
    """Fields of trainings of re-identification networks (Publications I and II)."""

    # Images to read, section 2.1.1; "own" is a folder with a folder per identity, or a CSV file, at data_dir.
    dataset: Literal["synthetic", "market1501", "duke", "msmt17", "own"] = "market1501"
    people: int = 200  # how many identities the synthetic set has
    # Training identities that are the test set instead of the set's own, to choose settings by; of "own" 0 is a fifth.
    held_out: int = 0
    regional_branches: bool = True  # two branches on the upper and the lower half
    identities_per_batch: int = 16  # different people in a batch
    images_per_identity: int = 4  # images of each of them
    balance: Literal["images", "identities"] = "images"  # what is drawn about equally often
    frozen_epochs: int = 20  # epochs of the first stage, in which the backbone is frozen; not among `epochs`
    evaluate_every: int = 10  # epochs between two looks at the test images, whose mAP is logged; 0: no look
    choose_epoch: Literal["last", "best_test"] = "last"  # whose weights are evaluated; "best_test" was published

    def __post_init__(self) -> None:
        super().__post_init__()
        self._validate(above_zero=("steps_per_epoch",), zero_or_more=("held_out", "frozen_epochs", "evaluate_every"))
        if self.choose_epoch == "best_test" and not self.evaluate_every:
            raise ValueError("choose_epoch best_test needs evaluate_every to be above zero, got 0.")
        check_triplets(self.identities_per_batch, self.images_per_identity)


@dataclass(frozen=True)
class ReIDArguments(EvaluationArguments):
    __doc__ = EvaluationArguments.__doc__

    dataset: Literal["synthetic", "market1501", "duke", "msmt17"] | None = None  # to evaluate on another, with data-dir
