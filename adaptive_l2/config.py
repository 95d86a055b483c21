"""Settings of Publication I, section 2.2 of the dissertation; one preset per row of its tables."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from common.experiments.config import RunConfig, SeededTrial
from common.experiments.reid.config import REID_DEMO, REID_FOLDERS, REID_ON_CPU, REID_SMOKE, ReIDArguments, ReIDConfig

Regularization = Literal["none", "constant", "shared", "adaptive"]


@dataclass(frozen=True)
class Config(ReIDConfig):
    """One run: a data set, a model, and a training per (regularization, seed)."""

    triplet: bool = True  # batch-hard triplet loss on the embeddings, section III-B (pub)
    random_erasing: bool = True  # in the augmentation, section III-B (pub)
    clipping: bool = True  # of pooled embeddings to [0, 1], section III-B (pub)
    regularizations: tuple[Regularization, ...] = ("adaptive",)  # L2 on all weights, Eqs. 2.2, 2.7; shared: a control
    amplitude: float = 0.005  # A of Eq. 2.6, the largest adaptive factor
    sigmoid_bound: float = 2.5  # c of Eq. 2.4: factors fall from A/2 to 0 while the learning rates add up to it
    constant_factor: float = 0.0005  # λ of Eq. 2.2, the constant factor
    label_smoothing: float = 0.1  # ε of Eq. 1 (pub)
    padding: int = 20  # pixels that height and width grow by before the random crop, half on each side

    def __post_init__(self) -> None:
        super().__post_init__()
        self._validate(
            above_zero=("amplitude", "constant_factor", "sigmoid_bound"),
            zero_or_more=("padding",),
            unique=("regularizations",),
        )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be from 0 to below 1, got {self.label_smoothing}.")
        if self.padding % 2:
            raise ValueError(f"padding must be even, as each side gets a half of it, got {self.padding}.")


@dataclass(frozen=True)
class Trial(SeededTrial):
    """One training of a run."""

    regularization: str
    seed: int


def trials(config: Config) -> list[Trial]:
    """All trainings of a run; a run that is stopped early has whole seeds."""
    return [Trial(regularization, seed) for seed in config.seeds for regularization in config.regularizations]


ADAPTIVE = Config()  # Table 2.2, «Adaptive L2 Regularization», ResNet50
BASELINE = replace(ADAPTIVE, regularizations=("constant",))  # Table 2.2, «Baseline»; last row of Table III (pub)
# Table III (pub) from its end to its beginning: each row lacks one part more.
CLIPPING = replace(BASELINE, regularizations=("none",))
ERASING = replace(CLIPPING, clipping=False)
REGIONAL = replace(ERASING, random_erasing=False)
TRIPLET = replace(REGIONAL, regional_branches=False)
MINIMAL = replace(TRIPLET, triplet=False)

ROWS: dict[str, tuple[str, Config]] = {
    "adaptive": ("Table 2.2: adaptive L2, ResNet50", ADAPTIVE),
    "adaptive_resnet101": ("Table 2.2: adaptive L2, ResNet101", replace(ADAPTIVE, backbone="resnet101")),
    # The last row of the table is this one evaluated with --rerank (EVALUATION_ARGUMENTS).
    "adaptive_resnet152": ("Table 2.2: adaptive L2, ResNet152", replace(ADAPTIVE, backbone="resnet152")),
    "baseline": ("Table 2.2: baseline; Table III: + L2 regularization", BASELINE),
    "clipping": ("Table III: + clipping", CLIPPING),
    "erasing": ("Table III: + random erasing", ERASING),
    "regional": ("Table III: + regional branches", REGIONAL),
    "triplet": ("Table III: + triplet loss", TRIPLET),
    "minimal": ("Table III: minimal setup", MINIMAL),
}
# Not the publication's: the regularizer without what makes it adaptive.
CONTROLS: dict[str, tuple[str, Config]] = {
    "shared": ("control: one learned factor for all weights", replace(ADAPTIVE, regularizations=("shared",))),
}


def on_cpu(config: Config) -> Config:
    """The same method at a CPU's scale; for `--data-dir` with Market-1501."""
    return replace(
        config,
        **REID_ON_CPU,
        padding=6,  # 20 pixels of 384
        # Both by grids on 40 held-out people: FIDELITY.md. The network's ‖w‖² is 117,800: the publication's factors
        # would be penalties of 59 and 294 beside a task loss of 20.
        constant_factor=1e-7,
        amplitude=1e-6,
        # NOTE(paper): the learning rates add up to 4.4 here and to 1.57 in its schedule. With this bound the factors
        # end at the same share of their start as there, about a third.
        sigmoid_bound=7.0,
    )


