"""Kills at random moments of a training and of an evaluation, in every project: nothing is lost, cut or left behind."""

import io
import json
import random
import shutil
import subprocess
import time
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.experiments.run_folder import LOCK
from tests.children import PROJECTS
from tests.helpers import start_python

pytestmark = pytest.mark.slow
KILLS = 10
# More epochs than the preset has, so that there is something to interrupt.
LONGER = {
    "adaptive_l2": "--frozen-epochs 2 --epochs 3",
    "flipreid": "--frozen-epochs 2 --epochs 3",
    "l2_autoencoder": "--epochs 20",
    "neural_compression": "--epochs 3 --expert-epochs 1 --decoder-epochs 2 --deblocking-epochs 2 --target-psnr 5",
    "shufflebits": "--victim-epochs 2 --classifier-epochs 8 --iterations 8",
    "vehicle_attributes": "--epochs 5",
}
PHASES = {
    "train": "train.train(parse(config.PRESETS))",
    "evaluate": "evaluate.evaluate(pathlib.Path(sys.argv[1]))",
}
# What differs between two runs that compute the same: where they lie, how long they took, the dates in a .keras file.
PASSING = ("runs_dir", "seconds", "made_from")


def arguments(project, phase, folder):
    """Python's command line for one phase of a run in `folder`; it prints a line when its imports are done."""
    code = (
        "import pathlib, sys; from common.experiments.config import parse\n"
        f"from {project} import config, evaluate, train\n"
        f"print('imported', flush=True); {PHASES[phase]}"
    )
    run = folder / "runs" / project / "smoke"
    return (
        "-c",
        code,
        *([run] if phase == "evaluate" else ["smoke", *LONGER[project].split(), "--runs-dir", run.parents[1]]),
    )


def h5_arrays(file):
    arrays = {}
    with h5py.File(file) as content:
        content.visititems(
            lambda name, item: arrays.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    return arrays


def plain(value):
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items() if name not in PASSING}
    return [plain(item) for item in value] if isinstance(value, list) else value


def content(path):
    """What a file holds, as something that can be compared; raises if the file is not whole."""
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = dict(file)
    elif path.suffix == ".h5":
        arrays = h5_arrays(path)
    elif path.suffix == ".keras":
        with zipfile.ZipFile(path) as file:
            arrays = h5_arrays(io.BytesIO(file.read("model.weights.h5")))
    elif path.suffix in (".png", ".jpg"):
        return np.asarray(Image.open(path)).tobytes()
    elif path.suffix == ".csv":
        return pd.read_csv(path).to_csv()
    elif path.suffix == ".json":
        return plain(json.loads(path.read_text(encoding="utf-8")))
    else:
        return path.suffix
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}


def contents(folder, leftovers):
    """File below `folder` -> what it holds, files of TensorBoard and fonts aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and not {"tensorboard", "matplotlib"} & {*path.parts}]
    hidden = [path for path in files if any(part.startswith(".") for part in path.relative_to(folder).parts)]
    assert leftovers or {path.name for path in hidden} <= {LOCK}, hidden
    return {str(path.relative_to(folder)): content(path) for path in files if path not in hidden}


def assert_same(folder, whole):
    files = contents(folder, leftovers=False)
    assert files.keys() == whole.keys()
    bytewise = ("environment.json", "written.json")
    differing = [name for name in whole if files[name] != whole[name] and not name.endswith(bytewise)]
    assert not differing, differing


def begin(folder, before):
    """The state that a phase begins with."""
    shutil.rmtree(folder, ignore_errors=True)
    if before is None:
        folder.mkdir()
    else:
        shutil.copytree(before, folder)


def lived(command, environment, limit=None):
    """Seconds from the end of a process's imports to its own; None if it was killed at the limit."""
    process = start_python(*map(str, command), **environment)
    assert process.stdout.readline() == "imported\n", process.communicate()
    start = time.monotonic()
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    assert process.returncode == 0, f"{out}\n{err}"
    return time.monotonic() - start


@pytest.mark.parametrize("project", PROJECTS)
def test_killed_at_random_moments(project, tmp_path):
    before, moments = None, random.Random(project)
    for phase in PHASES:
        whole, folder = tmp_path / f"{phase}-whole", tmp_path / f"{phase}-killed"
        begin(whole, before)
        duration = lived(arguments(project, phase, whole), {"XDG_CACHE_HOME": str(whole)})
        expected = contents(whole, leftovers=False)

        command, environment, kills = arguments(project, phase, folder), {"XDG_CACHE_HOME": str(folder)}, 0
        begin(folder, before)
        while kills < KILLS:
            limit = moments.uniform(0, duration)
            if lived(command, environment, limit) is not None:  # the remaining work was shorter than that
                assert_same(folder, expected)
                begin(folder, before)
                continue
            kills += 1
            last = max(folder.rglob("*"), key=lambda path: path.stat().st_mtime_ns, default=folder).relative_to(folder)
            print(f"{project} {phase}: kill {kills} after {limit:.2f} of {duration:.2f} s, last written: {last}")
            contents(folder, leftovers=True)
        lived(command, environment)
        assert_same(folder, expected)
        before = whole
