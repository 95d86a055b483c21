"""One key and what an attack makes of it: for each way to use ShuffleBits, and for ciphers."""

import time
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from ..cipher.keys import Key
from ..cipher.shuffle import decrypt, encrypt
from .bit_statistics import MANTISSA, BitStatistics, planes_of
from .key_recovery import recover_key, recover_key_from_pairs, recover_key_per_element

ONE_KEY, BY_REQUEST, BY_ELEMENT = "one key", "key per request", "key per element"
BY_BOTH, CHACHA20 = "key per element and request", "ChaCha20"
KNOWN, PLAIN = "one key, known plaintext", "not encrypted"
HELD_OUT, _ONE_BY_ONE = 100, 40  # vectors that are decrypted; those that are attacked one by one


def bit_counts(words: np.ndarray) -> np.ndarray:
    """uint32 -> how many bits of each are 1, which no order of bits changes."""
    return np.bitwise_count(words)


def plausible(features: np.ndarray, largest: float) -> np.ndarray:
    """Features with 0 for NaN, infinity and what is over twice the largest of the sample: a wrong key makes 1e30."""
    return np.where(np.abs(features) <= 2 * largest, features, np.float32(0))  # false for NaN


def encrypt_rows(features: np.ndarray, keys: Any) -> np.ndarray:
    """(N, D) float32 and a key for each row, (N, 32) or a `Key` -> (N, D) uint32."""
    return np.ascontiguousarray(encrypt(np.ascontiguousarray(features.T), keys).T)


def chacha20(features: np.ndarray, key: bytes, nonce: bytes) -> np.ndarray:
    """(N, D) float32, 32 bytes and 16 bytes, the counter first -> (N, D) uint32."""
    cipher = Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor()
    content = cipher.update(features.astype("<f4").tobytes())
    return np.frombuffer(content, "<u4").astype(np.uint32).reshape(features.shape)


