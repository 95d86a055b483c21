"""The demos of all projects on three backends; `RUNS=folder make bench ARGS="-k backends"`, in an hour or two.

TensorFlow's numbers are the published ones. The trainings on JAX and PyTorch are in the folder, and go on there.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from common.report import tables
from tests.benchmarks import contender
from tests.children import ROOT

BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
# Project, number, the field that tells its trainings apart, where the number is in a record, factor and decimals.
NUMBERS = (
    ("adaptive_l2", "mAP (%)", "regularization", ("mAP",), 100, 1),
    ("flipreid", "mAP, double images (%)", "method", ("double_mAP",), 100, 1),
    ("shufflebits", "balanced accuracy of attributes (%)", "attack", ("balanced_accuracy", "not encrypted"), 100, 1),
    ("shufflebits", "cosine distance of reconstructions", "attack", ("cosine_distance", "not encrypted"), 1, 3),
    ("vehicle_attributes", "accuracy of the nearest exemplar (%)", "loss", ("type", "accuracy"), 100, 1),
    ("neural_compression", "PSNR up to 0.148 bits per pixel (dB)", "seed", ("escape", "dataset_psnr"), 1, 2),
    ("l2_autoencoder", "clustering accuracy (%)", "normalization", ("accuracy",), 100, 1),
)


def at(record, path):
    """A number of a record; the mean of a dictionary of such; None if there is none."""
    for name in path:
        if name not in record:
            return None
        record = record[name]
    return np.mean(list(record.values())) if isinstance(record, dict) else record


def backends_table(records):
    """records: backend -> project -> the records of its trainings."""
    rows = []
    for project, number, field, path, factor, decimals in NUMBERS:
        methods = dict.fromkeys(r[field] for r in records["tensorflow"][project] if at(r, path) is not None)
        for method in methods:
            values = [[factor * at(r, path) for r in of[project] if r[field] == method] for of in records.values()]
            cells = [tables.mean_std(each, decimals) for each in values]
            rows.append([project, number, "" if field == "seed" else method, *cells])
    return tables.table(["demo", "number", "of", *BACKENDS.values()], rows)


@pytest.mark.bench
def test_backends(tmp_path):
    runs = Path(os.environ.get("RUNS", tmp_path))
    projects = list(dict.fromkeys(project for project, *_ in NUMBERS))
    records = {backend: {} for backend in BACKENDS}
    for project in projects:
        records["tensorflow"][project] = tables.published(ROOT / project)["demo"]["trials"]
        for backend in ("jax", "torch"):
            python, folder = ROOT / f".venv-{backend}/bin/python", runs / backend
            command = [python, "-m", project, "demo", "--runs-dir", folder]
            subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "KERAS_BACKEND": backend})
            report = json.loads((folder / project / "demo/report.json").read_text(encoding="utf-8"))
            records[backend][project] = report["trials"]
    contender.show("docs/accelerators.md", "backends", backends_table(records))
