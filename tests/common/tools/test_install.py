import os
import subprocess
import sys
import time

import pytest

from common.tools.install import install
from tests.children import ROOT


@pytest.fixture
def environment(tmp_path):
    """An environment without packages, requirements files, and a function that installs: extras -> commands."""
    files = [tmp_path / name for name in ("requirements.txt", "requirements-dev.txt")]
    for path in (*files, tmp_path / "requirements-gpu.txt", tmp_path / "requirements-torch.txt"):
        path.write_text("")
        os.utime(path, (1000, 1000))
    venv, commands = tmp_path / "venv", []

    def run(command):
        commands.append(command)
        (venv / "bin").mkdir(exist_ok=True)
        (venv / "bin/python").touch()

    def installed(*extras):
        commands.clear()
        install(venv, files, extras, run)
        return [[part.removeprefix(f"{tmp_path}/") for part in command] for command in commands]

    return tmp_path, installed


def pip(*files):
    options = ["install", "--quiet", "--disable-pip-version-check"]
    return ["venv/bin/python", "-m", "pip", *options, *(part for name in files for part in ("-r", name))]


PINS = ("requirements.txt", "requirements-dev.txt")


def test_extras_stay_and_are_renewed_with_the_pins(environment):
    folder, installed = environment
    assert installed() == [[sys.executable, "-m", "venv", "venv"], pip(*PINS)]
    (folder / "venv/mine").touch()
    assert installed() == []
    assert installed("gpu") == [pip(*PINS, "requirements-gpu.txt")]
    assert installed() == installed("gpu") == []
    assert installed("torch") == [pip(*PINS, "requirements-gpu.txt", "requirements-torch.txt")]
    os.utime(folder / "requirements.txt", (time.time() + 9,) * 2)
    assert installed() == [pip(*PINS, "requirements-gpu.txt", "requirements-torch.txt")]
    assert (folder / "venv/mine").exists()
    with pytest.raises(ValueError, match="There are no extras cuda; there are dev, gpu, torch."):
        installed("cuda")


def test_an_extra_that_has_gone_does_not_stop_an_installation(environment):
    """What it has brought stays; its name is forgotten."""
    folder, installed = environment
    installed("gpu", "torch")
    (folder / "requirements-gpu.txt").unlink()
    assert installed() == []
    os.utime(folder / "requirements.txt", (time.time() + 9,) * 2)
    assert installed() == [pip(*PINS, "requirements-torch.txt")]
    assert (folder / "venv/.extras").read_text() == "torch"


def test_of_two_processes_one_installs(environment):
    folder, installed = environment
    code = (
        "import pathlib, sys, time; from common.tools.install import install\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "def run(command): time.sleep(0.3); print(command[2])\n"
        "install(folder / 'venv', [folder / 'requirements.txt'], (), run)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert sorted(process.communicate()[0].split() for process in processes) == [[], ["venv", "pip"]]


def test_a_run_with_a_space_in_its_name_is_one_argument():
    options = ["--dry-run", "--assume-old=.venv/.installed", "--old-file=.venv/.installed", "eval-flipreid"]
    done = subprocess.run(["make", *options, "RUN=a b/c"], cwd=ROOT, capture_output=True, text=True)
    assert "/bin/python -m flipreid.evaluate 'a b/c'" in done.stdout, done.stderr
