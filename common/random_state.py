"""Blocks of code that repeat: what is random inside is a function of a seed, and nothing of it is left behind."""

import contextlib
import random
import sys
import threading
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state

from common import distribution

if keras.backend.backend() == "torch":
    import torch

_ONE_AT_A_TIME = threading.RLock()
_OF_KERAS = ("global_random_seed", "global_seed_generator")


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, initializers, dropout and all else without a seed of its own draw from this one; kernels repeat too.

    Build models inside. Afterwards the generators of Python, NumPy, Keras and the backend go on as if nothing had been
    drawn from them, and kernels are as before. One thread at a time is inside, as those are the whole process's.

    Args:
        seed: from 0 to 2^32 - 1.
    """
    with _ONE_AT_A_TIME, distribution.deterministic_kernels(), _generators_restored():
        keras.utils.set_random_seed(int(seed))
        yield


@contextlib.contextmanager
def _generators_restored() -> Iterator[None]:
    of_python, of_numpy = random.getstate(), np.random.get_state(legacy=False)
    of_keras = {name: global_state.get_global_attribute(name) for name in _OF_KERAS}
    # Keras seeds TensorFlow on each backend, where it is installed.
    tensorflow: Any = sys.modules.get("tensorflow.python.eager.context")
    context = tensorflow.context() if tensorflow else None
    of_tensorflow = (context._seed, getattr(context, "_rng", None)) if context else (None, None)
    fork = torch.random.fork_rng(range(torch.cuda.device_count())) if keras.backend.backend() == "torch" else None
    try:
        with fork or contextlib.nullcontext():
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
        for name, value in of_keras.items():
            global_state.set_global_attribute(name, value)
        if context:
            context._seed, context._rng = of_tensorflow
