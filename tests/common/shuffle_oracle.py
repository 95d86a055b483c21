"""ShuffleBits and its derived keys written down one number at a time, and the numbers to compare on."""

import hashlib
import hmac

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

IDENTITY, REVERSAL = np.arange(32), np.arange(32)[::-1]
SIGN_AND_LOWEST = np.array([31, *range(1, 31), 0])  # exchanges these two


def random_keys(count, seed=0):
    """(count, 32), or (32,) for None."""
    rng = np.random.default_rng(seed)
    return rng.permutation(32) if count is None else np.array([rng.permutation(32) for _ in range(count)])


def derived_keys(secret, count, context=b""):
    """(count, 32): HKDF from its two steps (RFC 5869), then bytes of ChaCha20, without the incomplete run of n."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    stream_key = hmac.digest(extracted, b"shufflebits keys 1:" + context + bytes([1]), hashlib.sha256)
    stream = iter(Cipher(algorithms.ChaCha20(stream_key, bytes(16)), None).encryptor().update(bytes(50 * count)))
    keys = []
    for _ in range(count):
        key = list(range(32))
        for n in range(32, 1, -1):
            byte = next(stream)
            while byte >= 256 // n * n:
                byte = next(stream)
            key[n - 1], key[byte % n] = key[byte % n], key[n - 1]
        keys.append(key)
    return np.array(keys)


def patterns():
    """(512, 12) uint32: each sign and exponent with the outermost mantissas and random ones, in random order."""
    rng = np.random.default_rng(1)
    outermost = np.array([0, 1, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFF])
    mantissas = np.concatenate([np.tile(outermost, (512, 1)), rng.integers(0, 2**23, (512, 6))], axis=1)
    return rng.permuted(((np.arange(512) << 23)[:, None] | mantissas).astype(np.uint32))


def shuffled(words, keys):
    """b_{f(i)} = a_i on strings of bits, number by number; `keys` broadcasts against (*words.shape, 32)."""
    keys = np.broadcast_to(keys, (*words.shape, 32))
    moved = [_shuffled(int(word), key) for word, key in zip(words.ravel(), keys.reshape(-1, 32).tolist())]
    return np.array(moved, np.uint32).reshape(words.shape)


def _shuffled(word, key):
    a = f"{word:032b}"[::-1]  # bit 0 first
    b = ["0"] * 32
    for i in range(32):
        b[key[i]] = a[i]
    return int("".join(b)[::-1], 2)
