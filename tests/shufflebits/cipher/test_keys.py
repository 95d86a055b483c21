"""Keys: uniform and private."""

import itertools
import secrets

import numpy as np
import pytest
from scipy import stats

from common.bit_permutation import inverse_key, swap_masks
from shufflebits.cipher.keys import Key, shuffled
from tests.common.shuffle_oracle import derived_keys

SECRET = bytes(range(32))


def chi_squared(counts):
    """Σ (count - expected)² / expected for equally likely cells."""
    return np.sum((counts - counts.mean()) ** 2) / counts.mean()


def limit(degrees):
    """What chance exceeds once in a million runs."""
    return stats.chi2.isf(1e-6, degrees)


def position_counts(keys):
    """(32, 32): how often bit i goes to position j."""
    return np.stack([np.bincount(column, minlength=32) for column in np.asarray(keys).T])


def test_each_bit_goes_everywhere_as_often():
    """32 · 32 cells with fixed sums of rows and columns: 31² degrees of freedom."""
    generated = position_counts([np.asarray(Key.generate()) for _ in range(3200)])
    derived = position_counts(Key.derive(SECRET, 3200))
    assert chi_squared(generated) < limit(31**2) and chi_squared(derived) < limit(31**2)


def test_all_permutations_of_four_are_as_likely():
    def counts(draw):
        orders = list(itertools.permutations(range(4)))
        return np.bincount([orders.index(tuple(draw())) for _ in range(24_000)])

    assert chi_squared(counts(lambda: shuffled(4, secrets.randbelow))) < limit(23)
    # Exchanges with any place, the well-known slip, reach 4⁴ outcomes, which 4! does not divide.
    assert chi_squared(counts(lambda: shuffled(4, lambda n: secrets.randbelow(4)))) > limit(23)


def test_permutation_by_hand():
    """0 1 2 3: exchange place 3 with 1, place 2 with 2, place 1 with 0."""
    draws = iter([1, 2, 0])
    assert shuffled(4, lambda n: next(draws)) == [3, 0, 2, 1]


def test_derived_keys_by_the_definition():
    np.testing.assert_array_equal(Key.derive(SECRET, 20, b"person"), derived_keys(SECRET, 20, b"person"))


def test_derived_keys_depend_on_secret_and_context_alone():
    key = np.asarray(Key.derive(SECRET, 8))
    np.testing.assert_array_equal(Key.derive(SECRET, 5), key[:5])
    others = [Key.derive(SECRET, 8, b"x"), Key.derive(SECRET[::-1], 8)]
    assert all(np.mean(np.asarray(other) == key) < 0.2 for other in others)
    assert len(np.unique(key, axis=0)) == 8
    np.testing.assert_array_equal(Key.derive(bytes(16), 2), derived_keys(bytes(16), 2))  # the shortest secret


def test_masks_are_computed_once():
    key = Key.generate()
    for inverse, expected in ((False, key), (True, inverse_key(key))):
        np.testing.assert_array_equal(key.swap_masks(inverse), swap_masks(expected))
        assert key.swap_masks(inverse) is key.swap_masks(inverse)
        assert not key.swap_masks(inverse).flags.writeable


def test_key_cannot_be_changed_or_seen():
    key = Key(range(32))
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(key)[0] = 1
    assert repr(key) == f"{key}" == "Key(hidden, shape (32,))"


@pytest.mark.parametrize(
    "action, message",
    [
        (lambda: Key.derive(bytes(15), 2), r"16 bytes or more, got 15; take token_bytes\(32\)"),
        (lambda: Key.derive(SECRET, 0), "num_elements must be one or more, got 0"),
        (lambda: Key([0] * 32), "each position once, got one twice"),
    ],
)
def test_bad_arguments(action, message):
    with pytest.raises(ValueError, match=message):
        action()
