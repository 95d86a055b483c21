"""Running Python apart from the test's own process, and gradients on any backend."""

import ast
import contextlib
import logging
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state

from common.experiments.config import RunConfig, to_json
from common.tools.new_project import new_project
from tests.children import ROOT, Child

# Read when a framework is imported: a child that sets one of them cannot begin as a fork.
_READ_AT_IMPORT = {"KERAS_BACKEND", "XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS", "CUDA_VISIBLE_DEVICES"}


def start_python(
    *arguments: str, cwd: Path = ROOT, fresh: bool = False, **environment: str
) -> "Child | subprocess.Popen[str]":
    """Starts Python in the repository's root, or another folder.

    Args:
        arguments: -c CODE, -m MODULE or a file, and what comes behind it.
        cwd: where.
        fresh: start a new interpreter, and no fork of one that has imported the libraries.
        environment: variables of the child.
    """
    variables = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", **environment}
    if not fresh and not _READ_AT_IMPORT & environment.keys():
        return Child(arguments, cwd, variables)
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(
    *arguments: str, status: int = 0, cwd: Path = ROOT, fresh: bool = False, **environment: str
) -> tuple[str, str]:
    """Runs Python, checks its exit status and returns what it printed to stdout and stderr."""
    process = start_python(*arguments, cwd=cwd, fresh=fresh, **environment)
    out, err = process.communicate(timeout=600)
    assert process.returncode == status, f"exit status {process.returncode}, expected {status}\n{out}\n{err}"
    return out, err


def assert_figures(run: Path, *names: str) -> None:
    """The named figures of a run are whole PNG files of a size that can be read."""
    for name in names:
        image = cv2.imread(str(run / f"figures/{name}.png"))
        assert image is not None and image.shape[0] > 300, name


def table_cells(table: str, row: int) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in table.splitlines()[2 + row].split("|")[1:-1]]


def empty_pages(folder: Path, *marks: str) -> Path:
    """Writes a project's README and RESULTS with nothing but marks, and returns the path of the latter."""
    (folder / "README.md").write_text("<!-- glance:begin -->\n<!-- glance:end -->\n")
    parts = [f"<!-- {mark}:begin -->\n<!-- {mark}:end -->\n" for mark in ("results", *marks)]
    (folder / "RESULTS.md").write_text("".join(parts))
    return folder / "RESULTS.md"


def truncate(paths: Iterable[str | Path]) -> None:
    """Cuts files off after 300 bytes, as a download that broke off."""
    for path in paths:
        with open(path, "r+b") as file:
            file.truncate(300)


def copied_project(project: str, name: str, folder: Path) -> Path:
    """Makes a copy of a project in `folder`, with `common` beside it and without its original."""
    for part in ("common", project):
        if not (folder / part).exists():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    copy = new_project(project, name, root=folder)
    shutil.rmtree(folder / project)
    return copy


def words_of(output: Any) -> np.ndarray:
    """The output of a cipher as an array: Keras on PyTorch has no uint32, so words are int64 there."""
    words = keras.ops.convert_to_numpy(output)
    return words.astype(np.uint32) if keras.backend.backend() == "torch" and words.dtype == np.int64 else words


def value_and_gradients(
    function: Callable[[], Any], variables: Sequence[keras.Variable]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The scalar that a function returns, and its gradients by Keras variables."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = function()
        gradients = tape.gradient(value, [variable.value for variable in variables])
    elif keras.backend.backend() == "jax":
        import jax

        def pure(values):
            with keras.StatelessScope(zip(variables, values), collect_losses=True):
                return function()

        value, gradients = jax.value_and_grad(pure)([variable.value for variable in variables])
    else:
        import torch

        value = function()
        gradients = torch.autograd.grad(value, [variable.value for variable in variables])
    return keras.ops.convert_to_numpy(value), [keras.ops.convert_to_numpy(gradient) for gradient in gradients]


def float64_allowed() -> contextlib.AbstractContextManager:
    """Inside, numbers may be float64 on JAX too, which has it only where it is asked for."""
    if keras.backend.backend() != "jax":
        return contextlib.nullcontext()
    import jax

    return jax.enable_x64(True)


def process_state() -> dict[str, Any]:
    """What a process has one of, as values that can be compared: library code leaves it as it was."""
    generator = global_state.get_global_attribute("global_seed_generator")
    state = {
        "python": random.getstate(),
        "numpy": repr(np.random.get_state(legacy=False)["state"]["key"].tobytes()),
        "numpy position": np.random.get_state(legacy=False)["state"]["pos"],
        "keras": global_state.get_global_attribute("global_random_seed"),
        "keras generator": generator and keras.ops.convert_to_numpy(generator.state).tolist(),
        "precision": keras.config.dtype_policy().name,
        "settings": (keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "errors": np.geterr(),
        "threads": cv2.getNumThreads(),
    }
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.eager.context import context
        from tensorflow.python.framework.config import is_op_determinism_enabled

        generator = getattr(context(), "_rng", None)  # of whom a seed was set
        state["tensorflow"] = context()._seed, generator and generator.getstate(), is_op_determinism_enabled()
        state["logger"] = list(logging.getLogger("tensorflow").filters)
    elif keras.backend.backend() == "torch":
        import torch

        state["torch"] = torch.get_rng_state().tolist(), torch.get_num_threads()
    return state


def onnx_outputs(path: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What onnxruntime computes with an ONNX file; skips the test where there is none."""
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    assert {value.name for value in session.get_inputs()} == inputs.keys()
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, inputs)))


def differences(config: RunConfig, other: RunConfig) -> dict[str, Any]:
    """Field -> value as JSON, where a config has another one."""
    values, others = to_json(config), to_json(other)
    return {name: value for name, value in values.items() if value != others[name]}


def run_snippet(page: str, number: int | None, replaced: dict[str, str] | None = None, **names: Any) -> dict[str, Any]:
    """Runs a Python block of a page.

    Args:
        page: a project, for its README, or the page's file.
        number: of the block, from 0 on; None: all, one after the other.
        replaced: texts of the block that stand for what only the reader has -> what the test has.
        names: that the block does not define.

    Returns:
        All names after the run; `shown` has the values of the lines that are expressions.
    """
    path = ROOT / page if page.endswith(".md") else ROOT / page / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    block = "".join(blocks) if number is None else blocks[number]
    for before, after in (replaced or {}).items():
        assert before in block
        block = block.replace(before, after)
    tree, shown = ast.parse(block), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            node.value = ast.Call(ast.Name("show", ast.Load()), [node.value], [])
    names |= {"show": shown.append, "shown": shown}
    exec(compile(ast.fix_missing_locations(tree), str(path), "exec"), names)
    return names
