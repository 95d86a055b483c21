"""Makes or renews an environment from the pins: `make install EXTRAS="gpu torch"`. Needs nothing but Python.

What is in an environment stays, and so do extras, which are remembered in it and renewed with the pins. Of several
processes that call it at once the first installs, and the others wait for it.
"""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

DONE, EXTRAS = ".installed", ".extras"


def install(
    venv: Path,
    requirements: Sequence[Path],
    extras: Sequence[str] = (),
    run: Callable[[list[str]], object] = subprocess.check_call,
) -> None:
    """Installs requirements files and extras into an environment, if they are newer than what it has.

    Args:
        venv: folder of the environment, made if it has no Python.
        requirements: files of pins.
        extras: `requirements-EXTRA.txt` next to those, each.
        run: runs a command.

    Raises:
        ValueError: there is no such extra.
    """
    root = requirements[0].parent
    if unknown := [extra for extra in extras if not (root / f"requirements-{extra}.txt").is_file()]:
        known = sorted(path.stem.partition("-")[2] for path in root.glob("requirements-*.txt"))
        raise ValueError(f"There are no extras {', '.join(unknown)}; there are {', '.join(known)}.")
    venv.mkdir(exist_ok=True)
    with _alone(venv / ".install.lock"):
        remembered = (venv / EXTRAS).read_text().split() if (venv / EXTRAS).is_file() else []
        remembered = [e for e in remembered if (root / f"requirements-{e}.txt").is_file()]  # names may have changed
        wanted = [*remembered, *(extra for extra in extras if extra not in remembered)]
        files = [*requirements, *(root / f"requirements-{extra}.txt" for extra in wanted)]
        done = venv / DONE
        newest = max(path.stat().st_mtime for path in files)
        if wanted == remembered and done.is_file() and done.stat().st_mtime >= newest:
            return
        if not (venv / "bin/python").exists():
            run([sys.executable, "-m", "venv", str(venv)])
        options = ["install", "--quiet", "--disable-pip-version-check"]
        run([str(venv / "bin/python"), "-m", "pip", *options, *(part for f in files for part in ("-r", str(f)))])
        (venv / EXTRAS).write_text(" ".join(wanted))
        done.touch()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Inside, other processes of this machine, or of the same disk where it has locks, wait."""
    import fcntl

    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Another process installs into {path.parent}; waiting for it.", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a disk without locks
            pass
        yield


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("venv", type=Path)
    parser.add_argument("requirements", type=Path, nargs="+")
    parser.add_argument("--extras", nargs="*", default=[])
    arguments = parser.parse_args()
    try:
        install(arguments.venv, arguments.requirements, arguments.extras)
    except ValueError as error:
        sys.exit(f"ValueError: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"pip ended with status {error.returncode}; what it says is above. The same command goes on.")


if __name__ == "__main__":
    main()
