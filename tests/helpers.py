"""Running Python apart from the test's own process, and gradients on any backend."""

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np

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


def differences(config: RunConfig, other: RunConfig) -> dict[str, Any]:
    """Field -> value as JSON, where a config has another one."""
    values, others = to_json(config), to_json(other)
    return {name: value for name, value in values.items() if value != others[name]}


def run_snippet(project: str, number: int, replaced: dict[str, str] | None = None, **names: Any) -> dict[str, Any]:
    """Runs a Python block of a project's README.

    Args:
        project: whose README, or the path of another page.
        number: of the block, from 0 on.
        replaced: texts of the block that stand for what only the reader has -> what the test has.
        names: that the block does not define.

    Returns:
        All names after the run; `shown` has the values of the lines that are expressions.
    """
    page = ROOT / project if project.endswith(".md") else ROOT / project / "README.md"
    text = page.read_text(encoding="utf-8")
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[number]
    for before, after in (replaced or {}).items():
        assert before in block
        block = block.replace(before, after)
    tree, shown = ast.parse(block), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            node.value = ast.Call(ast.Name("show", ast.Load()), [node.value], [])
    names |= {"show": shown.append, "shown": shown}
    exec(compile(ast.fix_missing_locations(tree), str(page), "exec"), names)
    return names
