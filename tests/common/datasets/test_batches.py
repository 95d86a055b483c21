from itertools import islice

import keras
import numpy as np
import pytest

from common.datasets.batches import AHEAD, endless, epoch_order, feed, shuffled_batches, steps_per_epoch


def epochs(first_epoch=0, count=3, seed=0, n=10, size=4):
    steps = steps_per_epoch(n, size)
    data = shuffled_batches(np.arange(n), size, seed=seed, first_epoch=first_epoch)
    taken = [np.asarray(batch) for batch in islice(data, count * steps)]
    return [np.concatenate(taken[i * steps : (i + 1) * steps]).tolist() for i in range(count)]


def test_each_epoch_holds_every_sample_once_in_its_own_order():
    orders = epochs()
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_order_is_a_function_of_seed_and_epoch():
    assert epochs() == epochs()
    assert np.asarray(next(iter(shuffled_batches(np.arange(10), 4, seed=0)))).tolist() == epochs()[0][:4]
    assert epochs(first_epoch=1, count=2) == epochs()[1:]
    assert epochs(seed=1) != epochs()


def test_first_and_last_positions_are_spread_over_the_samples():
    # Each sample comes first in 1/50 of the epochs: chi-squared with 49 degrees of freedom, 0.1 % tails.
    orders = np.array([np.asarray(epoch_order(50, 7, epoch)) for epoch in range(2000)])
    for position in (0, 25, 49):
        counts = np.bincount(orders[:, position], minlength=50)
        assert 23 < np.sum((counts - 40) ** 2 / 40) < 86


@pytest.mark.parametrize(("n", "size", "steps"), [(10, 4, 3), (8, 4, 2), (3, 4, 1), (70000, 256, 274)])
def test_steps_per_epoch(n, size, steps):
    assert steps_per_epoch(n, size) == steps


def test_arrays_that_belong_together_stay_together():
    arrays = (np.arange(10), {"square": np.arange(10.0) ** 2})
    batches = list(islice(shuffled_batches(arrays, 4, seed=0, drop_remainder=True), 4))  # 2 an epoch
    assert [len(index) for index, _ in batches] == [4] * 4
    for index, rows in batches:
        np.testing.assert_array_equal(rows["square"], np.asarray(index) ** 2.0)
    whole = np.concatenate([np.asarray(index) for index, _ in islice(shuffled_batches(arrays, 4, seed=0), 2)])
    np.testing.assert_array_equal(np.concatenate([np.asarray(index) for index, _ in batches[:2]]), whole)


@pytest.mark.tensorflow
def test_tensorflow_gets_memory_of_its_own():
    """It may write there: a loss into targets, which are also the inputs, or a part of what is in a later batch."""
    buffer = np.zeros(64 * 65, "float32")
    rows = buffer[-buffer.ctypes.data % 64 // 4 :][: 64 * 64].reshape(64, 64)  # as TensorFlow aligns its own
    for load in (lambda epoch, step: (rows, rows), lambda epoch, step: (new := rows.copy(), new)):
        first, second = map(np.asarray, next(iter(feed(endless(load, 1)))))
        assert not np.shares_memory(first, rows) and not np.shares_memory(second, rows)
        assert not np.shares_memory(first, second)


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"must have equally many rows, got \[3, 4\]"):
        shuffled_batches((np.zeros(3), np.zeros(4)), 2, seed=0)


@pytest.mark.parametrize(
    ("n", "seed", "epoch", "order"),
    [
        (7, 0, 0, [5, 4, 0, 2, 6, 3, 1]),
        (7, 2**31 - 1, 3, [3, 4, 1, 0, 2, 6, 5]),
    ],
)
def test_orders_are_those_of_every_backend_and_version(n, seed, epoch, order):
    """Values of TensorFlow 2.21: the numbers in the READMEs depend on them."""
    assert np.asarray(epoch_order(n, seed, epoch)).tolist() == order


@pytest.mark.tensorflow
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 1797, 70001])
def test_orders_are_those_of_tensorflow(n):
    import tensorflow as tf

    for seed, epoch in ((0, 0), (0, 1), (123456789, 4000)):
        expected = tf.random.experimental.stateless_shuffle(tf.range(n), (seed, epoch))
        np.testing.assert_array_equal(epoch_order(n, seed, epoch), expected)


def test_batches_are_fed_in_order_with_the_remainder_of_each_epoch():
    arrays = (np.arange(10), {"square": np.arange(10.0) ** 2})
    made = shuffled_batches(arrays, 4, seed=3, first_epoch=2)
    for fed, number in zip(feed(made), range(9)):
        (index, rows), (expected, squares) = fed, made[number]
        assert len(expected) == (2 if number % 3 == 2 else 4)
        np.testing.assert_array_equal(index, expected)
        np.testing.assert_array_equal(rows["square"], squares["square"])


def test_few_batches_are_made_ahead():
    made = []
    load = lambda epoch, step: made.append((epoch, step)) or np.zeros(1)  # noqa: E731
    iterator = iter(feed(endless(load, 3)))
    for _ in range(4):
        next(iterator)
    # TensorFlow looks at the first one, has one ready, and one in the works.
    assert len(made) <= 4 + AHEAD + 1 + 3 * (keras.backend.backend() == "tensorflow")
    assert set(made[:4]) <= {(epoch, step) for epoch in range(2 + AHEAD) for step in range(3)}
