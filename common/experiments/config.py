"""From presets to a typed command line, and from a config to JSON and back.

A project's `config.py` holds one frozen dataclass derived from `RunConfig` and a table
`PRESETS: dict[name, (description, config)]`; everything else is here. Nothing here imports a framework.
"""

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import cattrs
import tyro

from common.files import about_disk

Config = TypeVar("Config", bound="RunConfig")

_SEEDS = 2**31  # below it, all generators take a seed


@dataclass(frozen=True)
class RunConfig:
    """Fields of every run of every project."""

    PLACES: ClassVar[tuple[str, ...]] = ("runs_dir", "data_dir")  # fields that say where files lie, and nothing else
    FILES: ClassVar[tuple[str, ...]] = ()  # fields that name a file, of which the content counts
    EXTENDABLE: ClassVar[tuple[str, ...]] = ()  # numbers of epochs that may be raised later: no schedule ends with them

    name: str = ""  # run folder below runs-dir/<project>; empty: the preset's name
    runs_dir: Path = Path("runs")  # where run folders go
    data_dir: Path | None = None  # folder of the data set; not needed for embedded data
    seeds: tuple[int, ...] = (0,)  # one training each
    strategy: Literal["auto", "one", "mirrored", "multi_worker"] = "auto"  # devices to train on
    worker_wait: int = 60  # seconds to wait for the other processes of multi_worker
    precision: Literal["float32", "mixed_bfloat16"] = "float32"  # of inner layers; weights, heads, losses: float32

    def __post_init__(self) -> None:
        if (
            not self.seeds
            or len(set(self.seeds)) != len(self.seeds)
            or not 0 <= min(self.seeds) <= max(self.seeds) < _SEEDS
        ):
            raise ValueError(f"seeds must be one or more different integers from 0 to 2^31 - 1, got {self.seeds}.")

    def _validate(
        self, *, above_zero: Sequence[str] = (), zero_or_more: Sequence[str] = (), unique: Sequence[str] = ()
    ) -> None:
        """Raises ValueError for the first field that does not hold to the rule it is listed under."""
        for name in above_zero:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above zero, got {getattr(self, name)}.")
        for name in zero_or_more:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be zero or more, got {getattr(self, name)}.")
        for name in unique:
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name} must be one or more different ones, got {values}.")


class SeededTrial:
    """One training of a run: derive a frozen dataclass whose fields, `seed` among them, tell it from the others."""

    seed: int

    @property
    def name(self) -> str:
        """Name of its folder in the run folder: the other fields, then the seed."""
        values = [getattr(self, field.name) for field in fields(self) if field.name != "seed"]  # type: ignore[arg-type]
        parts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
        return "-".join([*parts, f"seed{self.seed}"])


@dataclass(frozen=True)
class EvaluationArguments:
    """Evaluates a run and prints the table «paper | this run»."""

    run: tyro.conf.Positional[Path | None] = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    data_dir: Path | None = None  # where its data set lies on this machine; default: where it was trained
    publish: bool = False  # write the numbers to results.json and renew the project's pages


ExportFormat = Literal["savedmodel", "onnx"]


@dataclass(frozen=True)
class ExportArguments:
    """Exports a trained network as a SavedModel or as ONNX files."""

    run: tyro.conf.Positional[Path | None] = None  # run folder; default: the one trained last
    runs_dir: Path = Path("runs")  # where to look for it
    trial: str | None = None  # the training, by the name of its folder in the run; default: the last finished one
    format: ExportFormat = "savedmodel"  # or onnx
    out: Path | None = None  # folder to write; default: savedmodel or onnx in the training's folder


@dataclass(frozen=True)
class EmbeddingArguments:
    """Embeds pictures into a folder of Parquet files, which `python -m common.retrieval` reads.

    The same command goes on where it was stopped. The jobs of an array of SLURM share the work without an option.
    """

    out: Path = Path("embeddings")  # folder to write
    shard: str = "auto"  # I/N: this job's of N shards, from 1 on; auto: by SLURM's array, else all
    skip_damaged: bool = False  # leave out images that cannot be read, and list them


