"""Settings that hold for all tests."""

import contextlib
import ctypes
import gc
import os
import resource
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads of scikit-learn and BLAS would wait for each other. Read when these are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if os.environ.get("KERAS_BACKEND") in ("jax", "torch") and hasattr(os, "sched_setaffinity"):
        # So would those of these backends; PyTorch goes back to all that it may run on in trainings.
        number, count = int(os.environ["PYTEST_XDIST_WORKER"][2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number::count] or cores)
    # TensorFlow's own pool with oneDNN never gives memory back. Read when it is imported. Benchmarks have no workers:
    # without the pool a training step takes up to twice as long.
    os.environ.setdefault("TF_ONEDNN_USE_SYSTEM_ALLOCATOR", "1")

import keras
import pytest
from hypothesis import settings

from common.experiments.training import release_graphs
from tests.browser import browser  # noqa: F401  a fixture
from tests.children import leave_graphs_unoptimized

leave_graphs_unoptimized()
gc.disable()  # until all tests are imported, which leaves nearly no garbage

# The first call of an operation compiles it on some backends, however long that takes. In continuous integration the
# examples are the same every time, so that a failure there is of the change.
settings.register_profile("default without deadline", deadline=None)
settings.register_profile("continuous integration", deadline=None, derandomize=True)
settings.load_profile("continuous integration" if os.environ.get("CI") else "default without deadline")

if keras.backend.backend() == "torch":
    import torch

    # NumPy refuses tensors that gradients pass through; tests only look at their numbers.
    _array = torch.Tensor.__array__
    torch.Tensor.__array__ = lambda self, *arguments, **keywords: _array(self.detach(), *arguments, **keywords)


# Files about several devices are collected where the backend trains on such: PyTorch does on one, `tf.distribute` is
# TensorFlow's. What each backend says to that is in common/test_distribution.py.
_ABOUT = {"common/test_two_devices.py": ("tensorflow", "jax"), "common/test_tensorflow_replicas.py": ("tensorflow",)}
collect_ignore = [file for file, backends in _ABOUT.items() if keras.backend.backend() not in backends]


@pytest.fixture(autouse=True, scope="module")
def _memory_is_freed(request):
    """Gives back the memory of a test file: graphs, models and what a function of it has cached."""
    before = _resident_mib()
    yield
    for value in vars(request.module).values():
        getattr(value, "cache_clear", int)()
    if not before or _resident_mib() - before > 100:  # JAX compiles again what it forgets
        keras.utils.clear_session(free_memory=False)
        release_graphs()
        if keras.backend.backend() == "jax":
            import jax

            jax.clear_caches()
            gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
            ctypes.CDLL(None).malloc_trim(0)


def _resident_mib() -> int:
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * resource.getpagesize() >> 20 if pages.exists() else 0


@pytest.fixture(scope="session")
def people(tmp_path_factory, worker_id):
    """A folder for sets of synthetic people, which all tests share, so that each set is drawn once."""
    folder = tmp_path_factory.getbasetemp()
    return (folder if worker_id == "master" else folder.parent) / "people"


# Files that take half a minute or more, the longest first, so that none of them begins when the others are done.
_LONG = (
    "common/test_two_devices.py",
    "neural_compression/test_train.py",
    "shufflebits/test_train.py",
    "flipreid/test_train.py",
    "neural_compression/test_any_image.py",
    "common/tools/test_reproduce.py",
    "vehicle_attributes/test_train.py",
    "adaptive_l2/test_train.py",
    "l2_autoencoder/test_train.py",
)


def pytest_collection_finish():
    """What has been imported stays: to look through it takes a third of a second in each collection of garbage.

    A training ends with two of them.
    """
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(config, items):
    left_out = {"tensorflow": (), "jax": ("tensorflow",), "torch": ("tensorflow", "graphs")}[keras.backend.backend()]
    about_others = [item for item in items if any(item.get_closest_marker(marker) for marker in left_out)]
    if about_others:
        config.hook.pytest_deselected(items=about_others)
        items[:] = [item for item in items if item not in about_others]
    places = {Path(__file__).parent / name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: places.get(item.path, len(_LONG)))
