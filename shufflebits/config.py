"""Settings of Publication III, section 2.4 of the dissertation; one preset per victim model and local set."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import tyro

from common.experiments.config import RunConfig, SeededTrial
from common.experiments.reid.config import REID_FOLDERS, check_triplets

Attack = Literal["attributes", "attributes_on_words", "pixel", "feature", "adversarial"]
RECONSTRUCTIONS = ("pixel", "feature", "adversarial")
ALL_ATTACKS = ("attributes", "attributes_on_words", *RECONSTRUCTIONS)


@dataclass(frozen=True)
class Config(RunConfig):
    """One run: a victim model behind a server, and an attack model per (attack, seed)."""

    PLACES: ClassVar[tuple[str, ...]] = (*RunConfig.PLACES, "weights", "perceptual_weights")
    FILES: ClassVar[tuple[str, ...]] = ("weights", "perceptual_weights", "features")

    dataset: Literal["synthetic", "market1501", "duke"] = "market1501"  # of the adversary and the users
    people: int = 400  # how many identities the synthetic set has
    users: int = 0  # how many of the users' images are taken, spread evenly; 0: all
    attacks: tuple[Attack, ...] = ALL_ATTACKS  # models that are trained, sections 4.2 and 4.3 (pub)

    # The model that is attacked: one trained here and served over HTTP, or another one, by its features.
    victim: Literal["trained", "bot", "agw", "sbs", "other"] = "trained"  # all but "trained" need features
    features: Path | None = None  # npz with arrays paths and features
    backbone: str = "resnet50"  # see common/backbones
    weights: str = "imagenet"  # of the backbone: Keras' own, the path of a file, or "none"
    image_size: tuple[int, int] = (256, 128)  # height and width that the victim model takes
    victim_share: float = 0.5  # of the training identities; the others are the local set
    division: int = 0  # which random division of the identities
    identities_per_batch: int = 16  # different people in a batch
    images_per_identity: int = 4  # images of each of them
    victim_epochs: int = 60  # 0: the backbone as it comes
    steps_per_epoch: int = 200  # batches in an epoch of the victim model
    victim_rate: float = 3.5e-4  # of Adam after the warm-up, as in BoT

    # Recognizing attributes, section 4.2 (pub).
    choose_best_on: Literal["validation", "test"] = "validation"  # the best epoch; Fig. 2.6 was made with "test"
    validation_share: float = 0.2  # of the local identities, held out to choose by; none are for "test"
    classifier_epochs: int = 100  # passes over the local set
    classifier_batch: int = 128  # feature vectors a step
    classifier_rate: float = 5e-5  # of Adam; a fifth of it in the second half

    # Reconstructing images, section 4.3 (pub).
    reconstruction_size: tuple[int, int] = (384, 128)  # height and width of reconstructed images
    generator_width: float = 1.0  # factor of all numbers of filters
    generator_momentum: float = 0.99  # of batch normalization's moving statistics; Keras' default
    spectral_normalization: bool = False  # of the discriminator's kernels, an option of the author's program
    iterations: int = 60_000  # batches, rounded up to whole passes over the local set
    equal_updates: bool = False  # adversarial: as many batches for each of the two networks, not for both together
    reconstruction_batch: int = 64  # images a step
    reconstruction_rate: float = 1e-4  # of both Adams
    adversarial_weight: float = 0.06  # of the adversarial loss, added to the feature reconstruction loss
    perceptual: str = "resnet50"  # whose second block the feature reconstruction loss compares, conv2_block3_out
    perceptual_weights: str = "imagenet"  # of that network, like weights

    # Attacking the cipher itself, which the publication leaves to the future.
    cipher_keys: int = 5  # keys that each row of the study is a mean over

    def __post_init__(self) -> None:
        super().__post_init__()
        self._validate(
            above_zero=(
                "steps_per_epoch", "victim_rate", "classifier_epochs", "classifier_batch", "classifier_rate",
                "generator_width", "iterations", "reconstruction_rate", "cipher_keys",
            ),
            zero_or_more=("users", "victim_epochs", "adversarial_weight", "division"),
            unique=("attacks",),
        )  # fmt: skip
        if (self.victim == "trained") == (self.features is not None):
            raise ValueError(
                f"victim {self.victim!r} and features {self.features} do not go together: pass --features "
                "with the file of another model's features, and none for the model that is trained here."
            )
        if min(self.image_size) < 32:
            raise ValueError(f"image_size must be at least 32 × 32 pixels, got {self.image_size}.")
        if min(self.reconstruction_size) < 32 or any(length % 32 for length in self.reconstruction_size):
            raise ValueError(
                f"reconstruction_size must be multiples of 32 pixels, which five blocks that double give, "
                f"got {self.reconstruction_size}."
            )
        if self.reconstruction_batch < 2:
            raise ValueError(f"reconstruction_batch must be two or more, got {self.reconstruction_batch}.")
        check_triplets(self.identities_per_batch, self.images_per_identity)
        for name in ("victim_share", "validation_share", "generator_momentum"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}.")


@dataclass(frozen=True)
class Trial(SeededTrial):
    """One attack model of a run."""

    attack: str
    seed: int


def trials(config: Config) -> list[Trial]:
    """All attack models of a run; a run that is stopped early has whole seeds."""
    return [Trial(attack, seed) for seed in config.seeds for attack in config.attacks]


def batches_per_step(attack: str) -> int:
    """A step of the adversarial training takes two batches: one for each network."""
    return 2 if attack == "adversarial" else 1


def epochs_of(config: Config, trial: Trial, num_images: int) -> int:
    """Passes over the local set of `num_images` images that a trial takes, as many as the iterations need.

    NOTE(paper): 60,000 iterations are 300 epochs of 200 batches in the author's program, of which adversarial training
    gives each network every second one. Here they are rounded up to whole passes. With `equal_updates` they are those
    of the generator, whatever the loss.
    """
    if trial.attack not in RECONSTRUCTIONS:
        return config.classifier_epochs
    batches = batches_per_step(trial.attack)
    steps = max(num_images // (config.reconstruction_batch * batches), 1)
    return math.ceil(config.iterations / (steps * (1 if config.equal_updates else batches)))


PAPER = Config()

# MobileNet 0.25 and images of 64×32 pixels: the same attacks at a scale that two CPU cores train in minutes.
MOBILENET = replace(
    PAPER,
    backbone="mobilenet_0.25",
    image_size=(128, 64),
    victim_epochs=40,  # passes over half of Market-1501
    steps_per_epoch=101,
    victim_rate=6e-4,
    classifier_rate=1e-3,
    reconstruction_size=(64, 32),
    generator_width=0.5,
    generator_momentum=0.9,  # after some hundred steps, statistics of momentum 0.99 are in part the initial ones
    iterations=10_000,
    equal_updates=True,
    reconstruction_rate=5e-4,
    perceptual="mobilenet_0.25",
    seeds=(0, 1, 2),
)

DEMO = replace(
    MOBILENET,
    dataset="synthetic",
    image_size=(96, 48),
    users=600,
    victim_epochs=8,
    steps_per_epoch=50,
    victim_rate=1e-3,
    iterations=320,
    equal_updates=False,
    cipher_keys=3,
    seeds=(0,),
)

PRESETS: dict[str, tuple[str, Config]] = {
    # make train-shufflebits PRESET=smoke; the numbers mean nothing. Seconds.
    "smoke": (
        "tests: a few steps on a few synthetic people",
        replace(
            DEMO,
            people=24,
            users=96,
            backbone="small_resnet",
            weights="none",
            attacks=("attributes", "adversarial"),
            image_size=(64, 32),
            identities_per_batch=4,
            victim_epochs=1,
            victim_rate=2e-3,
            steps_per_epoch=3,
            classifier_epochs=2,
            reconstruction_size=(32, 32),
            generator_width=0.125,
            iterations=4,
            reconstruction_batch=16,
            adversarial_weight=0.01,  # the maps of a random network differ less than those of a trained one
            perceptual="small_resnet",
            perceptual_weights="none",
            cipher_keys=1,
        ),
    ),
    # make train-shufflebits; synthetic people, both attacks, plain and encrypted.
    "demo": ("synthetic people, MobileNet 0.25, both attacks", DEMO),
    # PRESET=market1501_bot ARGS="--data-dir DIR --features FILE" and so on: a column of Fig. 2.7, and a bar of each
    # attribute in Fig. 2.6. The publication's victim models are FastReID's BoT, AGW and SBS, trained on MSMT17.
    **{
        f"{dataset}_{model}": (
            f"Figs. 2.6 and 2.7: {model.upper()} of FastReID, local set {dataset}; from --features",
            replace(PAPER, dataset=dataset, victim=model, features=Path("features.npz")),
        )
        for dataset in ("market1501", "duke")
        for model in ("bot", "agw", "sbs")
    },
    # PRESET=mobilenet ARGS="--data-dir DIR"; no setting of the publication.
    "mobilenet": ("Market-1501 or a part of it at a CPU's scale", MOBILENET),
}

# make reproduce-shufflebits DATA=DIR: preset -> field -> path below DIR.
DATA: dict[str, dict[str, str]] = {
    "demo": {},
    "mobilenet": {"data_dir": REID_FOLDERS["market1501"]},
    **{
        f"{dataset}_{model}": {"data_dir": REID_FOLDERS[dataset], "features": f"{model}_{dataset}.npz"}
        for dataset in ("market1501", "duke")
        for model in ("bot", "agw", "sbs")
    },
}


@dataclass(frozen=True)
class CompareArguments:
    """Puts evaluated runs side by side, in the form of the publication's figures."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()  # run folders; default: all that are evaluated
    runs_dir: Path = Path("runs")  # where to look for them
    out: Path | None = None  # folder to write into; default: comparison, next to the runs
