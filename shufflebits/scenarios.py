"""What the adversary makes of stolen features, by how they are encrypted."""

import numpy as np

from .arrays import decrypt, encrypt
from .attack_trials import chacha20, encrypt_rows
from .cryptanalysis import Profile, plausible, recover_key
from .keys import Key

ZEROS = "ShuffleBits, any keys, zeros alone"
PLAIN, ONE_KEY, BROKEN = "not encrypted", "ShuffleBits, one key", "ShuffleBits, one key, broken"
_LOCAL, _USERS = 0, 1  # keep the keys of the two parties apart


def stolen(local: np.ndarray, users: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """What a threat model that was trained on plain features is fed with, (M, D) float32 each.

    Words are read as they are, as numbers of binary32, and as zero where they are NaN or far above any local feature.
    The scenarios that end in "broken" decrypt them first with what `cryptanalysis` recovers, without knowing any key.

    Args:
        local: (N, D) float32, the adversary's own.
        users: (M, D) float32, before encryption.
        seed: of all keys.
    """
    one, each = _key(seed, _USERS), _key(seed, _USERS, len(users))
    shuffled = encrypt(users, one)
    by_request = encrypt_rows(users, each)
    profile = Profile.of(local)
    guess = decrypt(shuffled, recover_key(shuffled, profile).key)
    alone = [decrypt(words, recover_key(words, profile).key) for words in by_request[:, None]]
    found = {
        ONE_KEY: shuffled.view(np.float32),
        "ShuffleBits, key per request": by_request.view(np.float32),
        "ChaCha20": chacha20(users, np.random.default_rng([seed, 2]).bytes(32), bytes(16)).view(np.float32),
        BROKEN: guess,
        "ShuffleBits, key per request, broken": np.concatenate(alone),
    }
    return {PLAIN: users} | {name: plausible(features, np.abs(local).max()) for name, features in found.items()}


def on_words(local: np.ndarray, users: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Local and users' features, each encrypted with their party's one key, as numbers in [0, 1): all that is left to
    an adversary who trains on encrypted features."""
    return tuple(
        (encrypt(features, _key(seed, party)) / 2.0**32).astype(np.float32)
        for features, party in ((local, _LOCAL), (users, _USERS))
    )


def _key(seed: int, party: int, count: int | None = None) -> Key:
    """Keys that a run can be repeated with; those of a service come from `Key.generate`."""
    key = Key.derive(np.random.default_rng([seed, party]).bytes(32), count or 1)
    return key if count else Key(np.asarray(key)[0])
