"""What an adversary knows of a model's numbers from plain features: statistics that tell their bits apart."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh

from .mantissa_order import squared_length

MANTISSA, HEADS = 23, 512  # bits; values of sign and exponent together, the "head"
_ELEMENT_WEIGHT = 8.0  # vectors that the distribution over all elements counts for, next to one element's own
_CELL_WEIGHT = 40.0  # numbers that the tilt over all elements counts for, next to that of one element
_LEAST_SIGNS, _DIRECTIONS = 8, 32  # vectors that directions of signs that vary together need; number of such directions


@dataclass(frozen=True, eq=False)
class BitStatistics:
    """What the adversary knows of the model's numbers. D elements; a head is sign and exponent, 9 bits.

    Attributes:
        marginals: (D, 32) probability that a bit is 1.
        heads: (D, 512) log probability of a head.
        mantissa: (512, 23) probability of a mantissa bit given the head.
        tilts: (D, 512) how much more often a number of this element and head is in the upper half of its octave.
        signs: directions (D, R) in which signs vary together, and their variances (R,); None for features of one sign.
        squared_length: mean and deviation of the squared lengths if those are all the same, else None.
    """

    marginals: np.ndarray
    heads: np.ndarray
    mantissa: np.ndarray
    tilts: np.ndarray
    signs: tuple[np.ndarray, np.ndarray] | None
    squared_length: tuple[float, float] | None

    @classmethod
    def of(cls, sample: np.ndarray) -> "BitStatistics":
        """Statistics of plain features (M, D) float32.

        Raises:
            ValueError: another type or shape, or a feature is NaN or infinite.
        """
        check_features("sample", sample)
        words = np.ascontiguousarray(sample).view(np.uint32)
        (num_vectors, num_elements), heads = words.shape, words >> MANTISSA
        cells = (heads + HEADS * np.arange(num_elements)).ravel()
        counts = np.bincount(cells, minlength=HEADS * num_elements).reshape(num_elements, HEADS)
        pooled = (counts.sum(0) + 0.5 / HEADS) / (counts.sum() + 0.5)
        ones = ones_of(words)
        overall = (ones.sum(0) + 0.5) / (words.size + 1)
        fractions = (words & (2**MANTISSA - 1)).ravel() / 2**MANTISSA - 0.5
        sums = np.bincount(cells, fractions, HEADS * num_elements).reshape(num_elements, HEADS)
        by_head = np.array(
            [np.bincount(heads.ravel(), (words.ravel() >> i) & 1, HEADS) for i in range(MANTISSA)]
        ).T  # (512, 23)
        mean_tilts = sums.sum(0) / np.maximum(counts.sum(0), 1)
        return cls(
            marginals=(ones + _ELEMENT_WEIGHT * overall) / (num_vectors + _ELEMENT_WEIGHT),
            heads=np.log((counts + _ELEMENT_WEIGHT * pooled) / (num_vectors + _ELEMENT_WEIGHT)).astype(np.float32),
            mantissa=((by_head + 0.5) / (counts.sum(0)[:, None] + 1)).astype(np.float32),
            tilts=(sums - counts * mean_tilts) / (counts + _CELL_WEIGHT),
            signs=_sign_directions(sample < 0),
            squared_length=squared_length(sample),
        )


def planes_of(words: np.ndarray) -> np.ndarray:
    """(n,) uint32 -> (n, 32) bits, the least significant first."""
    return np.unpackbits(words.astype("<u4", copy=False).view(np.uint8), bitorder="little").reshape(-1, 32)


def ones_of(words: np.ndarray) -> np.ndarray:
    """(N, D) uint32 -> (D, 32) how often each bit of each element is 1."""
    return np.stack([((words >> np.uint32(i)) & np.uint32(1)).sum(0) for i in range(32)], 1)


def _sign_directions(negative: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Directions in which signs vary together, from one half of the sample, and their variances in the other half."""
    if len(negative) < _LEAST_SIGNS or not negative.any() or negative.all():
        return None
    centered = negative - negative.mean(0)
    half = centered[::2]
    directions = eigh(half.T @ half, subset_by_index=(max(0, half.shape[1] - _DIRECTIONS), half.shape[1] - 1))[1]
    return directions, (centered[1::2] @ directions).var(0) + 1e-3


def check_features(name: str, features: np.ndarray) -> None:
    if features.dtype != np.float32 or features.ndim != 2 or features.size == 0:
        raise ValueError(
            f"The {name} must be float32 of shape (M, D), got {features.dtype} of {features.shape}; "
            "pass the features as the model returns them."
        )
    if not np.isfinite(features).all():
        raise ValueError(f"The {name} must be finite, got NaN or infinity; leave those images out.")
