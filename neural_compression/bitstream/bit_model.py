"""The learned model of code bits: small integer weights, so that the same file decodes to the same bits everywhere.

Bit k of a block's code is 1 with a probability that is logistic in all earlier bits of the block and in the first bits
of the left and of the upper block, where these were coded by the same network. Float sums differ between machines, and
one unit in the last place garbles all that follows; so weights, sums and the table of probabilities are integers.
"""

import decimal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .container import MOST_BITS
from .regression import logistic_regression

UNIT = 64  # a weight of 64 is a logit of 1
PRECISION = 4096  # probabilities are multiples of 1 / 4096
LARGEST = 511  # further from zero, the nearest probability is 1 / 4096 or 4095 / 4096 anyway
_AT_ONCE = 1024  # blocks
_NAMES = ("weights", "left", "up", "bias")


def _probability_table() -> np.ndarray:
    """(1023,) int16 probabilities of a 1 in units of 1 / 4096, from 1 to 4095, for logits of -511 to 511 units.

    In decimal arithmetic, whose exponential is correctly rounded by definition: that of floats is not.
    """
    context = decimal.Context(prec=40, rounding=decimal.ROUND_HALF_EVEN)
    upper = []
    for units in range(LARGEST + 1):
        exact = context.divide(PRECISION, 1 + context.exp(context.divide(decimal.Decimal(-units), UNIT)))
        upper.append(min(PRECISION - 1, int(context.to_integral_value(exact))))
    return np.array([PRECISION - p for p in upper[:0:-1]] + upper, np.int16)


PROBABILITIES = _probability_table()
BITS = -np.log2(PROBABILITIES / PRECISION)  # of a bit that has this logit of being what it is