class Trial:
    """Sample, users and the gallery in which decrypted vectors are looked up."""

    def __init__(self, sample: np.ndarray, users: np.ndarray, identities: np.ndarray | None, seed: int) -> None:
        self._users, self._identities, self._seed = users, identities, seed
        self._held_out = min(HELD_OUT, len(users) // 2)
        self.one_by_one = min(_ONE_BY_ONE, self._held_out)
        start = time.perf_counter()
        self._statistics = BitStatistics.of(sample)
        self._profiling, self._largest = time.perf_counter() - start, np.abs(sample).max()
        gallery = np.ascontiguousarray(np.concatenate([users, sample]))
        self._gallery = _unit(gallery)
        self._counts = bit_counts(gallery.view(np.uint32)).astype(np.float32)

    def run(self, scheme: str, count: int, number: int) -> dict[str, float | None]:
        """Attacks one key with `count` vectors, or one that is known, and decrypts other vectors with the recovery.

        Returns:
            Numbers, or None for what the scheme does not allow:

            - exponents: share of keys with which sign and exponent are right in all decrypted numbers.
            - numbers: share of decrypted numbers whose sign and exponent are right.
            - mantissa_bits: leading mantissa bits that are right in all decrypted numbers, of 23.
            - bits: bits that are right in all decrypted numbers, of 32.
            - cosine: of decrypted and true features, after `plausible`.
            - relinked: share of decrypted vectors whose nearest one, by cosine, among the plain vectors of sample and
              users together is the right one.
            - relinked_by_bit_counts: the same by Euclidean distance of the bit counts of words, no key recovered.
            - chance: of re-linking.
            - recognized, recognized_by_bit_counts, recognized_by_chance: share whose nearest one among the plain
              vectors of the other users' images shows the same person, of those that have one; with identities only.
            - seconds: of the statistics of the sample, where the attack needs them, and of one attack.
        """
        generator = np.random.default_rng([self._seed, number])
        order = generator.permutation(len(self._users))
        held = order[: self.one_by_one if scheme in (BY_REQUEST, BY_BOTH) else self._held_out]
        stolen = order[self._held_out : self._held_out + count]
        plain = self._users[np.concatenate([held, stolen])]
        words = _encrypted(plain, scheme, generator)
        secret, known = words[: len(held)], words[len(held) :]
        start = time.perf_counter()
        if scheme == BY_BOTH:
            guess = None
        elif scheme == PLAIN:
            guess = plain[: len(held)]
        elif scheme == BY_REQUEST:
            guess = np.concatenate([decrypt(w[None], recover_key(w[None], self._statistics).key) for w in secret])
        elif scheme == BY_ELEMENT:
            guess = decrypt(secret, recover_key_per_element(known, self._statistics).key)
        elif scheme == KNOWN:
            guess = decrypt(secret, recover_key_from_pairs(plain[len(held) :], known).key)
        else:
            guess = decrypt(secret, recover_key(known, self._statistics).key)
        seconds = (time.perf_counter() - start) / (len(held) if scheme == BY_REQUEST else 1)
        seconds += 0 if scheme in (PLAIN, KNOWN) else self._profiling
        return {
            **self._compared(guess, plain[: len(held)], scheme),
            **self._linked(guess, secret, held),
            "seconds": None if guess is None else seconds,
        }

    def _compared(self, guess: np.ndarray | None, truth: np.ndarray, scheme: str) -> dict[str, float | None]:
        if guess is None:
            return dict.fromkeys(("exponents", "numbers", "mantissa_bits", "bits", "cosine"))
        difference = guess.view(np.uint32) ^ np.ascontiguousarray(truth).view(np.uint32)
        axis = {BY_REQUEST: 1, BY_ELEMENT: 0}.get(scheme)  # where numbers share a key
        right = planes_of(~np.bitwise_or.reduce(difference, axis=axis).reshape(-1)).astype(bool)  # (keys, 32)
        cosine = (_unit(plausible(guess, self._largest)) * _unit(truth)).sum(1, dtype=np.float64)
        return {
            "exponents": float(right[:, MANTISSA:].all(1).mean()),
            "numbers": float((difference >> np.uint32(MANTISSA) == 0).mean()),
            "mantissa_bits": float(np.cumprod(right[:, MANTISSA - 1 :: -1], axis=1).sum(1).mean()),
            "bits": float(right.sum(1).mean()),
            "cosine": float(cosine.mean()),
        }

    def _linked(self, guess: np.ndarray | None, secret: np.ndarray, held: np.ndarray) -> dict[str, float | None]:
        counts = bit_counts(secret).astype(np.float32)
        # Less the squared distance, but for a term that is the same for all.
        closeness = {"_by_bit_counts": 2 * counts @ self._counts.T - (self._counts**2).sum(1), "": None}
        if guess is not None:
            closeness[""] = _unit(plausible(guess, self._largest)) @ self._gallery.T
        shares: dict[str, float | None] = {"chance": 1 / len(self._gallery), "recognized_by_chance": None}
        for by, close in closeness.items():
            shares["relinked" + by] = None if close is None else float((close.argmax(1) == held).mean())
            shares["recognized" + by] = None
        if self._identities is None:
            return shares
        same = self._identities[held, None] == self._identities  # (H, U)
        same[np.arange(len(held)), held] = False
        rows = np.flatnonzero(same.any(1))
        shares["recognized_by_chance"] = float(same[rows].sum(1).mean() / (len(self._users) - 1)) if len(rows) else None
        for by, close in closeness.items():
            if close is not None and len(rows):
                others = close[rows, : len(self._users)]
                others[np.arange(len(rows)), held[rows]] = -np.inf
                shares["recognized" + by] = float(same[rows, others.argmax(1)].mean())
        return shares


def _unit(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.maximum(lengths, 1e-30)).astype(np.float32)


def _encrypted(plain: np.ndarray, scheme: str, generator: np.random.Generator) -> np.ndarray:
    """(N, D) words. Keys come from a generator with a seed so that a study can be repeated."""
    if scheme == PLAIN:
        return plain.view(np.uint32)
    if scheme == CHACHA20:
        return chacha20(plain, generator.bytes(32), generator.bytes(16))
    if scheme == BY_ELEMENT:
        return encrypt(plain, Key.derive(generator.bytes(32), plain.shape[1]))
    if scheme == BY_REQUEST:
        keys = generator.permuted(np.tile(np.arange(32), (len(plain), 1)), axis=1)
        return encrypt_rows(plain, keys)
    if scheme == BY_BOTH:
        keys = generator.permuted(np.tile(np.arange(32), (plain.size, 1)), axis=1)
        return encrypt(plain.reshape(1, -1), keys).reshape(plain.shape)
    return encrypt(plain, generator.permutation(32))
