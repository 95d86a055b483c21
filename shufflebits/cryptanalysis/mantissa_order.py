"""The order of mantissa bits from the lengths of vectors.

Features on the unit sphere give the adversary an equation for each vector, whatever the vector shows:

    1 = sum over d of x_d^2 = sum over d of 4^e_d · (1 + sum over j of b_dj · w_j)^2

where exponents e and bits b are known and the weights w_j are 1/2, 1/4, ..., 2^-23 in an unknown order. An equation is
good for some 23 bits, and the order of 23 weights holds 75.
"""

import numpy as np

_BITS = 23
_WEIGHTS = 2.0 ** -np.arange(1, _BITS + 1)
_BEAM, _EQUATIONS = 32, 24  # orders that are followed; equations with which they are compared
_CONSTANT = 1e-5  # relative deviation of squared lengths up to which they count as one length


def squared_length(sample: np.ndarray) -> tuple[float, float] | None:
    """Mean and deviation of the squared lengths of (M, D) if they are all the same but for rounding, else None."""
    squares = np.einsum("nd,nd->n", sample, sample, dtype=np.float64)
    mean, deviation = float(squares.mean()), float(squares.std())
    if len(sample) < 2 or mean == 0 or deviation > _CONSTANT * mean:
        return None
    return mean, max(deviation, 1e-8 * mean)


def order_mantissa(
    plain: np.ndarray, scores: np.ndarray, start: np.ndarray, target: float, deviation: float
) -> tuple[np.ndarray, float]:
    """The order under which the squared lengths are what they must be.

    From the largest weight down, each plane is tried as the one with that weight (a beam search); the planes that are
    left share the remaining weights in a random order, whose mean and covariance say how likely the lengths are. Then
    pairs are exchanged while the likelihood grows.

    Args:
        plain: (N, D) words whose signs and exponents are right, mantissa planes in any order.
        scores: (23, 23) log likelihood of plane j as mantissa bit i, from other sources.
        start: (23,) the best order without the lengths: start[i] is the plane of bit i.
        target: what all squared lengths are.
        deviation: of them, from rounding.

    Returns:
        The order and the root mean square error of the squared lengths, relative to the target.
    """
    equations = length_equations(plain, target)
    prior = (scores - scores.mean(0))[::-1]  # by weight; a plane must be given to some bit in any case
    best = start[::-1]
    # Otherwise exponents are wrong, and lengths tell nothing.
    if 0.3 < np.median(length_errors(equations, _by_plane(best))) + 1 < 3:
        noise = deviation / target
        starts = best, _beam_search(equations, prior, noise)
        best = max((_polish(equations, prior, noise, order) for order in starts), key=lambda end: end[1])[0]
    error = length_errors(equations, _by_plane(best))
    return best[::-1].copy(), float(np.sqrt((error**2).mean()))


