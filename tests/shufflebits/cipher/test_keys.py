"""Keys: uniform, private, used once."""

import itertools
import json
import os
import secrets
import stat

import numpy as np
import pytest
from scipy import stats

from common.bit_permutation import swap_masks
from shufflebits.cipher.keys import Key, OneTimeKeys, shuffled
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


def test_inverse_undoes():
    for key in (Key.generate(), Key.derive(SECRET, 3)):
        undone = np.take_along_axis(np.asarray(key.inverse()), np.asarray(key), -1)
        np.testing.assert_array_equal(undone, np.broadcast_to(np.arange(32), undone.shape))


def test_masks_are_computed_once():
    key = Key.generate()
    for inverse, expected in ((False, key), (True, key.inverse())):
        np.testing.assert_array_equal(key.swap_masks(inverse), swap_masks(expected))
        assert key.swap_masks(inverse) is key.swap_masks(inverse)
        assert not key.swap_masks(inverse).flags.writeable


def test_key_cannot_be_changed_or_seen():
    key = Key(range(32))
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(key)[0] = 1
    assert repr(key) == f"{key}" == "Key(hidden, shape (32,))"
    keys = OneTimeKeys()
    keys.issue()
    assert repr(keys) == "OneTimeKeys(1 hidden)"


@pytest.mark.parametrize("key", [Key(range(31, -1, -1)), Key.derive(SECRET, 3)], ids=["one", "per_element"])
def test_file_is_the_owners_alone(key, tmp_path):
    path, before = tmp_path / "key.json", os.umask(0)
    try:
        key.save(path)
        key.save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(Key.load(path), key)


def test_file_is_private_before_it_has_content(tmp_path, monkeypatch):
    """Modes at every write, with the most open mask."""
    modes, write = [], os.fsync

    def spy(descriptor):
        if not stat.S_ISDIR(mode := os.fstat(descriptor).st_mode):
            modes.append(stat.S_IMODE(mode))
        write(descriptor)

    opened, real = [], os.open
    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(os, "open", lambda *a, **k: opened.append(a[1:]) or real(*a, **k))
    Key.generate().save(tmp_path / "key.json")
    assert modes == [0o600]
    assert opened[0] == (os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_file_that_others_can_open_is_refused(mode, tmp_path):
    path = tmp_path / "key.json"
    Key.generate().save(path)
    path.chmod(mode)
    with pytest.raises(PermissionError, match=rf"open to others \(mode {mode:o}\); chmod 600 it, and make a new key"):
        Key.load(path)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"shufflebits_key": [1, 2]}', json.dumps({"shufflebits_key": [7] * 32})]
)
def test_other_files_are_refused_without_their_content(content, tmp_path):
    path = tmp_path / "key.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="is no key file of shufflebits; write one with Key.save") as error:
        Key.load(path)
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_one_time_key_is_taken_once():
    keys = OneTimeKeys()
    (first, key), (second, other) = keys.issue(), keys.issue()
    assert keys.take(first) is key
    with pytest.raises(ValueError, match="has been used; ask for a new one"):
        keys.take(first)
    assert keys.take(second) is other and len({first, second}) == 2
    assert len(first) == 22  # 16 bytes


def test_one_time_key_expires():
    now = 100.0
    keys = OneTimeKeys(lifetime=10, clock=lambda: now)
    late, timely = keys.issue()[0], None
    now = 109.9
    timely, key = keys.issue()
    now = 110.0
    with pytest.raises(ValueError, match="has expired or was never issued; ask for a new one"):
        keys.take(late)
    assert keys.take(timely) is key
    keys.issue()
    assert repr(keys) == "OneTimeKeys(2 hidden)"  # the expired one is forgotten
    with pytest.raises(ValueError, match="was never issued"):
        keys.take("something")


def test_one_time_keys_live_a_minute():
    now = 0.0
    keys = OneTimeKeys(clock=lambda: now)
    first, second = keys.issue()[0], keys.issue()[0]
    now = 59.9
    keys.take(first)
    now = 60.0
    with pytest.raises(ValueError, match="has expired"):
        keys.take(second)
    assert keys._limit == 10_000


def test_one_time_keys_are_limited():
    """Used ones count until they expire, since they still differ from unknown ones."""
    now = 0.0
    keys = OneTimeKeys(lifetime=10, clock=lambda: now, limit=2)
    keys.take(keys.issue()[0])
    keys.issue()
    with pytest.raises(ValueError, match="There are 2 one-time keys already; wait 10 seconds until they expire"):
        keys.issue()
    now = 10.0
    keys.issue()
    assert repr(keys) == "OneTimeKeys(1 hidden)"


@pytest.mark.parametrize(
    "action, message",
    [
        (lambda: Key.derive(bytes(15), 2), r"16 bytes or more, got 15; take token_bytes\(32\)"),
        (lambda: Key.derive(SECRET, 0), "num_elements must be one or more, got 0"),
        (lambda: OneTimeKeys(0), "lifetime must be above zero seconds, got 0"),
        (lambda: Key([0] * 32), "each position once, got one twice"),
    ],
)
def test_bad_arguments(action, message):
    with pytest.raises(ValueError, match=message):
        action()
