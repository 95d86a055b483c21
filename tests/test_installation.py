"""What pip installs: every module and data file, which run in another folder, and versions that the pins agree with."""

import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.children import PROJECTS, ROOT
from tests.helpers import run_python

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("common", *PROJECTS)


def test_pins_are_in_the_ranges():
    pins = {}
    for path in ROOT.glob("requirements*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, version = line.partition("==")
            pins[name.partition("[")[0].lower()] = version
    for extra in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        for requirement in map(Requirement, extra):
            if requirement.specifier:
                assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what pip installs, without the dependencies, which are those of this environment."""
    pytest.importorskip("pip")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = "--quiet --no-deps --no-index --no-build-isolation --disable-pip-version-check --target"
    subprocess.run([sys.executable, "-m", "pip", "install", *options.split(), target, source], check=True)
    return target


def test_every_module_and_data_file_is_installed(installed):
    def files(root, patterns):
        paths = (path for package in PACKAGES for pattern in patterns for path in (root / package).rglob(pattern))
        return {path.relative_to(root).as_posix() for path in paths}

    assert files(installed, ["*.py"]) == files(ROOT, ["*.py"])
    kinds = ["*.npz", "*.h5", "*.jpg", "page.*", "results.json", "ATTRIBUTION.md"]
    assert len(files(ROOT, kinds)) > len(PROJECTS) and files(installed, kinds) == files(ROOT, kinds)


def test_installed_packages_run_in_another_folder(installed, tmp_path):
    environment = {"cwd": tmp_path, "PYTHONPATH": str(installed)}
    out, _ = run_python("-c", "from common.layers import adaptive_l2; print(adaptive_l2.__file__)", **environment)
    assert out.strip() == str(installed / "common/layers/adaptive_l2.py")
    # Of one abnormal digit: the figures of clustering take longer than all else.
    options = ("--epochs", "1", "--abnormal-digits", "0")
    run_python("-m", "l2_autoencoder", "smoke", *options, **environment)
    assert (tmp_path / "runs/l2_autoencoder/smoke/report.md").is_file()
    _, err = run_python("-m", "l2_autoencoder.evaluate", str(tmp_path), status=1, **environment)
    assert "is not a run folder" in err and "Traceback" not in err
