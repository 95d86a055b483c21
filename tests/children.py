"""Python processes that start from a fork of one that has imported the libraries: half a second instead of many.

The fork server is the standard library's. It loads no module of the repository, so that each child imports the copy
that its own folder and PYTHONPATH lead to.
"""

import contextlib
import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = sorted(path.parent.name for path in ROOT.glob("*/train.py"))
LIBRARIES = ["keras", "cv2", "pandas", "scipy.io", "sklearn.cluster", "sklearn.manifold", "matplotlib.figure", "tyro"]
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(LIBRARIES)


def leave_graphs_unoptimized() -> None:
    """Tests, and what they run in processes of their own, train tiny networks: most of the time goes into their graphs.

    So TensorFlow does not optimize graphs there. The smoke run of every project does, and so do the benchmarks.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


class Child:
    """A process with the part of `subprocess.Popen` that the tests use; `stdout` and `stderr` are text streams."""

    def __init__(self, arguments: tuple[str, ...], cwd: Path, environment: dict[str, str]) -> None:
        ends = [_SERVER.Pipe(duplex=False) for _ in range(2)]
        writers = [writer for _, writer in ends]
        self._process = _SERVER.Process(target=_run, args=(arguments, str(cwd), environment, *writers))
        self._process.start()
        for writer in writers:
            writer.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(reader.fileno()), encoding="utf-8") for reader, _ in ends)
        self.pid = self._process.pid
        self._texts: dict[str, str] = {}
        self._readers: list[threading.Thread] = []

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What is left on stdout and stderr, once the process has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time; call again once it has.
        """
        if not self._readers:
            self._readers = [threading.Thread(target=self._read, args=(name,)) for name in ("stdout", "stderr")]
            for reader in self._readers:
                reader.start()
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        for reader in self._readers:
            reader.join()
        return self._texts["stdout"], self._texts["stderr"]

    def _read(self, name: str) -> None:
        self._texts[name] = getattr(self, name).read()

    def wait(self, timeout: float | None = None) -> int | None:
        self._process.join(timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def _run(arguments: tuple[str, ...], cwd: str, environment: dict[str, str], out, err) -> None:
    """Does in a child what `python ARGUMENTS` does: -c CODE, -m MODULE or a file."""
    gc.freeze()  # or each collection of garbage looks through all that the server has imported, and copies it
    for stream, number in ((out, 1), (err, 2)):
        os.dup2(stream.fileno(), number)
        stream.close()
    sys.stdout, sys.stderr = (os.fdopen(os.dup(n), "w", encoding="utf-8", buffering=1) for n in (1, 2))
    os.chdir(cwd)
    os.environ.update(environment)
    own = {str(ROOT), ""}
    path = [entry for entry in environment["PYTHONPATH"].split(os.pathsep) if entry]
    sys.path[:] = [cwd, *path, *(entry for entry in sys.path if entry not in own)]
    leave_graphs_unoptimized()
    # What the parent's own start has imported of the repository here: the child's copy may be another.
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "") or "").startswith(f"{ROOT}{os.sep}") and ".venv" not in module.__file__:
            del sys.modules[name]
    kind, *rest = arguments
    try:
        if kind == "-c":
            sys.argv = ["-c", *rest[1:]]
            code = compile(rest[0], "<string>", "exec")
            exec(code, {"__name__": "__main__"})
        elif kind == "-m":
            sys.argv = ["-m", *rest[1:]]
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(arguments)
            runpy.run_path(kind, run_name="__main__")
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