@dataclass(frozen=True)
class ImageTrainingConfig(RunConfig):
    """Fields of trainings on image files: a pretrained backbone, and a schedule in epochs and steps."""

    PLACES: ClassVar[tuple[str, ...]] = (*RunConfig.PLACES, "weights")
    FILES: ClassVar[tuple[str, ...]] = ("weights",)
    EXTENDABLE: ClassVar[tuple[str, ...]] = ("epochs",)

    backbone: str = "resnet50"  # see common/backbones
    weights: str = "imagenet"  # of the backbone: ImageNet's, the path of a file, or "none"
    image_size: tuple[int, int] = (384, 128)  # height and width that images are resized to
    skip_damaged: bool = False  # leave out pictures of your own that cannot be read, with a warning that names them
    epochs: int = 200  # epochs in which all layers are trained
    steps_per_epoch: int = 200  # batches in an epoch
    learning_rate: float = 2e-4  # of Adam after the warm-up; begins and ends at a hundredth of it
    warmup_epochs: int = 10  # epochs of the linear warm-up
    drop_epochs: tuple[int, ...] = (40, 70)  # epochs from which the rate is divided by ten

    def __post_init__(self) -> None:
        super().__post_init__()
        self._validate(above_zero=("epochs", "learning_rate"), zero_or_more=("steps_per_epoch", "warmup_epochs"))
        if min(self.image_size) < 32:
            raise ValueError(f"image_size must be at least 32 × 32 pixels, got {self.image_size}.")


def parse(presets: Mapping[str, tuple[str, Config]], arguments: Sequence[str] | None = None) -> Config:
    """Parses `PRESET [--field value ...]`; exits with status 2 and a message on bad input, near names of a typo in it.

    Args:
        presets: name -> (description, config).
        arguments: command line without the program's name; default `sys.argv[1:]`.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and not arguments[0].startswith("-"):
        preset = arguments[0]
        if preset not in presets:
            near = difflib.get_close_matches(preset, presets, 3, 0.5)
            others = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(presets)}."
            print(f"There is no preset {preset!r}; {others}", file=sys.stderr)
            sys.exit(2)
        presets = {preset: presets[preset]}  # whose fields alone an error or a help is about
    named = {
        name: (description, replace(config, name=config.name or name))
        for name, (description, config) in presets.items()
    }
    return tyro.extras.overridable_config_cli(named, args=arguments)


def run_command(command: Callable[[], object]) -> None:
    """Runs a program's `main`; for errors that this repository raises, it prints the sentence alone.

    The same holds for a disk that is full or that may not be written to. Errors of libraries keep their traceback:
    they are not of the user's making.
    """
    try:
        command()
    except BrokenPipeError:  # who reads the output has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if (sentence := about_disk(error)) is None:
            raise
        sys.exit(sentence)
    except (ValueError, ArithmeticError, MemoryError) as error:
        raised_in = _package_folder(Path(traceback.extract_tb(error.__traceback__)[-1].filename))
        if raised_in != _package_folder(Path(__file__)) and not (raised_in / "train.py").is_file():
            raise
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        print("\nStopped. What was finished is saved; the same command goes on from there.", file=sys.stderr)
        sys.exit(130)


def _package_folder(file: Path) -> Path:
    """Folder of the top-level package that a file belongs to: `common`, a project, or a library."""
    folder = file.resolve().parent
    while (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _exactly(value: Any, kind: type) -> Any:
    """`value` if it is of that very type: cattrs alone would turn 1.5 into 1, and 1 into "1"."""
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise TypeError(f"must be {kind.__name__}, got {value!r}")


_converter = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
for _kind in (bool, int, float, str):
    _converter.register_structure_hook(_kind, _exactly)
_converter.register_structure_hook(Path, lambda value, _: Path(_exactly(value, str)))
_converter.register_unstructure_hook(Path, str)


def to_json(config: RunConfig) -> dict[str, Any]:
    """A config as JSON values: paths as strings, tuples as lists."""
    return _converter.unstructure(config, type(config))


def from_json(values: Mapping[str, Any], config_class: type[Config]) -> Config:
    """The inverse of `to_json`; a field that is missing has its default.

    Raises:
        ValueError: a field is unknown, or has another type or value than its hint allows.
    """
    unknown = sorted(set(values) - {field.name for field in fields(config_class)})
    if unknown:
        raise ValueError(
            f"{config_class.__name__} has no fields {unknown}. Was the file written by another project or version?"
        )
    try:
        return _converter.structure(values, config_class)
    except cattrs.BaseValidationError as error:
        details = cattrs.transform_error(error, format_exception=lambda cause, _: str(cause))
        raise ValueError(f"Fields of another type or value: {'; '.join(details)}.") from error
