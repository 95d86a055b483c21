"""The network of swaps against the definition, and the checks of a key."""

import numpy as np
import pytest

from common.bit_permutation import SHIFTS, checked_key, inverse_key, swap_masks
from tests.common.shuffle_oracle import IDENTITY, REVERSAL, SIGN_AND_LOWEST, random_keys, shuffled


def swapped(words, masks):
    for shift, mask in zip(SHIFTS, masks):
        changed = (words >> np.uint32(shift) ^ words) & mask
        words = words ^ changed ^ changed << np.uint32(shift)
    return words


@pytest.mark.parametrize("key", [IDENTITY, REVERSAL, SIGN_AND_LOWEST, np.roll(IDENTITY, 1)])
def test_each_bit_goes_where_the_key_says(key):
    single = np.uint32(1) << np.arange(32, dtype=np.uint32)
    np.testing.assert_array_equal(swapped(single, swap_masks(key)), single[key])


def test_random_keys_all_at_once():
    keys = random_keys(3000)
    words = np.random.default_rng(2).integers(0, 2**32, 3000, dtype=np.uint32)
    masks = swap_masks(keys)
    assert masks.shape == (9, 3000) and masks.dtype == np.uint32
    np.testing.assert_array_equal(swapped(words, masks), shuffled(words, keys))
    np.testing.assert_array_equal(swap_masks(keys[7]), masks[:, 7])


def test_identity_swaps_nothing():
    assert not swap_masks(IDENTITY).any()


def test_inverse_by_hand():
    assert inverse_key(np.roll(IDENTITY, 1)).tolist() == [*range(1, 32), 0]  # f(i) = i - 1, g(j) = j + 1
    keys = random_keys(5)
    np.testing.assert_array_equal(np.take_along_axis(inverse_key(keys), keys, 1), np.tile(IDENTITY, (5, 1)))


@pytest.mark.parametrize(
    "key, message",
    [
        (range(31), r"shape \(32,\), or \(D, 32\) .* got \(31,\)"),
        (np.zeros((0, 32), int), r"got \(0, 32\)"),
        (np.zeros((2, 2, 32), int), r"got \(2, 2, 32\)"),
        (np.arange(32.0), "whole numbers, got float64"),
        ([*range(31), 32], "from 0 to 31, got one outside"),
        ([*range(31), -1], "from 0 to 31, got one outside"),
        ([*range(31), 5], "each position once, got one twice"),
        ([IDENTITY, [0] * 32], "each position once, got one twice"),
    ],
)
def test_bad_keys_are_reported(key, message):
    with pytest.raises(ValueError, match=message):
        checked_key(key)
