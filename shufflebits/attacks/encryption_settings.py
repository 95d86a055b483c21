"""How stolen features are encrypted, and what the adversary makes of them in each setting."""

import numpy as np

from ..cipher.keys import Key
from ..cipher.shuffle import decrypt, encrypt
from ..cryptanalysis.bit_statistics import BitStatistics
from ..cryptanalysis.key_recovery import recover_key
from ..cryptanalysis.trials import chacha20, encrypt_rows, plausible

ZEROS = "ShuffleBits, any keys, zeros alone"
ANOTHER = "of another image"  # not a setting: the distance to the reconstruction of another image
PLAIN, ONE_KEY, BY_REQUEST, CHACHA20 = (
    "not encrypted", "ShuffleBits, one key", "ShuffleBits, key per request", "ChaCha20"
)  # fmt: skip
BROKEN, BROKEN_BY_REQUEST = f"{ONE_KEY}, broken", f"{BY_REQUEST}, broken"
# What `stolen` returns -> a name for folders and files.
FILE_NAMES = {
    PLAIN: "plain",
    ONE_KEY: "one_key",
    BY_REQUEST: "key_per_request",
    CHACHA20: "chacha20",
    BROKEN: "one_key_broken",
    BROKEN_BY_REQUEST: "key_per_request_broken",
}
_LOCAL, _USERS = 0, 1  # the keys of the two parties differ


def stolen(local: np.ndarray, users: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """What an attack model that was trained on plain features gets in each setting, (M, D) float32.

    Words are read as they are, as numbers of binary32, and as zero where they are NaN or far above any local feature.
    The settings that end in "broken" first decrypt them with what `cryptanalysis` recovers, without knowing any key.

    Args:
        local: (N, D) float32, the adversary's own.
        users: (M, D) float32, before encryption.
        seed: of all keys.
    """
    one, each = repeatable_key(seed, _USERS), repeatable_key(seed, _USERS, len(users))
    shuffled = encrypt(users, one)
    by_request = encrypt_rows(users, each)
    statistics = BitStatistics.of(local)
    guess = decrypt(shuffled, recover_key(shuffled, statistics).key)
    alone = [decrypt(words, recover_key(words, statistics).key) for words in by_request[:, None]]
    encrypted = {
        ONE_KEY: shuffled.view(np.float32),
        BY_REQUEST: by_request.view(np.float32),
        CHACHA20: chacha20(users, np.random.default_rng([seed, 2]).bytes(32), bytes(16)).view(np.float32),
        BROKEN: guess,
        BROKEN_BY_REQUEST: np.concatenate(alone),
    }
    return {PLAIN: users} | {name: plausible(features, np.abs(local).max()) for name, features in encrypted.items()}


def on_words(local: np.ndarray, users: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Local and users' features, each encrypted with their party's one key, as numbers in [0, 1].

    They are all that is left to an adversary who trains on encrypted features.
    """
    return tuple(
        (encrypt(features, repeatable_key(seed, party)) / 2.0**32).astype(np.float32)
        for features, party in ((local, _LOCAL), (users, _USERS))
    )


def repeatable_key(seed: int, party: int, count: int | None = None) -> Key:
    """Keys that a run can be repeated with; those of a service come from `Key.generate`."""
    key = Key.derive(np.random.default_rng([seed, party]).bytes(32), count or 1)
    return key if count else Key(np.asarray(key)[0])
