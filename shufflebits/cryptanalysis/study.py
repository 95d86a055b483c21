"""The study of ShuffleBits: what an adversary recovers without the key, under each way to use keys."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.report.tables import table

from .bit_statistics import check_features
from .trials import BY_BOTH, BY_ELEMENT, BY_REQUEST, CHACHA20, HELD_OUT, KNOWN, ONE_KEY, PLAIN, Trial


def study_ciphers(
    sample: np.ndarray,
    users: np.ndarray,
    *,
    identities: np.ndarray | None = None,
    counts: Sequence[int] = (1, 3, 5, 10, 30, 100, 300),
    num_keys: int = 5,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Attacks each scheme with random keys, and decrypts vectors of users that the attack has not seen.

    ChaCha20 gets the very attack on one key: a sanity check of the attack, which must do no better than chance there,
    and no evidence for the cipher. What is compared with the truth are up to 100 other vectors under the same key;
    where each vector has a key of its own, the 40 vectors themselves.

    Args:
        sample: (M, D) float32 plain features that the adversary has.
        users: (U, D) float32 plain features of others from the same model.
        identities: (U,) whole numbers, who each user's vector shows.
        counts: numbers of vectors that were stolen; those beyond what U leaves are passed over.
        num_keys: random keys for each number; schemes that have many keys for one set of vectors are run once.
        seed: of keys and of the choice of vectors.

    Returns:
        A record for each scheme and number of vectors: scheme, vectors, keys, and what `Trial.run` returns, as means
        over keys. What a scheme does not allow is None.

    Raises:
        ValueError: features are not float32, not finite, of different D, or there are too few.
    """
    possible = _checked(sample, users, identities, counts, num_keys)
    trial = Trial(sample, users, identities, seed)
    records = []
    first = [] if identities is None else [PLAIN]
    for scheme in (*first, ONE_KEY, KNOWN, BY_REQUEST, BY_ELEMENT, BY_BOTH, CHACHA20):
        many = {BY_REQUEST: trial.one_by_one, BY_BOTH: trial.one_by_one * sample.shape[1], BY_ELEMENT: sample.shape[1]}
        for count in [1] if scheme in (PLAIN, KNOWN, BY_REQUEST, BY_BOTH) else possible:
            runs = [trial.run(scheme, count, number) for number in range(1 if scheme in many else num_keys)]
            keys = many.get(scheme, num_keys)
            records.append({"scheme": scheme, "vectors": count, "keys": keys, **{k: _mean(runs, k) for k in runs[0]}})
    return records


def _checked(
    sample: np.ndarray, users: np.ndarray, identities: np.ndarray | None, counts: Sequence[int], num_keys: int
) -> list[int]:
    """The numbers of vectors that can be studied, or an error."""
    check_features("sample", sample)
    check_features("users", users)
    if sample.shape[1] != users.shape[1]:
        raise ValueError(
            f"Sample and users must have as many elements, got {sample.shape[1]} and {users.shape[1]}; "
            "take both from the same model."
        )
    held_out = min(HELD_OUT, len(users) // 2)
    possible = [count for count in counts if 1 <= count <= len(users) - held_out]
    if held_out == 0 or not possible or num_keys < 1:
        raise ValueError(
            f"The study needs two users' vectors, a count that they suffice for and a key or more, got {len(users)}, "
            f"counts {tuple(counts)} and {num_keys} keys; give more vectors."
        )
    if identities is not None and np.shape(identities) != (len(users),):
        raise ValueError(f"There must be an identity for each of {len(users)} users, got {np.shape(identities)}.")
    return possible


def _mean(runs: list[dict[str, float | None]], name: str) -> float | None:
    known = [run[name] for run in runs if run[name] is not None]
    return float(np.mean(known)) if known else None


_COLUMNS = {
    "exponents": ("sign and exponent right (% of keys)", "{:.0%}"),
    "numbers": ("(% of numbers)", "{:.2%}"),
    "mantissa_bits": ("mantissa bits of 23", "{:.1f}"),
    "bits": ("bits of 32", "{:.1f}"),
    "cosine": ("cosine", "{:.6f}"),
    "relinked": ("re-linked (%)", "{:.1%}"),
    "relinked_by_bit_counts": ("by bit counts (%)", "{:.1%}"),
    "recognized": ("recognized (%)", "{:.1%}"),
    "recognized_by_bit_counts": ("by bit counts (%)", "{:.1%}"),
    "seconds": ("seconds", "{:.2f}"),
}


#: Scheme and number of vectors that say what matters.
ESSENTIAL = ((PLAIN, 1), (ONE_KEY, 1), (ONE_KEY, 5), (BY_REQUEST, 1), (BY_ELEMENT, 30), (BY_BOTH, 1))


def study_table(records: Sequence[dict[str, Any]], essential: bool = False) -> str:
    """Markdown, a row for each record of `study_ciphers`, or for those of `ESSENTIAL` alone."""
    records = [each for each in records if not essential or (each["scheme"], each["vectors"]) in ESSENTIAL]
    shown = {name: how for name, how in _COLUMNS.items() if any(record[name] is not None for record in records)}
    rows = [
        [record["scheme"], record["vectors"]]
        + [None if record[k] is None else form.format(record[k]).rstrip("%") for k, (_, form) in shown.items()]
        for record in records
    ]
    return table(["scheme", "vectors", *(title for title, _ in shown.values())], rows)
