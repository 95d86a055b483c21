"""Keys of ShuffleBits recovered from words: the likelihood of a key, and pairs of features and words.

The attack that dissertation section 2.4.3.5 leaves to future research. The adversary has words that were stolen, and
plain features of other images from the same model. What is known of a number before it is encrypted, its sign, exponent
and leading mantissa bits, tells the bit planes apart, wherever the key moves them.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from common.jit import compiled

from ..cipher.shuffle import decrypt
from .bit_statistics import MANTISSA, BitStatistics, ones_of, planes_of
from .mantissa_order import order_mantissa

_MOST_VECTORS, _MOST_HEADS, _MOST_MANTISSAS = 300, 2**16, 2**18  # more vectors, or numbers, add time and few bits
_MOST_EXCHANGES = 100
_STARTS, _SHORT = 6, 0.3  # starts for an element; lack of log likelihood per number that makes another one worthwhile


@dataclass(frozen=True, eq=False)
class Recovery:
    """A key and how far it is to be believed.

    Attributes:
        key: (32,) or (D, 32) positions, convention of `common.bit_permutation`; not shown.
        log_likelihood: of sign and exponent, mean per number. Below that of the sample by far: these words are no
            shuffled features of this model.
        expected: the same for the sample itself.
        residual: root mean square error of the squared lengths; None where lengths tell nothing.
    """

    key: np.ndarray = field(repr=False)
    log_likelihood: float
    expected: float
    residual: float | None = None


def recover_key(words: np.ndarray, sample: np.ndarray | BitStatistics) -> Recovery:
    """The likeliest key of words that share one, without any plain feature of theirs.

    1. Planes to bits by assignment, on the marginals of each element. 2. Exchanges of two bits while the likelihood of
    signs and exponents grows, all 9 bits of a number together. 3. Mantissa bits by assignment: how often each is 1
    nears 1/2 by powers of two, at a rate that element and exponent tell. 4. For features of constant length, the
    mantissa order under which the lengths come out right, see `mantissa_order`.

    Args:
        words: (N, D) uint32.
        sample: (M, D) float32 plain features of other images from the same model, or their `BitStatistics`, which saves
            time where this is called often.

    Raises:
        ValueError: types, shapes or lengths do not fit.
    """
    statistics = sample if isinstance(sample, BitStatistics) else BitStatistics.of(sample)
    _check_words(words, statistics)
    words = np.ascontiguousarray(words[:_MOST_VECTORS])
    scores = _marginal_scores(ones_of(words), len(words), statistics).sum(0)
    places = linear_sum_assignment(scores, maximize=True)[1]  # f, as far as known: places[i] holds bit i
    linear = np.zeros_like(scores)
    linear[:MANTISSA] = scores[:MANTISSA]
    linear[31] = _sign_scores(words, statistics)
    few = words[: max(1, _MOST_HEADS // words.shape[1])]
    rows = np.tile(np.arange(words.shape[1]), len(few))
    places, *_ = _climb(few.ravel(), rows, statistics.heads, linear, places)
    plain = decrypt(words, places).view(np.uint32)
    some = plain[: max(1, _MOST_MANTISSAS // words.shape[1])]
    prior = _mantissa_scores(some.reshape(1, -1), np.tile(np.arange(words.shape[1]), len(some)), statistics)[0]
    order = linear_sum_assignment(prior, maximize=True)[1]
    residual = None
    if statistics.squared_length is not None:
        order, residual = order_mantissa(plain, prior, order, *statistics.squared_length)
    places[:MANTISSA] = places[order]
    return Recovery(places, *_fit(plain, statistics), residual)


def recover_key_per_element(words: np.ndarray, sample: np.ndarray | BitStatistics) -> Recovery:
    """The likeliest keys, one per element, of words that share them: every element is attacked on its own.

    Args and errors as for `recover_key`; the key is (D, 32). The lengths of vectors are not used.
    """
    statistics = sample if isinstance(sample, BitStatistics) else BitStatistics.of(sample)
    _check_words(words, statistics)
    columns = np.ascontiguousarray(words[:_MOST_VECTORS].T)  # (D, N)
    ones = ones_of(columns.T)
    places = np.empty(ones.shape, np.int64)
    np.put_along_axis(places, np.argsort(statistics.marginals, 1), np.argsort(ones, 1, kind="stable"), 1)
    linear = _marginal_scores(ones, columns.shape[1], statistics)
    linear[:, MANTISSA:] = 0
    expected, generator = _expected(statistics), np.random.default_rng(0)
    for d, column in enumerate(columns):
        climbed, start = [], places[d]
        for _ in range(_STARTS):
            climbed.append(_climb(column, np.full(len(column), d), statistics.heads, linear[d], start))
            if climbed[-1][2] > (expected[d] - _SHORT) * len(column):
                break
            start = generator.permutation(32)
        places[d] = max(climbed, key=lambda end: end[1])[0]
    plain = np.ascontiguousarray(decrypt(np.ascontiguousarray(columns.T), places).view(np.uint32).T)
    prior = _mantissa_scores(plain, np.repeat(np.arange(len(columns)), columns.shape[1]), statistics)
    for d, scores in enumerate(prior):
        places[d, :MANTISSA] = places[d, linear_sum_assignment(scores, maximize=True)[1]]
    return Recovery(places, *_fit(plain.T, statistics))


@dataclass(frozen=True, eq=False)
class KnownPlaintext:
    """What features and their words tell of a key.

    Attributes:
        key: (32,) positions that are consistent with all pairs; not shown.
        determined: (32,) whether a bit can be at its position only. The others equal another bit in all features.
    """

    key: np.ndarray = field(repr=False)
    determined: np.ndarray


def recover_key_from_pairs(features: np.ndarray, words: np.ndarray) -> KnownPlaintext:
    """The key from features and their words: bit i is at the position whose plane equals plane i.

    Args:
        features: float32 of any shape.
        words: uint32 of the same shape, all under one key.

    Raises:
        ValueError: types or shapes do not fit, or no key turns these features into these words.
    """
    if features.dtype != np.float32 or words.dtype != np.uint32 or features.shape != words.shape or not words.size:
        raise ValueError(
            "Pairs are float32 features and uint32 words of one shape, got "
            f"{features.dtype} {features.shape} and {words.dtype} {words.shape}; pass both as they were encrypted."
        )
    plain = planes_of(np.ascontiguousarray(features).view(np.uint32).ravel()).astype(np.float32)
    moved = planes_of(np.ascontiguousarray(words).ravel()).astype(np.float32)
    both = plain.T @ moved
    different = plain.sum(0)[:, None] + moved.sum(0) - 2 * both  # (32, 32)
    rows, places = linear_sum_assignment(different)
    if different[rows, places].any():
        raise ValueError("No key turns these features into these words; pass pairs that share one key of 32 positions.")
    return KnownPlaintext(places, (different == 0).sum(1) == 1)


def _marginal_scores(ones: np.ndarray, number: int, statistics: BitStatistics) -> np.ndarray:
    """(D, 32) ones -> (D, 32, 32) log likelihood of the plane at position j as bit i, were all bits independent."""
    p = statistics.marginals[:, :, None]
    return np.log(p) * ones[:, None] + np.log1p(-p) * (number - ones[:, None])


def _mantissa_scores(plain: np.ndarray, elements: np.ndarray, statistics: BitStatistics) -> np.ndarray:
    """(K, 23, 23) log likelihood of plane j as mantissa bit i, for K keys, given signs and exponents.

    Over an octave in which the density is a line of slope t, bit i is 1 with probability 1/2 + t / 4 · 2^(i - 23), and
    a number lies t / 12 above the middle.

    Args:
        plain: (K, n) words whose heads are right.
        elements: (K · n,) the element of each.
    """
    heads = plain.ravel() >> np.uint32(MANTISSA)
    known = (statistics.tilts[elements, heads, None] * 3 * 2.0 ** np.arange(-MANTISSA, 0)).astype(np.float32)
    p = np.clip(statistics.mantissa[heads] + known, 1e-3, 1 - 1e-3).reshape(*plain.shape, MANTISSA)
    planes = planes_of(plain.ravel())[:, :MANTISSA].reshape(p.shape).astype(np.float32)
    odds = np.log(p / (1 - p)).swapaxes(1, 2)
    return odds @ planes + np.log1p(-p).sum(1)[:, :, None]


def _sign_scores(words: np.ndarray, statistics: BitStatistics) -> np.ndarray:
    """(32,) how much likelier the plane at position j is as signs that vary together than as independent ones.

    A sign may be as evenly spread as a low mantissa bit; but signs of elements depend on one another.
    """
    if statistics.signs is None:
        return np.zeros(32)
    directions, variances = statistics.signs
    p = statistics.marginals[:, 31]
    independent = (p * (1 - p)) @ directions**2
    planes = planes_of(words.ravel()).reshape(*words.shape, 32) - p[:, None]
    along = np.einsum("ndj,dr->jnr", planes, directions, optimize=True)
    return 0.5 * (along**2 * (1 / independent - 1 / variances) + np.log(independent / variances)).sum((1, 2))


def _climb(words, rows, heads, linear, places):
    """Exchanges the two bits that add most likelihood, until none does.

    Returns:
        (32,) positions, and the log likelihood of all and of the heads.
    """
    places, plain = places.copy(), decrypt(words, places).view(np.uint32)
    for _ in range(_MOST_EXCHANGES):
        gains = exchange_gains(plain, rows, heads)
        now = linear[:, places]  # plane of bit j as bit i
        own = np.diag(now)
        gains += (now + now.T - own[:, None] - own)[MANTISSA:]
        a, b = divmod(int(gains.argmax()), 32)
        if gains[a, b] <= 1e-6 * len(words):
            break
        a += MANTISSA
        places[[a, b]] = places[[b, a]]
        different = ((plain >> np.uint32(a)) ^ (plain >> np.uint32(b))) & np.uint32(1)
        plain ^= (different << np.uint32(a)) | (different << np.uint32(b))
    of_heads = float(heads[rows, plain >> np.uint32(MANTISSA)].sum(dtype=np.float64))
    return places, of_heads + float(np.trace(linear[:, places])), of_heads


@compiled(nogil=True)
def exchange_gains(plain, rows, heads):
    """(9, 32) what an exchange of a sign or exponent bit with another bit adds to the likelihood of the heads."""
    gains = np.zeros((9, 32))
    for a in range(9):
        gains[a, 23 + a :] = -np.inf  # each pair once
    for n in range(len(plain)):
        word = plain[n]
        head = word >> np.uint32(23)
        table = heads[rows[n]]
        now = table[head]
        for a in range(9):
            own = (head >> np.uint32(a)) & np.uint32(1)
            without = table[head ^ (np.uint32(1) << np.uint32(a))] - now
            for b in range(23):
                if (word >> np.uint32(b)) & np.uint32(1) != own:
                    gains[a, b] += without
            for b in range(a):
                if (head >> np.uint32(b)) & np.uint32(1) != own:
                    change = table[head ^ (np.uint32(1) << np.uint32(a)) ^ (np.uint32(1) << np.uint32(b))] - now
                    gains[a, 23 + b] += change
    return gains


def _expected(statistics: BitStatistics) -> np.ndarray:
    """(D,) mean log likelihood of the sample's own heads."""
    return (np.exp(statistics.heads) * statistics.heads).sum(1)


def _fit(plain: np.ndarray, statistics: BitStatistics) -> tuple[float, float]:
    """Mean log likelihood of the heads of (N, D) words, and of those of the sample."""
    fit = statistics.heads[np.arange(plain.shape[1]), plain >> np.uint32(MANTISSA)].mean()
    return float(fit), float(_expected(statistics).mean())


def _check_words(words: np.ndarray, statistics: BitStatistics) -> None:
    if words.dtype != np.uint32 or words.ndim != 2:
        raise ValueError(
            f"Words must be uint32 of shape (N, D), got {words.dtype} of {words.shape}; view them, do not cast."
        )
    num_elements = len(statistics.marginals)
    if words.shape[1] != num_elements:
        raise ValueError(
            f"Words and sample must have as many elements, got {words.shape[1]} and {num_elements}; "
            "take the sample from the model that the words are from."
        )
    if len(words) == 0:
        raise ValueError("There must be one vector of words or more, got none; pass what was stolen.")
