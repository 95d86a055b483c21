"""Settings of Publication VI, chapter 5 of the dissertation; one preset per cell of its tables."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from common.experiments.config import RunConfig

Normalization = Literal["none", "batch", "layer", "l2"]


@dataclass(frozen=True)
class Config(RunConfig):
    """One run: a data set, an architecture, and a training per (normalization, abnormal digit, seed)."""

    EXTENDABLE: ClassVar[tuple[str, ...]] = ("epochs",)

    dataset: Literal["digits", "mnist5000", "mnist", "usps"] = "mnist"  # images to read, section 5.1.1
    split: Literal["all", "train"] = "all"  # images to cluster and train on; anomaly detection trains on "train" always
    architecture: Literal["convolutional", "dense"] = "convolutional"  # layers of DCEC or of DEC
    normalizations: tuple[Normalization, ...] = ("l2",)  # one training each; "l2" is Eq. 5.5
    placement: Literal["embedding", "hidden"] = "embedding"  # where they stand; "hidden": before hidden activations
    abnormal_digits: tuple[int, ...] = ()  # empty: clustering; else anomaly detection, one digit each
    embedding_size: int = 10  # dimensions of E(I)
    activation: Literal["relu", "leaky_relu", "elu"] = "relu"  # of the hidden layers
    # NOTE(paper): the slope is not given. 0.2 is that of TensorFlow's function, 0.3 that of Keras' layer of 2018.
    leaky_relu_slope: float = 0.2  # of leaky_relu below zero
    initializer: Literal["glorot_uniform", "he_normal"] = "glorot_uniform"  # of all kernels
    pixel_range: Literal["0..1", "-1..1"] = "0..1"  # what black and white become
    epochs: int = 200  # passes over the images, section IV-A (pub)
    batch_size: int = 256  # images a step, section IV-A (pub)
    learning_rate: float = 1e-3  # of Adam
    kmeans_restarts: int = 50  # k-means starts; the one of lowest inertia counts

    def __post_init__(self) -> None:
        super().__post_init__()
        self._validate(
            above_zero=("embedding_size", "epochs", "batch_size", "learning_rate", "kmeans_restarts"),
            zero_or_more=("leaky_relu_slope",),
            unique=("normalizations",),
        )
        if (max(self.seeds) + 1) * self.kmeans_restarts > 2**32:
            raise ValueError(
                "Start i of k-means has the seed seed · kmeans_restarts + i, which must be below 2^32, "
                f"got seeds {self.seeds} and {self.kmeans_restarts} restarts; choose smaller ones."
            )
        if len(set(self.abnormal_digits) & set(range(10))) < len(self.abnormal_digits):
            raise ValueError(f"abnormal_digits must be different digits from 0 to 9, got {self.abnormal_digits}.")
        if self.placement == "hidden" and not set(self.normalizations) <= {"batch", "layer"}:
            raise ValueError(f"placement hidden takes normalizations batch and layer, got {self.normalizations}.")


@dataclass(frozen=True)
class Trial:
    """One training of a run. In anomaly detection the seed also chooses the partition."""

    normalization: str
    seed: int
    abnormal_digit: int | None

    @property
    def name(self) -> str:
        """Name of its folder in the run folder."""
        digit = "" if self.abnormal_digit is None else f"-digit{self.abnormal_digit}"
        return f"{self.normalization}{digit}-seed{self.seed}"


def trials(config: Config) -> Iterator[Trial]:
    """All trainings of a run; a run that is stopped early has whole seeds."""
    for seed in config.seeds:
        for digit in config.abnormal_digits or (None,):
            for normalization in config.normalizations:
                yield Trial(normalization, seed, digit)


# DCEC's convolutional autoencoder: Tables 5.2, 5.3 and 5.4. 200 epochs (section IV-A (pub)).
CONVOLUTIONAL = Config()
# DEC's dense autoencoder: Table 5.1. 100 epochs, LeakyReLU (section IV-A (pub)).
DENSE = replace(CONVOLUTIONAL, architecture="dense", activation="leaky_relu", epochs=100)

SEEDS = (0, 1, 2)

# Row of Tables 5.1 to 5.3 -> the publication's accuracy in %, and the settings: all images, trained on and clustered.
# NOTE(paper): batch and layer normalization stand "instead of" the L2 normalization, so in its place; placement
# "hidden" is a study of where both are commonly put (FIDELITY).
ROWS: dict[str, tuple[str, Config]] = {
    "mnist_conv_none": ("Tables 5.2, 5.3: 84.83", replace(CONVOLUTIONAL, normalizations=("none",))),
    "mnist_conv_batch": ("Table 5.3: 70.67", replace(CONVOLUTIONAL, normalizations=("batch",))),
    "mnist_conv_layer": ("Table 5.3: 70.83", replace(CONVOLUTIONAL, normalizations=("layer",))),
    "mnist_conv_l2": ("Tables 5.2, 5.3: 95.11", CONVOLUTIONAL),
    "usps_conv_none": ("Tables 5.2, 5.3: 73.52", replace(CONVOLUTIONAL, dataset="usps", normalizations=("none",))),
    "usps_conv_batch": ("Table 5.3: 74.95", replace(CONVOLUTIONAL, dataset="usps", normalizations=("batch",))),
    "usps_conv_layer": ("Table 5.3: 75.26", replace(CONVOLUTIONAL, dataset="usps", normalizations=("layer",))),
    "usps_conv_l2": ("Tables 5.2, 5.3: 91.35", replace(CONVOLUTIONAL, dataset="usps")),
    "mnist_dense_none": ("Table 5.1: 81.43", replace(DENSE, normalizations=("none",))),
    "mnist_dense_l2": ("Table 5.1: 90.20", DENSE),
}

PRESETS: dict[str, tuple[str, Config]] = {
    # make train-l2_autoencoder PRESET=smoke; the accuracy means nothing. Seconds.
    "smoke": (
        "tests: two epochs on the embedded digits",
        replace(CONVOLUTIONAL, dataset="digits", epochs=2, kmeans_restarts=3),
    ),
    # make train-l2_autoencoder; 5,000 embedded images of MNIST, with and without L2; six minutes.
    "demo": (
        "5,000 embedded images of MNIST, with and without L2",
        replace(
            CONVOLUTIONAL,
            dataset="mnist5000",
            normalizations=("none", "l2"),
            epochs=30,
            batch_size=64,  # 79 steps an epoch
            seeds=(0, 1),
        ),
    ),
    # make train-l2_autoencoder PRESET=demo_anomaly; one abnormal digit at a time.
    "demo_anomaly": (
        "anomaly detection on the embedded 8×8 digits",
        replace(
            CONVOLUTIONAL, dataset="digits", normalizations=("none", "l2"), abnormal_digits=(0, 1, 4, 9), epochs=100
        ),
    ),
    # PRESET=mnist_conv_l2 ARGS="--data-dir DIR". An epoch of MNIST is 14 s on two cores.
    **{row: (text, replace(config, seeds=SEEDS)) for row, (text, config) in ROWS.items()},
    # NOTE(paper): which images are trained on is only said of Fig. 1: MNIST's training split. The presets above follow
    # DEC, IDEC and DCEC, whose numbers stand in the same tables. PRESET=mnist_conv_l2_train is the training split.
    **{
        f"{row}_train": (f"{text}, training split", replace(config, split="train", seeds=SEEDS))
        for row, (text, config) in ROWS.items()
    },
    # Fig. 1 (pub): t-SNE without the constraint, with it after training, and with it in training.
    # NOTE(paper): which architecture is not said; the convolutional one has the chapter's best result.
    "mnist_figure1": (
        "Fig. 1 (pub): t-SNE of MNIST's embeddings",
        replace(CONVOLUTIONAL, split="train", normalizations=("none", "l2")),
    ),
    # Table 5.4: ten digits × three scores, the mean over ten partitions (one per seed).
    "anomaly_mnist": (
        "Table 5.4: ROC AUC of each digit",
        replace(
            CONVOLUTIONAL,
            normalizations=("none", "l2"),
            abnormal_digits=tuple(range(10)),
            seeds=tuple(range(10)),
        ),
    ),
}

# make reproduce-l2_autoencoder DATA=DIR: preset -> field -> path below DIR.
DATA: dict[str, dict[str, str]] = {
    "demo": {},
    **{preset: {"data_dir": preset.split("_")[0]} for preset in PRESETS if preset.startswith(("mnist", "usps"))},
    "anomaly_mnist": {"data_dir": "mnist"},
}
