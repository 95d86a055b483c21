"""Running Python apart from the test's own process, and gradients on any backend."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.new_project import new_project

ROOT = Path(__file__).resolve().parents[1]


def start_python(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.Popen:
    """Starts Python in the repository's root, or another folder."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(*arguments: str, status: int = 0, cwd: Path = ROOT, **environment: str) -> tuple[str, str]:
    """Runs Python, checks its exit status and returns what it printed to stdout and stderr."""
    process = start_python(*arguments, cwd=cwd, **environment)
    out, err = process.communicate(timeout=600)
    assert process.returncode == status, f"exit status {process.returncode}, expected {status}\n{out}\n{err}"
    return out, err


def copied_project(project: str, name: str, folder: Path) -> Path:
    """Makes a copy of a project in `folder`, with `common` beside it and without its original."""
    for part in ("common", project):
        if not (folder / part).exists():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    copy = new_project(project, name, root=folder)
    shutil.rmtree(folder / project)
    return copy


def words_of(found: Any) -> np.ndarray:
    """What a cipher puts out, as an array: Keras on PyTorch has no uint32, so words are int64 there."""
    found = keras.ops.convert_to_numpy(found)
    return found.astype(np.uint32) if keras.backend.backend() == "torch" and found.dtype == np.int64 else found


def value_and_gradients(
    function: Callable[[], Any], variables: Sequence[keras.Variable]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The scalar that a function returns, and its gradients by Keras variables."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = function()
        found = tape.gradient(value, [variable.value for variable in variables])
    elif keras.backend.backend() == "jax":
        import jax

        def pure(values):
            with keras.StatelessScope(zip(variables, values), collect_losses=True):
                return function()

        value, found = jax.value_and_grad(pure)([variable.value for variable in variables])
    else:
        import torch

        value = function()
        found = torch.autograd.grad(value, [variable.value for variable in variables])
    return keras.ops.convert_to_numpy(value), [keras.ops.convert_to_numpy(gradient) for gradient in found]
