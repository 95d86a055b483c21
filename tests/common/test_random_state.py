"""What is drawn inside is the seed's; what is drawn afterwards is what would have been drawn without."""

import random
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from common import distribution
from common.random_state import seeded
from tests.helpers import process_state


def draw():
    """From every generator of the process."""
    values = [random.random(), np.random.random(), *keras.ops.convert_to_numpy(keras.random.normal((2,)))]
    values += list(keras.ops.convert_to_numpy(keras.initializers.GlorotUniform()((2, 2))).ravel())
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        values.append(float(tf.random.uniform(())))
    elif keras.backend.backend() == "torch":
        import torch

        values.append(float(torch.rand(())))
    return [float(value) for value in values]


def test_inside_a_seed_decides_and_afterwards_all_goes_on():
    keras.utils.set_random_seed(3)
    expected = draw() + draw()
    keras.utils.set_random_seed(3)
    first = draw()
    with seeded(7):
        inside = draw()
        with seeded(8):
            draw()
        second = draw()
    assert first + draw() == expected
    with seeded(np.int64(7)):
        assert draw() == inside and draw() == second and inside != second


def test_an_error_restores_as_well():
    before = process_state()
    with pytest.raises(KeyError), seeded(0):
        draw()
        raise KeyError
    assert process_state() == before


def test_threads_draw_what_one_after_the_other_draw():
    def of(seed):
        with seeded(seed):
            return [draw() for _ in range(5)]

    alone = [of(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(of, range(4))) == alone


@pytest.mark.tensorflow
def test_kernels_are_deterministic_until_the_last_block_ends():
    import tensorflow as tf
    from tensorflow.python.framework.config import disable_op_determinism, is_op_determinism_enabled

    filters = list(tf.get_logger().filters)
    disable_op_determinism()
    outer, inner = distribution.deterministic_kernels(), distribution.deterministic_kernels()
    with outer:
        inner.__enter__()
    assert is_op_determinism_enabled()  # as of another thread
    inner.__exit__(None, None, None)
    assert not is_op_determinism_enabled() and tf.get_logger().filters == filters
    tf.config.experimental.enable_op_determinism()
    try:
        with distribution.deterministic_kernels():
            pass
        assert is_op_determinism_enabled()  # that is the user's
    finally:
        disable_op_determinism()