DEMO = replace(
    on_cpu(ADAPTIVE),
    **REID_DEMO,
    regularizations=("constant", "adaptive"),
    padding=4,
    epochs=10,
    steps_per_epoch=50,
    drop_epochs=(7, 9),
    sigmoid_bound=0.5,  # the rates add up to 0.31
)

PRESETS: dict[str, tuple[str, Config]] = {
    # make train-adaptive_l2 PRESET=smoke; the scores mean nothing. Seconds.
    "smoke": (
        "tests: two epochs of four steps on a few synthetic people",
        replace(
            DEMO,
            **REID_SMOKE,
            frozen_epochs=1,
            steps_per_epoch=4,
            amplitude=0.005,
            constant_factor=0.0005,
            sigmoid_bound=2.5,
        ),
    ),
    # make train-adaptive_l2; synthetic people, constant and adaptive factors.
    "demo": ("synthetic people, MobileNet 0.25, constant and adaptive factors side by side", DEMO),
    # PRESET=market1501_adaptive ARGS="--data-dir DIR" and so on; paper_results.py has the publication's mAP and rank-1.
    **{
        f"{dataset}_{row}": (f"{dataset}, {description}", replace(config, dataset=dataset))
        for dataset in REID_FOLDERS
        for row, (description, config) in ROWS.items()
    },
    # PRESET=mobilenet_adaptive ARGS="--data-dir DIR", or lite0_adaptive; no rows of the publication.
    **{
        f"{name}_{row}": (f"{description}, {backbone} at a CPU's scale", replace(on_cpu(config), backbone=backbone))
        for name, backbone in (("mobilenet", "mobilenet_0.25"), ("lite0", "efficientnet_lite0"))
        for row, (description, config) in (ROWS | CONTROLS).items()
        if config.backbone == "resnet50"
    },
}

# make reproduce-adaptive_l2 DATA=DIR: preset -> field -> path below DIR.
_PART = {"data_dir": REID_FOLDERS["market1501"]}
DATA: dict[str, dict[str, str]] = {
    "demo": {},
    **{preset: _PART for preset in PRESETS if preset.startswith("mobilenet")},
    **{
        preset: {"data_dir": REID_FOLDERS[c.dataset]}
        for preset, (_, c) in PRESETS.items()
        if c.dataset in REID_FOLDERS and not preset.startswith(("mobilenet", "lite0"))
    },
}
# Preset -> arguments of its evaluation: the last row of Table 2.2 is ResNet152, re-ranked.
EVALUATION_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "demo": ("--rerank",),
    **{f"{dataset}_adaptive_resnet152": ("--rerank",) for dataset in REID_FOLDERS},
}


@dataclass(frozen=True)
class Arguments(ReIDArguments):
    """Evaluates a run and prints the table «paper | this run»."""

    rerank: bool = False  # also score the k-reciprocal re-ranking (k1 20, k2 6, λ 0.3)


@dataclass(frozen=True)
class DigitsConfig(RunConfig):
    """One comparison: no L2, and three kinds of factors, each at its best of one grid."""

    EXTENDABLE: ClassVar[tuple[str, ...]] = ("epochs",)

    name: str = "comparison"  # run folder below runs-dir/<project>/digit_classifier
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)  # each chooses its images and initial weights
    dataset: Literal["digits", "mnist5000", "mnist", "usps"] = "digits"  # images to read
    train_images: int = 500  # few, so that regularization matters
    validation_images: int = 500  # choose the factors; from the training split too
    grid: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)  # λ, or A/2, with which learned factors begin
    sigmoid_bound: float = 0.95  # c of Eq. 2.4: the rates add up to 0.6, so factors fade to the published third
    epochs: int = 60  # passes over the training images
    batch_size: int = 50  # images a step
    learning_rate: float = 1e-3  # of Adam
    publish: bool = False  # write the numbers to results.json and the table into the project's RESULTS

    def __post_init__(self) -> None:
        super().__post_init__()
        self._validate(
            above_zero=(
                "train_images", "validation_images", "epochs", "batch_size", "learning_rate", "sigmoid_bound"
            ),
            unique=("grid",),
        )  # fmt: skip
        if min(self.grid) <= 0:
            raise ValueError(f"grid must be factors above zero, got {self.grid}.")