def length_equations(plain: np.ndarray, target: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Squared length over target = constant + 2 · linear · w + w · quadratic · w: (N,), (N, 23) and (N, 23, 23)."""
    exponents = (plain >> np.uint32(_BITS) & np.uint32(255)).astype(int)
    # What is zero, denormal, infinite or NaN adds nothing.
    scale = np.where((exponents > 0) & (exponents < 255), 4.0 ** np.clip(exponents - 127, -126, 30), 0) / target
    planes = ((plain[..., None] >> np.arange(_BITS, dtype=np.uint32)) & np.uint32(1)).astype(np.float64)
    scaled = planes * scale[..., None]
    return scale.sum(1), scaled.sum(1), scaled.swapaxes(1, 2) @ planes


def _by_plane(order: np.ndarray) -> np.ndarray:
    """(..., 23) order, the plane of each weight from the largest down -> the weight of each plane."""
    return _WEIGHTS[np.argsort(order, axis=-1)]


def length_errors(equations, weights: np.ndarray) -> np.ndarray:
    """(23,) or (C, 23) weights -> (N,) or (C, N) relative errors of the squared lengths."""
    return errors_and_slopes(equations, weights)[0]


def errors_and_slopes(equations, weights):
    constant, linear, quadratic = equations
    turned = _turned(weights, quadratic)
    values = constant + ((2 * linear + turned) * weights[..., None, :]).sum(-1) - 1
    return values, 2 * (linear + turned)


def _turned(weights, quadratic):
    """(..., 23) and (N, 23, 23), symmetric -> (..., N, 23)."""
    # N small products: one large product would be divided among threads, which on a busy machine wait for each other.
    return np.moveaxis(quadratic @ weights.T, (0, 1), (-2, -1))


def _beam_search(equations, prior: np.ndarray, deviation: float) -> np.ndarray:
    """(23,) the likeliest order, planes from the largest weight down."""
    equations = tuple(part[:_EQUATIONS] for part in equations)
    orders, past = np.zeros((1, 0), int), np.zeros(1)
    for rank in range(_BITS):
        free = np.ones((len(orders), _BITS), bool)
        np.put_along_axis(free, orders, False, 1)
        parents, planes = np.nonzero(free)
        orders = np.concatenate([orders[parents], planes[:, None]], 1)
        past = past[parents] + prior[rank, planes]
        scores = past + evidence(equations, orders, deviation)
        best = np.argsort(-scores, kind="stable")[:_BEAM]
        orders, past = orders[best], past[best]
    return orders[0]


def evidence(equations, orders: np.ndarray, deviation: float) -> np.ndarray:
    """(C,) log likelihood of the lengths where only the planes of the largest weights are given, (C, rank)."""
    count, rank = orders.shape
    rest = _WEIGHTS[rank:]
    left = _BITS - rank
    mean, variance = (rest.mean(), rest.var()) if left else (0.0, 0.0)
    free = np.ones((count, _BITS))
    np.put_along_axis(free, orders, 0.0, 1)
    weights = free * mean
    np.put_along_axis(weights, orders, np.broadcast_to(_WEIGHTS[:rank], orders.shape), 1)
    values, slopes = errors_and_slopes(equations, weights)  # (C, N), (C, N, 23)
    slopes = slopes * free[:, None]
    # Covariance of a random order of what is left: variance · left / (left - 1) · (identity - ones / left).
    factor = variance * left / max(left - 1, 1)
    slopes -= free[:, None] * (slopes.sum(2, keepdims=True) / max(left, 1))
    quadratic = equations[2]
    own = np.einsum("njj,cj->cn", quadratic, free)
    all_pairs = np.einsum("cnj,cj->cn", _turned(free, quadratic), free)
    bend = factor * (own - all_pairs / max(left, 1))  # mean of the quadratic part
    values = values + bend
    covariance = factor * slopes @ slopes.swapaxes(1, 2) + (bend[:, :, None] * bend[:, None]) / 4
    index = np.arange(covariance.shape[1])
    covariance[:, index, index] += deviation**2 + 1e-2 * bend**2
    root = np.linalg.cholesky(covariance)
    white = np.linalg.solve(root, values[..., None])[..., 0]
    return -0.5 * (white**2).sum(1) - np.log(root[:, index, index]).sum(1)


def _polish(equations, prior: np.ndarray, noise: float, order: np.ndarray) -> tuple[np.ndarray, float]:
    """Exchanges the pair of planes that adds most likelihood, until none does; and the likelihood."""
    first, second = np.triu_indices(_BITS, 1)
    ranks = np.arange(_BITS)
    step = _WEIGHTS[second] - _WEIGHTS[first]  # what the plane of the first weight gains
    likelihood = -np.inf
    while True:
        values, slopes = errors_and_slopes(equations, _by_plane(order))
        a, b = order[first], order[second]
        quadratic = equations[2]
        bend = quadratic[:, a, a] + quadratic[:, b, b] - 2 * quadratic[:, a, b]
        errors = values[:, None] + (slopes[:, a] - slopes[:, b]) * step + bend * step**2  # (N, 253)
        known = prior[ranks, order].sum()
        exchanged = known + prior[first, b] + prior[second, a] - prior[first, a] - prior[second, b]
        exchanged -= 0.5 * ((errors / noise) ** 2).sum(0)
        likelihood = max(likelihood, known - 0.5 * float(((values / noise) ** 2).sum()))
        best = int(exchanged.argmax())
        if exchanged[best] <= likelihood + 1e-6 * (1 + abs(likelihood)):
            return order, likelihood
        order = order.copy()
        order[[first[best], second[best]]] = order[[second[best], first[best]]]
        likelihood = float(exchanged[best])
