"""Settings of Publication IV, chapter 3 of the dissertation; one preset per cell of its table."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro

from common.experiments.config import EmbeddingArguments, ImageTrainingConfig

UNTRAINED = "untrained"
Loss = Literal["untrained", "cross_entropy", "triplet", "lifted_structured", "arcface"]
Dataset = Literal["embedded", "veri_wild", "compcars", "compcars_sv", "mio_tcd", "folders"]


@dataclass(frozen=True)
class Config(ImageTrainingConfig):
    """One run: a data set, what is recognized in it, and a training per (loss, seed)."""

    dataset: Dataset = "veri_wild"  # images to read, section 3.1.1; "folders" has a folder per class
    attributes: tuple[str, ...] = ("type",)  # what is learned, jointly if several (section 4.2 (pub)), finest last
    # NOTE(paper): neither image size nor batch is in the text.
    image_size: tuple[int, int] = (256, 256)  # height and width that images are resized to
    losses: tuple[Loss, ...] = ("cross_entropy",)  # section 3.1.2 (pub), and 3.2; "untrained" is a control
    label_smoothing: float = 0.1  # of the cross-entropy, section 3.2.3
    l2_factor: float = 0.00025  # constant factor of L2 on all weights, section 3.2.3
    classes_per_batch: int = 8  # different classes of the last attribute in a batch
    images_per_class: int = 8  # images of each of them
    padding: int = 10  # pixels added on each side before the random crop
    erasing: float = 0.5  # probability of an erased patch, section 3.2.3
    epochs: int = 120  # passes over the training images
    # NOTE(paper): neither chapter nor publication says what an epoch is. Here as many images are drawn in it as there
    # are; batches balance the classes, so an image of a rare class is drawn more than once and of a frequent one less.
    steps_per_epoch: int = 0  # batches in an epoch; 0: images / batch, so that an epoch is a pass
    learning_rate: float = 3.5e-4  # of Adam after the warm-up; begins at a tenth of it and ends at a hundredth
    exemplars: int = 100  # training images of each class in the gallery, section 3.2.3
    held_out: int = 0  # classes that the training lacks and the gallery gets, section 3.2
    added: tuple[int, ...] = (1, 5, 20, 100)  # exemplars of each of those, one experiment each
    draws: int = 20  # random choices of exemplars whose mean accuracy is reported where classes are held out
    evaluate_every: int = 0  # epochs between two looks at the test images, whose accuracy is logged; 0: no look

    def __post_init__(self) -> None:
        super().__post_init__()
        self._validate(
            above_zero=("exemplars", "draws"),
            zero_or_more=("l2_factor", "padding", "held_out", "evaluate_every"),
            unique=("attributes", "losses", "added"),
        )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be from 0 to below 1, got {self.label_smoothing}.")
        if min(self.classes_per_batch, self.images_per_class) < 2:
            raise ValueError(
                "classes_per_batch and images_per_class must be two or more: metric learning needs a positive and a "
                f"negative, got {self.classes_per_batch} and {self.images_per_class}."
            )
        if self.held_out and (len(self.attributes) > 1 or min(self.added) < 1):
            raise ValueError(
                "Classes are held out of one attribute and added with one exemplar or more, "
                f"got attributes {self.attributes} and added {self.added}."
            )


@dataclass(frozen=True)
class Trial:
    """One training of a run; the network of loss "untrained" is the one that the others begin with."""

    loss: str
    seed: int
    retrained_with: int = 0  # exemplars of each held-out class that a classifier is trained anew with; 0: without them

    @property
    def name(self) -> str:
        """Name of its folder in the run folder."""
        kind = f"retrained{self.retrained_with}-" if self.retrained_with else ""
        return f"{kind}{self.loss}-seed{self.seed}"


def trials(config: Config) -> Iterator[Trial]:
    """All trainings of a run; a run that is stopped early has whole seeds.

    Where classes are held out, there are also the classifiers that the gallery saves its user from: trained anew with
    the new exemplars, as many of them as the gallery gets.
    """
    for seed in config.seeds:
        for loss in config.losses:
            yield Trial(loss, seed)
        for count in config.added if config.held_out else ():
            yield Trial("cross_entropy", seed, retrained_with=count)


PAPER = Config()
LOSSES: dict[str, str] = {
    "cross_entropy": "cross-entropy loss",
    "triplet": "triplet loss",
    "lifted_structured": "lifted structured loss",
    "arcface": "ArcFace loss",
}
# NOTE(paper): it has no untrained control. How much of an accuracy is ImageNet's is what this one says.
ARMS = {UNTRAINED: "untrained: ImageNet's features, pooled", **LOSSES}
# There are 149 makes and hundreds of models; batches of 16 × 4 as in the recipe for persons.
FINE = replace(PAPER, classes_per_batch=16, images_per_class=4)
# What is recognized in which set: Table 3.5, and the other two sets that section 3.1.1 recommends.
TASKS: dict[str, Config] = {
    "veri_wild_type": PAPER,
    "veri_wild_make": replace(FINE, attributes=("make",)),
    "compcars_type": replace(PAPER, dataset="compcars"),
    "compcars_make": replace(FINE, dataset="compcars", attributes=("make",)),
    "compcars_model": replace(FINE, dataset="compcars", attributes=("model",)),
    "compcars_sv_model": replace(FINE, dataset="compcars_sv", attributes=("model",)),
    "mio_tcd_type": replace(PAPER, dataset="mio_tcd"),
}


def on_cpu(config: Config) -> Config:
    """The same method at a scale that two CPU cores train in minutes: MobileNet 0.25 on 96×96 pixels.

    The accuracy on the test images is logged, so that it shows whether a training has converged.
    """
    return replace(
        config,
        backbone="mobilenet_0.25",
        image_size=(96, 96),
        losses=tuple(ARMS),
        padding=4,  # 10 pixels of 256
        epochs=40,
        learning_rate=1e-3,
        warmup_epochs=2,
        drop_epochs=(24, 34),
        evaluate_every=5,
    )


MOBILENET = replace(on_cpu(PAPER), dataset="folders", classes_per_batch=6, images_per_class=10, seeds=(0, 1, 2))
# Classes of your own: two of them are held out of the training and added to the gallery by a few exemplars.
OWN_DATA = replace(
    on_cpu(PAPER),
    dataset="folders",
    backbone="efficientnet_lite0",
    image_size=(128, 128),
    losses=("cross_entropy",),
    classes_per_batch=4,
    images_per_class=8,
    held_out=2,
    added=(5,),
    epochs=15,
    drop_epochs=(9, 13),
)
# On 480 images; the schedule was chosen by the accuracy on 120 of these, with the test images left alone.
DEMO = replace(
    on_cpu(PAPER),
    dataset="embedded",
    image_size=(64, 64),
    classes_per_batch=6,
    images_per_class=5,
    padding=3,
    erasing=0.0,
    epochs=20,  # of 16 steps
    drop_epochs=(13, 17),
)

PRESETS: dict[str, tuple[str, Config]] = {
    # make train-vehicle_attributes PRESET=smoke; the scores mean nothing. Seconds.
    "smoke": (
        "tests: two epochs of four steps on the embedded photographs",
        replace(
            DEMO,
            backbone="small_resnet",
            weights="none",
            image_size=(32, 32),
            losses=("cross_entropy", "lifted_structured"),
            classes_per_batch=4,
            images_per_class=3,
            epochs=2,
            steps_per_epoch=4,
            warmup_epochs=1,
            draws=2,
            evaluate_every=0,
        ),
    ),
    # make train-vehicle_attributes; all losses on the types of the embedded photographs.
    "demo": ("embedded photographs of six types, MobileNet 0.25, all losses side by side", DEMO),
    # PRESET=demo_open_set: classes that are added to the gallery alone, section 3.2.
    "demo_open_set": (
        "embedded photographs, two types added without retraining",
        # Eight trainings, so shorter ones.
        replace(
            DEMO,
            held_out=2,
            added=(1, 5, 20, 80),
            classes_per_batch=4,
            images_per_class=8,
            epochs=24,  # of 10 steps
            warmup_epochs=3,
            drop_epochs=(16, 21),
        ),
    ),
    # PRESET=veri_wild_type_triplet ARGS="--data-dir DIR" and so on; paper_results.py has the publication's accuracies.
    **{
        f"{task}_{loss}": (f"{name} on {task}", replace(config, losses=(loss,)))
        for task, config in TASKS.items()
        for loss, name in LOSSES.items()
    },
    # PRESET=veri_wild_joint_triplet: type and make at once, section 4.2 (pub).
    **{
        f"veri_wild_joint_{loss}": (
            f"{name}, type and make jointly",
            replace(FINE, attributes=("type", "make"), losses=(loss,)),
        )
        for loss, name in LOSSES.items()
    },
    # PRESET=mobilenet ARGS="--data-dir DIR"; no row of the publication.
    "mobilenet": ("a folder per class, all losses at a CPU's scale", MOBILENET),
    # PRESET=own_data ARGS="--data-dir DIR-OR-CSV"; docs/own_data.md.
    "own_data": ("your own pictures, a folder per class or a CSV file, EfficientNet-Lite0", OWN_DATA),
    "mobilenet_open_set": (
        "a folder per class, two classes added without retraining, at a CPU's scale",
        # Eight trainings a seed, so shorter ones.
        replace(MOBILENET, held_out=2, classes_per_batch=4, images_per_class=15, epochs=30, drop_epochs=(18, 25)),
    ),
}

# make reproduce-vehicle_attributes DATA=DIR: preset -> field -> path below DIR.
_TYPES = {"data_dir": "vehicle_type_zenodo6634554"}
DATA: dict[str, dict[str, str]] = {
    "demo": {},
    "demo_open_set": {},
    "mobilenet": _TYPES,
    "mobilenet_open_set": _TYPES,
    **{
        preset: {"data_dir": folder}
        for folder, prefix in (("VERI-Wild", "veri_wild"), ("CompCars", "compcars"), ("MIO-TCD", "mio_tcd"))
        for preset in PRESETS
        if preset.startswith(prefix)
    },
}


@dataclass(frozen=True, kw_only=True)
class EmbedArguments(EmbeddingArguments):
    __doc__ = EmbeddingArguments.__doc__

    pictures: tyro.conf.Positional[Path]  # folder of class folders, or a CSV file
    training: Path  # folder of a finished training
    whole_images: bool = False  # where a network was trained on boxes: the images show nothing but the vehicle
