"""Trained networks as files that run without this repository: `python -m PROJECT.export [RUN] [--format onnx]`.

What goes in are images (B, H, W, C) uint8 as they are decoded, of the size that was trained with; all else is inside.
"""

import contextlib
import functools
import importlib.util
import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import keras

from common.distribution import need_tensorflow
from common.experiments.config import ExportArguments, ExportFormat, RunConfig
from common.experiments.run_folder import chosen_trial, load_config, newest_run

OPSET = 17  # of ONNX, which runtimes of 2022 and later read


def write(graphs: Mapping[str, keras.Model], folder: Path, kind: ExportFormat = "savedmodel") -> None:
    """Writes Keras models of one input each, in one rename.

    Args:
        graphs: name -> model; its names become the signatures of one SavedModel, or `NAME.onnx` each.
        folder: to write; its parent is there.
        kind: "savedmodel" or "onnx". An ONNX graph has the names of the model's input and outputs.

    Raises:
        ValueError: the folder exists, the backend is not TensorFlow, packages are missing, or ONNX has no such numbers:
            the model computes in half precision, or moves bits.
    """
    need_tensorflow("A SavedModel" if kind == "savedmodel" else "An ONNX file")
    if folder.exists():
        raise ValueError(f"{folder} exists; choose another --out, or remove it.")
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        if kind == "savedmodel":
            _write_saved_model(graphs, temporary)
        else:
            temporary.mkdir()
            for name, graph in graphs.items():
                _write_onnx(graph, temporary / f"{name}.onnx")
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_saved_model(graphs: Mapping[str, keras.Model], folder: Path) -> None:
    archive = keras.export.ExportArchive()
    for name, graph in graphs.items():
        archive.track(graph)
        archive.add_endpoint(name, functools.partial(graph.call, training=False), [_specs(graph)])
    archive.write_out(folder, verbose=False)


def _write_onnx(graph: keras.Model, path: Path) -> None:
    missing = [name for name in ("onnx", "tf2onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"ONNX needs the packages {', '.join(missing)}: make install EXTRAS=onnx, or pip install '.[onnx]'."
        )
    half = {layer.name for layer in graph._flatten_layers() if layer.compute_dtype in ("float16", "bfloat16")}
    if half:
        raise ValueError(f"ONNX takes networks that compute in float32, but {min(half)} and others do not; train so.")
    import onnx

    with _quiet():
        graph.export(path, format="onnx", verbose=False, input_signature=[_specs(graph)], opset_version=OPSET)
    model = onnx.load(path)
    _name(model, _functional(graph).output)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:  # operators that there are none of are left as they were
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path.stem} cannot be written as ONNX ({reason}); write a SavedModel.") from error
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Inside, NumPy does not complain about tf2onnx, nor that about operators, which the checker does."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _specs(graph: keras.Model) -> Any:
    def spec(tensor: keras.KerasTensor) -> keras.InputSpec:
        return keras.InputSpec(shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)

    return keras.tree.map_structure(spec, _functional(graph).input)


def _functional(graph: keras.Model) -> keras.Model:
    """The model of functions that a Sequential one has inside."""
    return getattr(graph, "_functional", graph)


def _name(model: Any, outputs: Any) -> None:
    """Names the outputs of an ONNX graph, which tf2onnx calls Identity unless they are a dictionary, and the batch."""
    import onnx

    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim[:1]:
            if not size.HasField("dim_value"):
                size.dim_param = "batch"
    if isinstance(outputs, dict):
        return
    several = len(model.graph.output) > 1
    for number, value in enumerate(model.graph.output):
        name = f"output_{number}" if several else "output"
        model.graph.node.append(onnx.helper.make_node("Identity", [value.name], [name]))
        value.name = name


C = TypeVar("C", bound=RunConfig)


@dataclass(frozen=True)
class Export(Generic[C]):
    """How a project exports: call it with a run folder.

    Attributes:
        project: name of the package, `__package__`.
        config_class: of the run.
        trials: config -> its trainings.
        is_finished: config, trial, None, folder -> whether the folder has a finished training.
        graphs: config, trial, folder -> name -> model.
        files: of the training's folder that the outputs cannot be read without.
    """

    project: str
    config_class: type[C]
    trials: Callable[[C], Iterable[Any]]
    is_finished: Callable[[C, Any, Any, Path], bool]
    graphs: Callable[[C, Any, Path], Mapping[str, keras.Model]]
    files: tuple[str, ...] = ()

    def __call__(self, run: Path | None = None, **options: Any) -> Path:
        """Writes the network of a training, and returns the folder.

        Args:
            run: run folder; None: the one trained last.
            options: fields of `ExportArguments`.

        Raises:
            ValueError: not a run folder, no such training is finished in it, or as of `write`.
        """
        arguments = ExportArguments(run=run, **options)
        run = arguments.run or newest_run(arguments.runs_dir, self.project)
        # SavedModel keeps the precision of the training; ONNX has float32 alone, which the weights are.
        config = load_config(run, self.config_class)
        if arguments.format == "onnx":
            config = replace(config, precision="float32")
        planned = list(self.trials(config))
        trial = chosen_trial(run, planned, lambda t: self.is_finished(config, t, None, run / t.name), arguments.trial)
        folder = arguments.out or run / trial.name / arguments.format
        graphs = self.graphs(config, trial, run / trial.name)
        write(graphs, folder, arguments.format)
        for name in self.files:
            shutil.copy(run / trial.name / name, folder)
        print(f"{trial.name}, {', '.join(graphs)}: {folder}")
        return folder

    def main(self, arguments: ExportArguments) -> None:
        """Command line."""
        self(**vars(arguments))
