"""Running Python apart from the test's own process."""

import os
import subprocess
import sys
from pathlib import Path

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
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, f"exit status {process.returncode}, expected {status}\n{out}\n{err}"
    return out, err