@dataclass(frozen=True, eq=False)
class BitModel:
    """Model of the codes of one network; K is their length. Arrays of any integer type become int16.

    Attributes:
        weights: (K, K), of bit j for bit k at [k, j], strictly lower triangular; all in units of 1 / 64.
        left: (K, M), of bit j of the left block; M is at most K.
        up: (K, M), of bit j of the upper block.
        bias: (K,).

    Raises:
        ValueError: types, shapes or values do not fit.
    """

    weights: np.ndarray
    left: np.ndarray
    up: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        length = np.shape(self.bias)[0] if np.ndim(self.bias) == 1 else 0
        if not 1 <= length <= MOST_BITS:
            raise ValueError(
                f"bias must be (K,), K from 1 to {MOST_BITS}, got shape {np.shape(self.bias)}; fit a model."
            )
        count = min(length, np.shape(self.left)[1] if np.ndim(self.left) == 2 else length)
        shapes = ((length, length), (length, count), (length, count), (length,))
        for name, shape in zip(_NAMES, shapes):
            array = np.asarray(getattr(self, name))
            if array.dtype.kind not in "iu" or array.shape != shape:
                raise ValueError(
                    f"{name} must be integers of shape {shape}, got {array.dtype} of {array.shape}; "
                    "take arrays as BitModel.save returned them."
                )
            if np.any(array > 32767) or np.any(array < -32767):
                raise ValueError(
                    f"{name} must fit 16 bits, got values up to {np.abs(array).max()}; fit with a larger l2."
                )
            array = np.ascontiguousarray(array, np.int16)
            object.__setattr__(self, name, array)
        if np.any(np.triu(self.weights)):
            raise ValueError(
                "weights must be zero on and above the diagonal, got others; a bit knows earlier bits only."
            )

    @property
    def length(self) -> int:
        """K, bits per block."""
        return len(self.bias)

    def save(self) -> dict[str, np.ndarray]:
        """The four arrays by name, for an npz file."""
        return {name: getattr(self, name) for name in _NAMES}

    @classmethod
    def load(cls, arrays: Mapping[str, np.ndarray]) -> "BitModel":
        """Undoes `save`.

        Raises:
            ValueError: an array is missing, or does not fit.
        """
        missing = [name for name in _NAMES if name not in arrays]
        if missing:
            raise ValueError(f"A bit model has the arrays {_NAMES}, got none of name {missing[0]!r}; save it again.")
        return cls(**{name: arrays[name] for name in _NAMES})

    @property
    def neighbor_bits(self) -> int:
        """M, bits of a neighbor that count."""
        return self.left.shape[1]

    @cached_property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`weights`, `left` and `up` transposed, so that what one bit adds to all logits lies together."""
        weights, left, up = (np.ascontiguousarray(part.T) for part in (self.weights, self.left, self.up))
        return weights, left, up

    def context_units(self, left: np.ndarray, up: np.ndarray) -> np.ndarray:
        """(n, M or more) int8 bits of the neighbors as ±1 or 0 -> (n, K) int32 part of the logits in 1 / 64."""
        _, by_left, by_up = self.columns
        return self.bias + _products(left, by_left) + _products(up, by_up)

    def own_units(self, own: np.ndarray) -> np.ndarray:
        """(n, K) int8 bits as ±1 or 0 -> (n, K) int32, likewise."""
        return _products(own, self.columns[0])

    def probabilities(self, own: np.ndarray, left: np.ndarray, up: np.ndarray) -> np.ndarray:
        """(n, K) int8 bits as ±1 or 0 -> (n, K) int16 probabilities of a 1 in units of 1 / 4096, from 1 to 4095."""
        ones = np.empty(own.shape, np.int16)
        for part in _parts(len(own)):
            ones[part] = PROBABILITIES[_index(self.context_units(left[part], up[part]) + self.own_units(own[part]))]
        return ones

    def costs(self, own: np.ndarray, left: np.ndarray, up: np.ndarray) -> np.ndarray:
        """(n,) float64 bits that each block takes when coded by `probabilities`."""
        return _bits_of(own, self.context_units(left, up) + self.own_units(own))

    def costs_with_neighbors(self, own: np.ndarray, left: np.ndarray, up: np.ndarray) -> np.ndarray:
        """(2, 2, n) float64, `costs` without and with the left block, and without and with the upper one."""
        parts = [self._costs_with_neighbors(own[part], left[part], up[part]) for part in _parts(len(own))]
        return np.concatenate(parts, axis=2)

    def _costs_with_neighbors(self, own: np.ndarray, left: np.ndarray, up: np.ndarray) -> np.ndarray:
        alone = self.bias + self.own_units(own)
        by_left, by_up = (_products(bits, columns) for bits, columns in zip((left, up), self.columns[1:]))
        return np.array([[_bits_of(own, alone + a * by_left + b * by_up) for b in (0, 1)] for a in (0, 1)])


def signs(codes: np.ndarray, networks: np.ndarray, network: int, length: int) -> tuple[np.ndarray, ...]:
    """The blocks of one network and their neighbors, in raster order.

    Args:
        codes: (R, C, Kmax) uint8 bits.
        networks: (R, C) uint8.
        network: whose blocks.
        length: K of that network.

    Returns:
        own, left, up: (n, K) int8 bits as ±1; 0 where the neighbor is outside or of another network.
    """
    used = networks == network
    padded = np.zeros((networks.shape[0] + 1, networks.shape[1] + 1, length), np.int8)
    padded[1:, 1:][used] = 2 * codes[used, :length].astype(np.int8) - 1
    return padded[1:, 1:][used], padded[1:, :-1][used], padded[:-1, 1:][used]


def fit(
    codes: Sequence[np.ndarray],
    networks: Sequence[np.ndarray],
    network: int,
    length: int,
    *,
    neighbor_bits: int | None = None,
    **options: Any,
) -> BitModel:
    """Logistic regression of all K bits at once, then rounding; the same on the same machine.

    A tenth of the grids, one at least, decides when to stop.

    Args:
        codes: grids (R, C, Kmax) uint8, of any sizes.
        networks: (R, C) uint8 of each.
        network: whose blocks the model is for.
        length: K, the bits of that network.
        neighbor_bits: M, how many bits of a neighbor are looked at; None: all.
        options: of `regression.logistic_regression`, such as `epochs`.

    Raises:
        ValueError: fewer than two grids hold blocks of this network.
    """
    generator = np.random.default_rng(0)
    grids = [signs(c, n, network, length) for c, n in zip(codes, networks) if np.any(n == network)]
    if len(grids) < 2:
        raise ValueError(
            f"Network {network} must be used in two grids or more, got {len(grids)}; one is held out: add images."
        )
    order = generator.permutation(len(grids))
    split = max(1, round(len(grids) / 10))
    count = length if neighbor_bits is None else min(neighbor_bits, length)
    checked, fitted = (_features([grids[i] for i in part], count) for part in (order[:split], order[split:]))
    weights, *_ = logistic_regression(fitted, checked, length, generator, **options)
    return _rounded(weights, length)


def _features(grids: Sequence[tuple[np.ndarray, ...]], count: int) -> np.ndarray:
    """-> (N, K + 2M + 1) int8: own bits, `count` of left, of up, 1."""
    parts = [(own, left[:, :count], up[:, :count], np.ones((len(own), 1), np.int8)) for own, left, up in grids]
    return np.concatenate([np.concatenate(part, 1) for part in parts])


def _rounded(weights: np.ndarray, length: int) -> BitModel:
    units = np.rint(weights.astype(np.float64) * UNIT).astype(np.int64)
    count = (units.shape[1] - length - 1) // 2
    own, left, up, bias = np.split(units, [length, length + count, length + 2 * count], 1)
    return BitModel(own, left, up, bias[:, 0])


def _parts(count: int) -> list[slice]:
    """Of so many blocks: what is computed of a block takes ten times the memory of its bits."""
    return [slice(start, start + _AT_ONCE) for start in range(0, max(1, count), _AT_ONCE)]


def _index(units: np.ndarray) -> np.ndarray:
    """Where the tables hold a logit."""
    return np.clip(units, -LARGEST, LARGEST) + LARGEST


def _bits_of(own: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(n,) float64: what bits (n, K) as ±1 take, of which a 1 has logits (n, K)."""
    return BITS[_index(own * units)].sum(1)


def _products(bits_as_signs: np.ndarray, columns: np.ndarray) -> np.ndarray:
    from .kernels import products  # what compiles is loaded by who codes, not by who looks at a file

    return products(bits_as_signs, columns)
